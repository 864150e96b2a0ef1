"""Every evaluation suite and every training source, by name.

A suite is a set of published test files, one a task; its rows come in file order and none may be bad. A source is what may be trained on
after :mod:`chemr.data.decontamination`; its bad rows are left out, reported and counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from chemr.data.example import Example
from chemr.data.sources import (
    chemdfm,
    chemicals_names,
    chemllmbench,
    described_molecules,
    moleculenet,
    rxn_yields,
    suzuki_selection,
    tomg_bench,
    uspto50k,
    uspto_mapped,
)
from chemr.data.sources.reading import RowLog, SourceFileError

Rows = Callable[[Path, RowLog], Iterator[Example]]
"""``rows(data_dir, log)``: reads what it needs below ``data_dir``."""

_CAPTIONS = ("text2mol", "mol2text")
_NAMES_WITHOUT_FORMULA = ("iupac2smiles", "smiles2iupac")
_PROPERTIES, _SELECTIONS = tuple(moleculenet.PROPERTY_TABLES), tuple(suzuki_selection.SELECTION_FILES)
_OPEN = tuple(tomg_bench.SUBTASKS)
_CHEBI, _PUBCHEM, _USPTO15K, _USPTO480K = "ChEBI-20 (MolT5)", "PubChem via TOMG-Bench", "USPTO-15K", "USPTO-480K"
_BH, _SUZUKI = "rxn_yields/derived/buchwald_hartwig.tsv", "rxn_yields/Suzuki-Miyaura/random_split_0.tsv"


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """What may be trained on. ``tasks``: those it has rows of."""

    name: str
    tasks: tuple[str, ...]
    rows: Rows


def default_data_dir() -> Path:
    """The folder named by CHEMR_DATA, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("CHEMR_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3].parent / "shared" / "data"


def test_rows(suite: str, task: str, data_dir: Path) -> list[Example]:
    """The test rows of one task, in file order; the 0-based data row ends the uid (for ChemLLMBench's names: the row among the test rows).

    Raises:
        ValueError: no such suite, or the suite has no such task; the message lists those there are.
        SourceFileError, BadRowError: a file is missing, broken or holds a bad row.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite {suite!r}; known: {', '.join(SUITES)}")
    if task not in SUITES[suite]:
        raise ValueError(f"suite {suite!r} has no task {task!r}; its tasks: {', '.join(SUITES[suite])}")
    return list(_TEST_FILES[suite][task](_existing(data_dir), RowLog(strict=True)))


def training_rows(source: str, data_dir: Path, log: RowLog | None = None) -> Iterator[Example]:
    """The rows of a source as published, evaluation rows among them: train only on what decontamination leaves of them.

    Args:
        log: collects bad and skipped rows; ``RowLog(strict=True)`` stops at the first bad one.

    Raises:
        ValueError: no such source.
        SourceFileError: a file is missing or broken.
        BadRowError: under strict.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown training source {source!r}; known: {', '.join(SOURCES)}")
    return SOURCES[source].rows(_existing(data_dir), RowLog() if log is None else log)


def _existing(data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise SourceFileError(f"{data_dir}: no such folder; set data.dir (or CHEMR_DATA) to the folder that holds the data as published")
    return data_dir


def _name_test(task: str) -> Rows:
    return lambda data, log: chemllmbench.name_rows(
        data / "chemllmbench/name_prediction/llm_test.csv", "test", "chemllmbench", log, (task,)
    )


def _property_test(task: str) -> Rows:
    file = f"chemllmbench/property_prediction/{moleculenet.PROPERTY_TABLES[task].test}"
    return lambda data, log: moleculenet.property_rows(data / file, task, "chemllmbench", log)


def _selection_test(task: str) -> Rows:
    file = f"chemllmbench/reagent_selection/{suzuki_selection.SELECTION_FILES[task][1]}"
    return lambda data, log: suzuki_selection.selection_test_rows(data / file, task, "chemllmbench", log)


def _yield_test(task: str) -> Rows:
    file, full = ("chemllmbench_BH_test100.tsv", _BH) if task == "yield_bh" else ("chemllmbench_SU_test100.tsv", _SUZUKI)
    return lambda data, log: rxn_yields.yield_test_rows(data / "rxn_yields/derived" / file, data / full, task, "chemllmbench", log)


def _clb_captions(task: str) -> Rows:
    name = "molecule_design" if task == "text2mol" else "molecule_captioning"
    return lambda data, log: chemllmbench.caption_rows(data / f"chemllmbench/{name}/{name}_test.csv", task, "chemllmbench", log)


def _captions_test(suite: str, file: str, task: str, source: str, licence: str) -> Rows:
    return lambda data, log: described_molecules.caption_rows(data / file, (task,), suite, source, licence, log)


def _pubchem_names_test(task: str) -> Rows:
    file = "tomg_bench/targeted_generation/IUPAC/PubChem/test.txt"
    return lambda data, log: described_molecules.named_rows(data / file, (task,), "pubchem", _PUBCHEM, tomg_bench.LICENCE, log)


def _tomg_test(task: str) -> Rows:
    return lambda data, log: tomg_bench.tomg_test_rows(tomg_bench.test_path(data / "tomg_bench", task), task, "tomg", log)


def _chemdfm_test(task: str) -> Rows:
    return lambda data, log: chemdfm.chemdfm_rows(data / "chemdfm_prompts" / chemdfm.CHEMDFM_FILES[task][0], task, "chemdfm", log)


_CAPMOL = "tomg_bench/targeted_generation/CapMol/PubChem"
_TEST_FILES: Mapping[str, Mapping[str, Rows]] = {
    "chemllmbench": {
        **{task: _name_test(task) for task in chemllmbench.NAME_TASKS},
        **{task: _property_test(task) for task in _PROPERTIES},
        **{task: _clb_captions(task) for task in _CAPTIONS},
        **{task: _yield_test(task) for task in ("yield_bh", "yield_suzuki")},
        **{task: _selection_test(task) for task in _SELECTIONS},
        "forward": lambda data, log: chemllmbench.forward_rows(
            data / "chemllmbench/reaction_prediction/uspto_test.csv", "chemllmbench", log
        ),
        "retro": lambda data, log: chemllmbench.retro_rows(data / "chemllmbench/retro/uspto50k_retro_test.csv", "chemllmbench", log),
    },
    "chebi20": {task: _captions_test("chebi20", "chebi20/molt5/test.txt", task, _CHEBI, "CC-BY-4.0") for task in _CAPTIONS},
    "tomg": {task: _tomg_test(task) for task in _OPEN},
    "uspto": {
        "retro": lambda data, log: uspto50k.retro_pairs(
            data / "uspto50k/pandegroup/test_sources", data / "uspto50k/pandegroup/test_targets", "uspto", log
        ),
        "forward": lambda data, log: uspto_mapped.forward_zip_rows(data / "uspto15k/data.zip", "data/test.txt", "uspto", _USPTO15K, log),
    },
    "chemdfm": {task: _chemdfm_test(task) for task in chemdfm.CHEMDFM_FILES},
    "pubchem": {
        **{task: _pubchem_names_test(task) for task in _NAMES_WITHOUT_FORMULA},
        **{task: _captions_test("pubchem", f"{_CAPMOL}/test.txt", task, _PUBCHEM, tomg_bench.LICENCE) for task in _CAPTIONS},
    },
}

SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType({suite: tuple(tasks) for suite, tasks in _TEST_FILES.items()})
"""The tasks of every suite. ``chemdfm`` and ``pubchem`` stand beside the four benchmarks: larger tests of the same tasks."""


def _property_sources(data: Path, log: RowLog) -> Iterator[Example]:
    for task, table in moleculenet.PROPERTY_TABLES.items():
        yield from moleculenet.property_training_rows(data / "chemllmbench/property_prediction" / table.full, task, "moleculenet", log)


def _selection_sources(data: Path, log: RowLog) -> Iterator[Example]:
    for task, (file, _) in suzuki_selection.SELECTION_FILES.items():
        yield from suzuki_selection.selection_training_rows(data / "chemllmbench/reagent_selection" / file, task, "suzuki_selection", log)


def _yield_sources(data: Path, log: RowLog) -> Iterator[Example]:
    yield from rxn_yields.yield_training_rows(data / _BH, "yield_bh", "rxn_yields", log)
    yield from rxn_yields.yield_training_rows(data / _SUZUKI, "yield_suzuki", "rxn_yields", log)


def _pubchem_name_sources(data: Path, log: RowLog) -> Iterator[Example]:
    for part in ("train", "validation"):
        file = data / f"tomg_bench/targeted_generation/IUPAC/PubChem/{part}.txt"
        yield from described_molecules.named_rows(
            file, _NAMES_WITHOUT_FORMULA, "pubchem_iupac", _PUBCHEM, tomg_bench.LICENCE, log, f"{part}-"
        )


def _uspto50k_sources(data: Path, log: RowLog) -> Iterator[Example]:
    folder = data / "uspto50k/pandegroup"
    for part in ("train", "valid"):
        yield from uspto50k.retro_pairs(folder / f"{part}_sources", folder / f"{part}_targets", "uspto50k", log, f"{part}-")


def _uspto15k_sources(data: Path, log: RowLog) -> Iterator[Example]:
    for part in ("train", "valid"):
        yield from uspto_mapped.forward_zip_rows(data / "uspto15k/data.zip", f"data/{part}.txt", "uspto15k", _USPTO15K, log, f"{part}-")


SOURCES: Mapping[str, TrainingSource] = MappingProxyType(
    {
        source.name: source
        for source in (
            TrainingSource(
                "chemllmbench_names",
                chemllmbench.NAME_TASKS,
                lambda data, log: chemllmbench.name_rows(
                    data / "chemllmbench/name_prediction/llm_test.csv", "train", "chemllmbench_names", log
                ),
            ),
            TrainingSource(
                "chemicals_names",
                chemllmbench.NAME_TASKS,
                lambda data, log: chemicals_names.opsin_verified_rows(
                    data / "chemicals_names/pubchem_names_opsin_verified.tsv.gz", "chemicals_names", log
                ),
            ),
            TrainingSource("pubchem_iupac", _NAMES_WITHOUT_FORMULA, _pubchem_name_sources),
            TrainingSource("moleculenet", _PROPERTIES, _property_sources),
            TrainingSource(
                "chebi20",
                _CAPTIONS,
                lambda data, log: described_molecules.caption_rows(
                    data / "chebi20/molt5/validation.txt", _CAPTIONS, "chebi20_train", _CHEBI, "CC-BY-4.0", log
                ),
            ),
            TrainingSource(
                "pubchem_captions",
                _CAPTIONS,
                lambda data, log: described_molecules.caption_rows(
                    data / f"{_CAPMOL}/validation.txt", _CAPTIONS, "pubchem_captions", _PUBCHEM, tomg_bench.LICENCE, log
                ),
            ),
            # OpenMolIns light is the first quarter of small: reading it too would only repeat rows.
            TrainingSource(
                "openmolins",
                _OPEN,
                lambda data, log: tomg_bench.openmolins_rows(data / "tomg_bench/OpenMolIns/small/train.csv", "openmolins", log),
            ),
            TrainingSource("suzuki_selection", _SELECTIONS, _selection_sources),
            TrainingSource("rxn_yields", ("yield_bh", "yield_suzuki"), _yield_sources),
            TrainingSource("uspto50k", ("retro",), _uspto50k_sources),
            TrainingSource("uspto15k", ("forward",), _uspto15k_sources),
            TrainingSource(
                "uspto480k",
                ("forward",),
                lambda data, log: uspto_mapped.forward_tar_rows(
                    data / "uspto480k/valid.txt.tar.gz", "valid.txt", "uspto480k", _USPTO480K, log
                ),
            ),
        )
    }
)
"""What may be trained on. OpenMolIns light is the beginning of OpenMolIns small and so not a source of its own."""
