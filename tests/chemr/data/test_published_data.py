"""The files as their publishers ship them: sizes, labels and traps. Skipped where CHEMR_DATA (default ../shared/data) is not there."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from chemr.data.decontamination import EvaluationIndex, Removals, decontaminated
from chemr.data.leak_audit import LeakAudit
from chemr.data.row_keys import SELECTION_TASKS, YIELD_TASKS
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import SOURCES, SUITES, default_data_dir, training_rows
from chemr.data.sources.suites import test_rows as rows_of_test
from chemr.prompts import render_prompt
from chemr.tasks import TASKS

DATA = default_data_dir()
SCORES = Path(os.environ.get("CHEMR_REFERENCE_SCORES") or DATA.parent / "reference-scores")
pytestmark = pytest.mark.skipif(not (DATA / "chemllmbench").is_dir(), reason="the published data are not here (CHEMR_DATA)")

SIZES = {
    "chemllmbench": dict.fromkeys(SUITES["chemllmbench"], 100),
    "chebi20": dict.fromkeys(SUITES["chebi20"], 500),
    "tomg": dict.fromkeys(SUITES["tomg"], 500),
    "uspto": {"retro": 500, "forward": 3_000},
    "chemdfm": dict.fromkeys(SUITES["chemdfm"], 100)
    | {"property_bace": 152, "property_bbbp": 204, "property_hiv": 4_113, "property_clintox": 148},
    "pubchem": {"iupac2smiles": 1_985, "smiles2iupac": 1_985, "text2mol": 2_000, "mol2text": 2_000},
}


@pytest.mark.parametrize("suite", SIZES)
def test_a_suite_has_its_published_size_and_every_row_can_be_asked(suite: str) -> None:
    for task in SUITES[suite]:
        found = rows_of_test(suite, task, DATA)
        assert len(found) == SIZES[suite][task], f"{suite}/{task} has {len(found)} rows"
        assert [row.uid for row in found[:3]] == [f"{suite}/{task}/{n}" for n in range(3)] or suite == "chemdfm"
        assert all(render_prompt(row) for row in found)
    assert set(SIZES[suite]) == set(SUITES[suite])


def test_labels_are_those_that_the_published_scores_were_made_with() -> None:
    folders = {
        "property_bace": "BACE",
        "property_bbbp": "BBBP",
        "property_hiv": "HIV",
        "property_tox21": "Tox21",
        "property_clintox": "ClinTox",
    }
    for task, folder in folders.items():
        path = SCORES / "chemllmbench/property_prediction" / folder / "scores.json"
        if not path.is_file():
            pytest.skip("the reference scores are not here (CHEMR_REFERENCE_SCORES)")
        positives = sum(row.reference["answer"] == "Yes" for row in rows_of_test("chemllmbench", task, DATA))
        assert positives == json.loads(path.read_text())["positives"], f"{task} has other labels"


def test_yield_labels_follow_60_and_not_the_70_of_the_question() -> None:
    for task in YIELD_TASKS:
        found = rows_of_test("chemllmbench", task, DATA)
        assert all("yield" in row.reference for row in found), "a test reaction is not in the full table"
        high = [row.reference["yield"] for row in found if row.reference["answer"] == "Yes"]
        low = [row.reference["yield"] for row in found if row.reference["answer"] == "No"]
        assert max(low) < 60 < min(high) < 70, f"{task}: {max(low)}, {min(high)}"


def test_roles_of_the_selection_tables_hold_what_they_are_called() -> None:
    solvents, bases = {"CC#N", "CN(C)C=O", "CO", "C1CCOC1"}, ("[OH-]", "[O-]", "[F-]", "CCN(CC)CC")
    for row in training_rows("suzuki_selection", DATA):
        for part in row.inputs["reaction"].split(", "):
            role, _, smiles = part.partition(" ")
            fits = {
                "solvent": smiles in solvents,
                "base": any(base in smiles for base in bases),
                "ligand": "P" in smiles,
                "reactant": "c" in smiles and "P" not in smiles,
            }
            assert fits[role], f"{row.uid}: {smiles} is called a {role}"


def test_openmolins_is_understood_to_the_last_row_and_light_is_the_beginning_of_small() -> None:
    log = RowLog(strict=True)
    counts = Counter(row.task for row in training_rows("openmolins", DATA, log))
    assert counts.total() + sum(log.skipped.values()) == 18_000 and len(counts) == 9
    folder = DATA / "tomg_bench/OpenMolIns"
    light, small = ((folder / name / "train.csv").read_text().splitlines() for name in ("light", "small"))
    assert set(light) <= set(small), "light has rows of its own and should be a source"


def test_reaction_sources_give_questions_without_maps_or_blanks() -> None:
    for source in ("uspto50k", "uspto15k", "uspto480k"):
        for row in islice(training_rows(source, DATA), 40):
            text = json.dumps([dict(row.inputs), row.reference["answer"]])
            assert ":1" not in text and "<RX" not in text, f"{row.uid}: {text}"


def test_every_selection_and_yield_test_row_is_met_and_removed_and_none_is_left() -> None:
    index, audit = EvaluationIndex(), LeakAudit()
    wanted = set()
    for task in (*SELECTION_TASKS, *YIELD_TASKS):
        found = rows_of_test("chemllmbench", task, DATA)
        index.add("chemllmbench", found)
        wanted |= {("chemllmbench", row.uid) for row in found}
        for row in found:
            audit.expect("chemllmbench", row)
    removals = Removals()
    for source in ("suzuki_selection", "rxn_yields"):
        for row in decontaminated(training_rows(source, DATA), index, RowLog(), removals):
            assert audit.check(source, row), f"{row.uid} is left in training"
    assert removals.met == wanted, f"test rows that were not met: {sorted(wanted - removals.met)[:5]}"
    assert removals.removed < 700, "far more than the test rows were removed"


def test_sources_declare_their_tasks() -> None:
    assert {task for spec in SOURCES.values() for task in spec.tasks} == set(TASKS), "a task has no training source"
