"""Buchwald-Hartwig and Suzuki-Miyaura yields from the plain .tsv files; the pickled .npz files are never opened.

Traps handled: ChemLLMBench's question says "above 70", its test labels follow 60: training labels are cut where the question says,
test labels stay as published, and the measured yield stands beside both where the full table has it. The test of Buchwald-Hartwig writes
``N~1`` where the table has ``N-1``. Suzuki's table gives yields as shares of 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles

HIGH_YIELD_PERCENT = 70.0
"""A training reaction is high-yielding above this, as the question says."""

LICENCE = "MIT"
_PERCENT = re.compile(r"\d{1,3}(\.\d+)?|\d(\.\d+)?[eE]-?\d{1,3}")
_TABLES = {"yield_bh": ("yield", 1.0), "yield_suzuki": ("y", 100.0)}
_SOURCES = {"yield_bh": "Buchwald-Hartwig HTE (Ahneman 2018)", "yield_suzuki": "Suzuki HTE (Perera 2018)"}


def yield_training_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """Rows of a full table, labelled at HIGH_YIELD_PERCENT."""
    for reaction, percent in _measured(path, task, log):
        answer = "Yes" if percent > HIGH_YIELD_PERCENT else "No"
        yield _example(reaction, {"answer": answer, "yield": percent}, task, f"{prefix}/{task}/{log.row}")


def yield_test_rows(path: Path, full_table: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """The 100 test rows with their published labels; ``yield`` is left out where the table has none, or two that differ."""
    known = _known_yields(full_table, task)
    for cells in table_rows(path, log, ("rxn", "high_yield"), delimiter="\t", quoted=False):
        reaction, label = cells["rxn"].strip(), cells["high_yield"].strip()
        if not _is_reaction(reaction):
            log.reject("no reaction", reaction, "SMILES>>SMILES")
        elif label not in ("Yes", "No"):
            log.reject("unknown label", label, "Yes or No")
        else:
            percent = known.get(plain_bonds(reaction))
            reference: dict[str, str | float] = {"answer": label} if percent is None else {"answer": label, "yield": percent}
            yield _example(reaction, reference, task, f"{prefix}/{task}/{log.row}")


def plain_bonds(reaction: str) -> str:
    """``N~1`` and ``N-1`` are one bond written in two ways."""
    return reaction.replace("~", "-")


def _measured(path: Path, task: str, log: RowLog) -> Iterator[tuple[str, float]]:
    column, scale = _TABLES[task]
    for cells in table_rows(path, log, ("rxn", column), delimiter="\t", quoted=False):
        reaction, text = cells["rxn"].strip(), cells[column].strip()
        if not _is_reaction(reaction):
            log.reject("no reaction", reaction, "SMILES>>SMILES")
        elif _PERCENT.fullmatch(text) is None or float(text) * scale > 100.0 + 1e-6:
            log.reject("no yield", text, f"a number in [0, {100 / scale:g}]")
        else:
            yield reaction, float(text) * scale


def _known_yields(path: Path, task: str) -> Mapping[str, float]:
    known: dict[str, float] = {}
    ambiguous: set[str] = set()
    for reaction, percent in _measured(path, task, RowLog()):
        key = plain_bonds(reaction)
        if known.setdefault(key, percent) != percent:
            ambiguous.add(key)
    return {key: percent for key, percent in known.items() if key not in ambiguous}


def _is_reaction(text: str) -> bool:
    left, arrow, right = text.partition(">>")
    return bool(arrow) and looks_like_smiles(left) and looks_like_smiles(right)


def _example(reaction: str, reference: Mapping[str, str | float], task: str, uid: str) -> Example:
    return Example(uid, task, {"reaction": reaction}, reference, difficulty(reaction.partition(">>")[2]), _SOURCES[task], LICENCE)
