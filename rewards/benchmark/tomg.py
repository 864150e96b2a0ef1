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
_ROWS_PER_PRODUCT = 64  # outputs times known molecules in one matrix product: 64 x 250,000 floats are 64 MB


def open_generation(evaluation: Evaluation) -> list[Figure]:
    """``READING.success_rate`` and ``validity`` over all rows, ``similarity`` (edit, optimise) or ``novelty`` (custom) over valid outputs,
    and ``weighted_success``, their product, as the paper weighs it.
    """
    custom = evaluation.task.startswith("molcustom_")
    measure = "novelty" if custom else "similarity"
    known = _known_fingerprints(evaluation) if custom else None
    if custom and known is None:
        evaluation.notes.append("novelty, weighted_success: left out, no molecules to compare with were given")
    facts = _Facts(evaluation)
    figures = []
    for reading, read in READINGS.items():
        per_sample: dict[str, list[float | None]] = {name: [] for name in ("success_rate", measure, "validity", "weighted_success")}
        for number, texts in enumerate(evaluation.samples, start=1):
            outputs = [facts.of(number, row, read(text)) for row, text in enumerate(texts)]
            valid = [output for output in outputs if output is not None]
            success = sum(output["success"] for output in valid) / len(outputs)
            mean = _mean_novelty(valid, known) if custom else _mean([output["similarity"] for output in valid])
            per_sample["success_rate"].append(success)
            per_sample["validity"].append(len(valid) / len(outputs))
            per_sample[measure].append(mean)
            per_sample["weighted_success"].append(None if mean is None else success * mean)
            if not valid:
                evaluation.notes.append(f"{reading}.{measure}: no valid output; the published code ends with a ZeroDivisionError")
        missing = custom and known is None
        names = ("success_rate", "validity") if missing else tuple(per_sample)
        figures += [Figure(f"{reading}.{name}", tuple(per_sample[name])) for name in names]
    return figures


class _Facts:
    """The child's verdict on (row, text): the readings mostly agree, so each distinct pair is asked once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._known: dict[tuple[int, str], Any] = {}

    def of(self, sample: int, row: int, text: str | None) -> Any:
        if text is None:
            return None
        if (row, text) not in self._known:
            evaluation = self._evaluation
            inputs = dict(evaluation.rows[row].inputs)
            fact = evaluation.child.run("tomg_jobs.output", {"task": evaluation.task, "inputs": inputs, "text": text})
            if isinstance(fact, JobFailure):
                evaluation.unscored.append(Unscored(sample, row, fact.reason, fact.note))
                fact = None
            self._known[row, text] = fact
        return self._known[row, text]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _mean_novelty(valid: Sequence[dict[str, Any]], known: np.ndarray | None) -> float | None:
    """Mean of 1 - highest Tanimoto, computed in float32 and summed in float32 one after the other, as numpy 2 does with the original."""
    import numpy as np

    if known is None or not valid:
        return None
    total: np.float32 | int = 0
    norms = known.sum(axis=1)
    for start in range(0, len(valid), _ROWS_PER_PRODUCT):
        new = _matrix([output["bits"] for output in valid[start : start + _ROWS_PER_PRODUCT]])
        common = new @ known.T
        similarity = common / (new.sum(axis=1)[:, None] + norms[None, :] - common)
        for value in np.float32(1) - similarity.max(axis=1):
            total = total + value
    return float(total / len(valid))


def _known_fingerprints(evaluation: Evaluation) -> np.ndarray | None:
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
    return _matrix(bits)


def _matrix(bits: Sequence[Sequence[int]]) -> np.ndarray:
    """Fingerprints [molecule, bit] of 0 and 1, float32."""
    import numpy as np

    matrix = np.zeros((len(bits), _BITS), dtype=np.float32)
    for row, on in enumerate(bits):
        matrix[row, on] = 1.0
    return matrix
