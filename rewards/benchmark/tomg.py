"""Open generation (TOMG-Bench): success, validity, similarity or novelty, and weighted success, for all four readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewards.benchmark.child import JobFailure
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import Figure, Unscored
from rewards.benchmark.request import Evaluation
from rewards.benchmark.tomg_readings import READINGS

if TYPE_CHECKING:
    import numpy as np

_BITS = 2048
_KNOWN_PER_JOB = 500
_KNOWN_DEADLINE_S = 120.0


def open_generation(evaluation: Evaluation) -> list[Figure]:
    """``READING.success_rate`` and ``validity`` over all rows, ``similarity`` (edit, optimise) or ``novelty`` (custom) over valid outputs,
    and ``weighted_success``, their product, as the paper weighs it.
    """
    custom = evaluation.task.startswith("molcustom_")
    measure = "novelty" if custom else "similarity"
    evaluation.child.prepare("tomg_jobs.prepare", {})
    known = _known(evaluation) if custom else None
    missing = custom and known is None
    if missing:
        evaluation.notes.append("novelty, weighted_success: left out, no molecules to compare with were given")
    facts = _Facts(evaluation, known)
    figures = []
    for reading, read in READINGS.items():
        per_sample: dict[str, list[float | None]] = {name: [] for name in ("success_rate", measure, "validity", "weighted_success")}
        for number, texts in enumerate(evaluation.samples, start=1):
            outputs = [facts.of(number, row, read(text)) for row, text in enumerate(texts)]
            valid = [output for output in outputs if output is not None]
            success = sum(output["success"] for output in valid) / len(outputs)
            mean = None if missing else _mean_novelty(valid) if custom else _mean([output["similarity"] for output in valid])
            per_sample["success_rate"].append(success)
            per_sample["validity"].append(len(valid) / len(outputs))
            per_sample[measure].append(mean)
            per_sample["weighted_success"].append(None if mean is None else success * mean)
            if not valid:
                evaluation.notes.append(f"{reading}.{measure}: no valid output; the published code ends with a ZeroDivisionError")
        names = ("success_rate", "validity") if missing else tuple(per_sample)
        figures += [Figure(f"{reading}.{name}", tuple(per_sample[name])) for name in names]
    return figures


class _Facts:
    """The child's verdict on (row, text): the readings mostly agree, so each distinct pair is asked once."""

    def __init__(self, evaluation: Evaluation, known: _Known | None) -> None:
        self._evaluation = evaluation
        self._known = known
        self._facts: dict[tuple[int, str], Any] = {}

    def of(self, sample: int, row: int, text: str | None) -> Any:
        if text is None:
            return None
        if (row, text) not in self._facts:
            evaluation = self._evaluation
            inputs = dict(evaluation.rows[row].inputs)
            fact = evaluation.child.run("tomg_jobs.output", {"task": evaluation.task, "inputs": inputs, "text": text})
            if isinstance(fact, JobFailure):
                evaluation.unscored.append(Unscored(sample, row, fact.reason, fact.note))
                fact = None
            elif fact is not None and self._known is not None:
                fact["novelty"] = self._known.novelty(fact["bits"])
            self._facts[row, text] = fact
        return self._facts[row, text]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


class _Known:
    """Fingerprints of the molecules that novelty is measured against."""

    def __init__(self, bits: Sequence[Sequence[int]]) -> None:
        import numpy as np

        self._matrix = np.zeros((_BITS, len(bits)), dtype=np.uint8)  # [bit, molecule]
        for column, on in enumerate(bits):
            self._matrix[on, column] = 1
        self._sizes = np.array([len(on) for on in bits], dtype=np.float32)

    def novelty(self, on: Sequence[int]) -> np.float32:
        """1 - highest Tanimoto in float32, as the original has it from torch: counts are exact there, so only the division rounds."""
        import numpy as np

        common = self._matrix[list(on)].sum(axis=0, dtype=np.uint16).astype(np.float32)
        similarity = common / (np.float32(len(on)) + self._sizes - common)
        return np.float32(1) - similarity.max()


def _mean_novelty(outputs: Sequence[dict[str, Any]]) -> float | None:
    """Summed in float32 one after the other, as numpy 2 does with the original's array; another order changes the last digits."""
    values = [output["novelty"] for output in outputs]
    return float(sum(values) / len(values)) if values else None


def _known(evaluation: Evaluation) -> _Known | None:
    texts = evaluation.settings.novelty_molecules
    if texts is None:
        return None
    bits: list[list[int]] = []
    for start in range(0, len(texts), _KNOWN_PER_JOB):
        part = evaluation.child.run("tomg_jobs.known_bits", {"texts": list(texts[start : start + _KNOWN_PER_JOB])}, _KNOWN_DEADLINE_S)
        if isinstance(part, JobFailure):
            raise BenchmarkInputError(f"novelty molecules {start} to {start + _KNOWN_PER_JOB}: {part.reason}, {part.note}")
        bits += [on for on in part if on is not None]
    if not bits:
        raise BenchmarkInputError(f"none of the {len(texts)} novelty molecules is valid SMILES")
    return _Known(bits)
