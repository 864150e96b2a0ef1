"""The published figures of a task for test rows of ours: what ``chemr score`` and ``chemr eval`` both report."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chemr.data.example import Example
from rewards.answer import extract
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.evaluation import BENCHMARK_TASKS, benchmark_figures
from rewards.benchmark.figures import BenchmarkReport
from rewards.benchmark.request import BenchmarkRow, BenchmarkSettings
from rewards.verdict import Verdict

_DEBIAN_WORDNET = Path("/usr/share/wordnet")


@dataclass(frozen=True, slots=True)
class FigureSources:
    """What some figures need beside the rows.

    Attributes:
        data_dir: the folder with the published data, which holds the stand-in for novelty.
        wordnet, scibert: folders with WordNet 3.0 and with SciBERT's vocab.txt; empty: CHEMR_WORDNET, CHEMR_SCIBERT, Debian's WordNet.
        novelty: CSV whose column ``molecule`` or ``smiles`` novelty is measured against; empty: OpenMolIns light.
        fcd: whether to compute the Fréchet ChemNet distance.
        deadline_s: what one prediction may take.
    """

    data_dir: Path
    wordnet: str = ""
    scibert: str = ""
    novelty: str = ""
    fcd: bool = True
    deadline_s: float = 20.0


def published_figures(
    task: str, examples: Sequence[Example], samples: Sequence[Sequence[str]], sources: FigureSources
) -> BenchmarkReport | None:
    """The report of one or more samples of answers, each as long as ``examples``; None for a task without published rules.

    Raises:
        BenchmarkInputError: a row or the novelty file cannot be used.
    """
    if task not in BENCHMARK_TASKS:
        return None
    settings = BenchmarkSettings(
        deadline_s=sources.deadline_s,
        wordnet_dir=sources.wordnet or os.environ.get("CHEMR_WORDNET") or (str(_DEBIAN_WORDNET) if _DEBIAN_WORDNET.is_dir() else None),
        scibert_dir=sources.scibert or os.environ.get("CHEMR_SCIBERT") or None,
        novelty_molecules=_novelty_molecules(sources) if task.startswith("molcustom_") else None,
        fcd=sources.fcd,
    )
    rows = [BenchmarkRow(example.inputs, example.reference) for example in examples]
    return benchmark_figures(task, rows, samples, settings)


def answer_text(completion: str) -> str:
    """What stands between the answer tags; nothing for a completion without exactly one answer."""
    answer = extract(completion)
    return "" if isinstance(answer, Verdict) else answer.text


def _novelty_molecules(sources: FigureSources) -> list[str] | None:
    """ZINC250k is not published with the benchmark; OpenMolIns light stands in for it, as in the reference scores."""
    path = Path(sources.novelty) if sources.novelty else sources.data_dir / "tomg_bench" / "OpenMolIns" / "light" / "train.csv"
    if not path.is_file():
        if sources.novelty:
            raise BenchmarkInputError(f"novelty={path}: no such file")
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = [column for column in ("molecule", "smiles") if column in (reader.fieldnames or ())]
        if not columns:
            raise BenchmarkInputError(f"novelty={path}: needs a column 'molecule' or 'smiles'; it has {', '.join(reader.fieldnames or ())}")
        return [row[columns[0]] for row in reader]
