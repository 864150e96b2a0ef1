"""Test rows for scoring: of a suite by name, or of a file in its publisher's format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources import (
    chemdfm,
    chemllmbench,
    described_molecules,
    moleculenet,
    rxn_yields,
    suites,
    suzuki_selection,
    tomg_bench,
    uspto50k,
    uspto_mapped,
)
from chemr.data.sources.reading import RowLog, SourceFileError, json_lines, table_rows

FORMULA2SMILES = "formula2smiles"
"""A task of ChemLLMBench that is scored but not trained: the golds are those of ``iupac2smiles``."""

_SUITE_ORDER = ("chemllmbench", "tomg", "chebi20")
_YIELD_TASKS = ("yield_bh", "yield_suzuki")


def default_suite(task: str) -> str:
    """The suite that a task is usually reported on. Raises ValueError when no suite has the task."""
    if task in ("text2mol", "mol2text"):
        return "chebi20"
    wanted = "iupac2smiles" if task == FORMULA2SMILES else task
    for suite in (*_SUITE_ORDER, *suites.SUITES):
        if wanted in suites.SUITES[suite]:
            return suite
    raise ValueError(
        f"no suite has the task {task!r}; tasks: {', '.join(sorted({name for names in suites.SUITES.values() for name in names}))}"
    )


def suite_rows(suite: str, task: str, data_dir: Path) -> list[Example]:
    """The rows of a suite. Raises what :func:`chemr.data.sources.suites.test_rows` raises."""
    if task == FORMULA2SMILES:
        return [replace(row, task=task, inputs={}) for row in suites.test_rows(suite, "iupac2smiles", data_dir)]
    return suites.test_rows(suite, task, data_dir)


def file_rows(path: Path, task: str) -> list[Example]:
    """The rows of ``path`` for ``task``.

    The format is the one in which the task's data are published (docs/benchmarks.md); a ``.jsonl`` holds ChemDFM's questions or our own
    rows (``Example.to_json``).

    Raises:
        SourceFileError: no such file, or not in a known format of the task.
        BadRowError: a row cannot be used.
    """
    if not path.is_file():
        raise SourceFileError(f"data={path}: no such file, and no suite of this name; suites: {', '.join(suites.SUITES)}")
    rows = list(_rows(path, task, RowLog(strict=True)))
    if not rows:
        raise SourceFileError(f"{path}: has no test row of {task}")
    return rows


def row_number(example: Example) -> int:
    """The 0-based data row, which ends the uid of every test row. Raises ValueError for a uid that does not end in a number."""
    last = example.uid.rpartition("/")[2]
    if not last.isdigit():
        raise ValueError(f"the row {example.uid!r} has no row number at the end of its uid")
    return int(last)


def _rows(path: Path, task: str, log: RowLog) -> Iterator[Example]:
    prefix = path.stem
    if path.suffix == ".jsonl":
        return _json_rows(path, task, prefix, log)
    if task in chemllmbench.NAME_TASKS:
        if path.suffix == ".txt":
            return described_molecules.named_rows(path, (task,), prefix, path.name, "unknown", log)
        return chemllmbench.name_rows(path, "test", prefix, log, (task,))
    if task == FORMULA2SMILES:
        return (replace(row, task=task, inputs={}) for row in chemllmbench.name_rows(path, "test", prefix, log, ("iupac2smiles",)))
    if task in moleculenet.PROPERTY_TABLES:
        return moleculenet.property_rows(path, task, prefix, log)
    if task in _YIELD_TASKS:
        return _yield_rows(path, task, prefix, log)
    if task in suzuki_selection.SELECTION_FILES:
        return suzuki_selection.selection_test_rows(path, task, prefix, log)
    if task in tomg_bench.SUBTASKS:
        return tomg_bench.tomg_test_rows(path, task, prefix, log)
    if task in ("text2mol", "mol2text"):
        if path.suffix == ".csv":
            return chemllmbench.caption_rows(path, task, prefix, log)
        return described_molecules.caption_rows(path, (task,), prefix, path.name, "unknown", log)
    if task == "forward":
        if path.suffix == ".zip":
            return uspto_mapped.forward_zip_rows(path, "data/test.txt", prefix, path.name, log)
        return chemllmbench.forward_rows(path, prefix, log)
    if task == "retro":
        if path.suffix == ".csv":
            return chemllmbench.retro_rows(path, prefix, log)
        return uspto50k.retro_pairs(path, path.with_name(path.name.replace("_sources", "_targets")), prefix, log)
    raise SourceFileError(f"data={path}: no published file format is known for the task {task!r}")


def _yield_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """As ``rxn_yields.yield_test_rows``, without the full table that the measured yields come from."""
    for cells in table_rows(path, log, ("rxn", "high_yield"), delimiter="\t", quoted=False):
        reaction, label = cells["rxn"].strip(), cells["high_yield"].strip()
        if ">>" not in reaction or label not in ("Yes", "No"):
            log.reject("unusable row", f"{reaction} | {label}", "SMILES>>SMILES and Yes or No")
            continue
        yield Example(f"{prefix}/{task}/{log.row}", task, {"reaction": reaction}, {"answer": label}, 0.5, path.name, rxn_yields.LICENCE)


def _json_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    first = next(json_lines(path, RowLog(strict=True)), {})
    if {"question", "answer", "task_name"} <= first.keys():
        if task not in chemdfm.CHEMDFM_FILES:
            raise SourceFileError(f"{path}: ChemDFM's questions are read for {', '.join(chemdfm.CHEMDFM_FILES)}, not for {task}")
        yield from chemdfm.chemdfm_rows(path, task, prefix, log)
        return
    for item in json_lines(path, log):
        if not isinstance(item.get("inputs"), dict) or not isinstance(item.get("reference"), dict):
            log.reject("not a row of ours", str(sorted(item)), "an object with inputs and reference (Example.to_json), or ChemDFM's format")
        elif item.get("task", task) != task:
            log.skip(f"is a row of {item['task']}")
        else:
            yield Example(f"{prefix}/{task}/{log.row}", task, item["inputs"], item["reference"], 0.5, path.name, "unknown")
