"""A test file named by its path gives the rows that its suite gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.data.sources import suites
from chemr.data.sources.reading import BadRowError, SourceFileError
from chemr.test_files import default_suite, file_rows, row_number, suite_rows

CLB = "chemllmbench"
FILES = {
    "smiles2iupac": f"{CLB}/name_prediction/llm_test.csv",
    "formula2smiles": f"{CLB}/name_prediction/llm_test.csv",
    "property_tox21": f"{CLB}/property_prediction/Tox_test.csv",
    "yield_bh": "rxn_yields/derived/chemllmbench_BH_test100.tsv",
    "ligand_selection": f"{CLB}/reagent_selection/ligand_sample.csv",
    "forward": f"{CLB}/reaction_prediction/uspto_test.csv",
    "retro": f"{CLB}/retro/uspto50k_retro_test.csv",
    "text2mol": "chebi20/molt5/test.txt",
    "mol2text": "chebi20/molt5/test.txt",
    "molcustom_functionalgroup": "tomg_bench/benchmarks/open_generation/MolCustom/FunctionalGroup/test.csv",
    "moledit_sub": "tomg_bench/benchmarks/open_generation/MolEdit/SubComponent/test.csv",
    "molopt_qed": "tomg_bench/benchmarks/open_generation/MolOpt/QED/test.csv",
}


@pytest.fixture(scope="module")
def data() -> Path:
    folder = suites.default_data_dir()
    if not folder.is_dir():
        pytest.skip("no data here (CHEMR_DATA)")
    return folder


@pytest.mark.parametrize("task", FILES)
def test_a_file_in_its_publishers_format_is_read_as_the_suite_is(task: str, data: Path) -> None:
    by_path, by_suite = file_rows(data / FILES[task], task), suite_rows(default_suite(task), task, data)
    assert [row_number(row) for row in by_path] == list(range(len(by_suite)))
    for left, right in zip(by_path, by_suite, strict=True):
        assert left.inputs == right.inputs
        for field in ("answer", "ranked"):
            assert left.reference.get(field) == right.reference.get(field)


def test_chemdfms_scaffold_test_is_read(data: Path) -> None:
    rows = file_rows(data / "chemdfm_prompts/MolecularPropertyPrediction/bbbp.jsonl", "property_bbbp")
    assert len(rows) == 204 and {row.reference["answer"] for row in rows} == {"Yes", "No"}


def test_every_task_has_a_usual_suite() -> None:
    tasks = {task for names in suites.SUITES.values() for task in names}
    assert {default_suite(task) for task in tasks} == {"chemllmbench", "chebi20", "tomg"}
    with pytest.raises(ValueError, match="alchemy"):
        default_suite("alchemy")


def test_rows_of_our_own_are_read(tmp_path: Path) -> None:
    row = {"task": "forward", "inputs": {"reactants": "C.O"}, "reference": {"answer": "CO"}}
    (tmp_path / "own.jsonl").write_text(json.dumps(row | {"task": "retro"}) + "\n" + json.dumps(row) + "\n")
    (example,) = file_rows(tmp_path / "own.jsonl", "forward")
    assert row_number(example) == 1 and example.reference == {"answer": "CO"}
    (tmp_path / "own.jsonl").write_text('{"prompt": "C"}\n')
    with pytest.raises(BadRowError, match=r"own\.jsonl:1: not a row of ours"):
        file_rows(tmp_path / "own.jsonl", "forward")


def test_a_file_that_is_not_there_or_not_of_the_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no suite of this name"):
        file_rows(tmp_path / "chemistry", "forward")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceFileError, match="the header lacks reactant"):
        file_rows(tmp_path / "t.csv", "forward")
