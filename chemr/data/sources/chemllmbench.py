"""ChemLLMBench's own small tables: names, molecule design and captioning, reaction prediction, retrosynthesis.

Trap: 171 of the 600 IUPAC names carry stereo descriptors, no SMILES does. The gold stays flat as published, and scorers compare flat
molecules when the gold is flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles

LICENCE = "LicenseRef-ChemLLMBench"  # no licence file upstream
_SOURCE = "ChemLLMBench"

_NAME_FIELDS: Mapping[str, tuple[str, str]] = {
    "iupac2smiles": ("iupac", "smiles"),
    "smiles2iupac": ("smiles", "iupac"),
    "smiles2formula": ("smiles", "formula"),
    "iupac2formula": ("iupac", "formula"),
}
NAME_TASKS = tuple(_NAME_FIELDS)


def name_examples(
    smiles: str,
    iupac: str,
    formula: str | None,
    *,
    prefix: str,
    row: str,
    source: str,
    licence: str,
    tasks: tuple[str, ...] = NAME_TASKS,
) -> Iterator[Example]:
    """The questions that one named molecule gives; without a formula only those that need none. uids are ``prefix/task/row``."""
    fields = {"smiles": smiles, "iupac": iupac, "formula": formula}
    for task in tasks:
        question, answer = _NAME_FIELDS[task]
        if fields[answer]:
            inputs, reference = {question: fields[question]}, {"answer": fields[answer]}
            if task == "iupac2formula":
                reference["smiles"] = smiles  # the molecule is nowhere else in the row, and decontamination must see it
            yield Example(f"{prefix}/{task}/{row}", task, inputs, reference, difficulty(smiles), source, licence)


def name_rows(path: Path, split: str, prefix: str, log: RowLog, tasks: tuple[str, ...] = NAME_TASKS) -> Iterator[Example]:
    """The rows of llm_test.csv labelled ``split`` (train or test); uids count the rows of that split, as the reference scores do."""
    number = -1
    for cells in table_rows(path, log, ("smiles", "iupac", "formula", "label")):
        smiles, iupac, formula, label = (cells[column].strip() for column in ("smiles", "iupac", "formula", "label"))
        if label not in ("train", "test"):
            log.reject("unknown split", label, "train or test in column label")
            continue
        if label != split:
            log.read[path.name] -= 1
            continue
        number += 1
        if not looks_like_smiles(smiles) or not iupac or not formula:
            log.reject("incomplete row", f"{smiles}, {iupac}, {formula}", "a SMILES, a name and a formula")
            continue
        yield from name_examples(smiles, iupac, formula, prefix=prefix, row=str(number), source=_SOURCE, licence=LICENCE, tasks=tasks)


def caption_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """The 100 rows of molecule design (``text2mol``) or captioning (``mol2text``)."""
    for cells in table_rows(path, log, ("SMILES", "description")):
        smiles, caption = cells["SMILES"].strip(), cells["description"].strip()
        if not looks_like_smiles(smiles) or not caption:
            log.reject("incomplete row", f"{smiles}, {caption}", "a SMILES and a description")
        else:
            yield caption_example(smiles, caption, task, f"{prefix}/{task}/{log.row}", _SOURCE, LICENCE)


def caption_example(smiles: str, caption: str, task: str, uid: str, source: str, licence: str) -> Example:
    """A described molecule as a question in one direction."""
    forward = task == "text2mol"
    inputs, answer = ({"caption": caption}, smiles) if forward else ({"smiles": smiles}, caption)
    return Example(uid, task, inputs, {"answer": answer}, difficulty(smiles), source, licence)


def forward_rows(path: Path, prefix: str, log: RowLog) -> Iterator[Example]:
    """uspto_test.csv: reactants with reagents, and the product."""
    yield from _reactions(path, prefix, log, "forward", ("reactant", "reactants"), "product")


def retro_rows(path: Path, prefix: str, log: RowLog) -> Iterator[Example]:
    """uspto50k_retro_test.csv: the product, and its reactants."""
    yield from _reactions(path, prefix, log, "retro", ("products_smiles", "product"), "reactants_smiles")


def _reactions(path: Path, prefix: str, log: RowLog, task: str, question: tuple[str, str], answer_column: str) -> Iterator[Example]:
    column, field = question
    for cells in table_rows(path, log, (column, answer_column)):
        asked, answer = cells[column].strip(), cells[answer_column].strip()
        if not looks_like_smiles(asked) or not looks_like_smiles(answer):
            log.reject("incomplete row", f"{asked}, {answer}", f"SMILES in {column} and {answer_column}")
        else:
            yield Example(
                f"{prefix}/{task}/{log.row}", task, {field: asked}, {"answer": answer}, difficulty(asked), f"{_SOURCE}, USPTO", LICENCE
            )
