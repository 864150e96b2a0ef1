"""Published files become typed rows, their traps are handled, and what is wrong with a row is said with file, line and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.data.example import Example
from chemr.data.sources.chemicals_names import preferred_name
from chemr.data.sources.molecules import flat_components, without_maps
from chemr.data.sources.reading import BadRowError, RowLog, SourceFileError
from chemr.data.sources.smiles_text import heavy_atoms
from chemr.data.sources.suites import SOURCES, SUITES, training_rows
from chemr.data.sources.suites import test_rows as rows_of_test
from chemr.prompts import render_prompt
from chemr.tasks import TASKS
from tests.chemr.data.publisher_files import HALIDE, LIGAND, append, write, write_data_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_folder(tmp_path / "data")


def rows(data: Path, source: str, task: str, log: RowLog | None = None) -> list[Example]:
    return [example for example in training_rows(source, data, log) if example.task == task]


def test_every_suite_and_source_reads_its_files_and_every_row_can_be_asked(data: Path) -> None:
    examples = [row for suite, tasks in SUITES.items() for task in tasks for row in rows_of_test(suite, task, data)]
    assert {row.uid.split("/")[0] for row in examples} == set(SUITES), "a suite gave no rows, or under another name"
    for source, spec in SOURCES.items():
        found = list(training_rows(source, data))
        assert {row.task for row in found} == set(spec.tasks), f"{source} does not have the tasks it declares"
        examples += found
    assert len({row.uid for row in examples}) == len(examples), "a uid occurs twice"
    for row in examples:
        assert row.task in TASKS and render_prompt(row), f"{row.uid} cannot be asked"
        assert 0 <= row.difficulty <= 1 and row.source and row.licence, f"{row.uid} is not graded or cited"
        assert Example.from_json(row.to_json()) == row, f"{row.uid} does not survive JSON"
        assert "answer" in row.reference or row.uid.startswith("tomg/"), f"{row.uid} has no answer"
    assert set(TASKS) == {task for tasks in SUITES.values() for task in tasks}, "a task has no test"


def test_the_name_tasks_count_rows_of_their_split_and_keep_names_as_published(data: Path) -> None:
    found = rows_of_test("chemllmbench", "smiles2iupac", data)
    assert [(row.uid, row.reference["answer"]) for row in found] == [
        ("chemllmbench/smiles2iupac/0", "(2R)-heptan-1-ol"),
        ("chemllmbench/smiles2iupac/1", "heptanoic acid"),
    ]
    assert len(rows(data, "chemllmbench_names", "iupac2smiles")) == 2, "test rows are trained on"


def test_hiv_rows_are_counted_without_the_blank_lines_between_them(data: Path) -> None:
    found = rows(data, "moleculenet", "property_hiv")
    assert [(row.uid, row.reference["answer"]) for row in found] == [
        ("moleculenet/property_hiv/0", "No"),
        ("moleculenet/property_hiv/1", "Yes"),
    ]
    assert all(set(row.inputs) == {"smiles"} for row in found), "the activity class gives the label away"


def test_tox21_takes_sr_p53_leaves_out_what_was_not_measured_and_reads_1_and_1_0_alike(data: Path) -> None:
    log = RowLog(strict=True)
    assert [row.reference["answer"] for row in rows(data, "moleculenet", "property_tox21", log)] == ["Yes", "No"]
    assert log.skipped["Tox21.csv", "SR-p53 was not measured"] == 1, "a missing assay is not counted"
    assert rows_of_test("chemllmbench", "property_tox21", data)[0].reference["answer"] == "Yes"


def test_clintox_takes_ct_tox_whatever_fda_approved_looks_like(data: Path) -> None:
    assert rows_of_test("chemllmbench", "property_clintox", data)[0].reference["answer"] == "No", "approved is not toxic"
    assert [row.reference["answer"] for row in rows(data, "moleculenet", "property_clintox")] == ["No", "Yes"]
    assert len(rows_of_test("chemdfm", "property_clintox", data)) == 1, "the question about approval is not about toxicity"


def test_doubled_backslashes_of_chebi_become_one_and_quotes_stay(data: Path) -> None:
    first = rows(data, "chebi20", "mol2text")[0]
    assert first.inputs["smiles"] == "C/C=C\\CCCCC" and flat_components(first.inputs["smiles"]) is not None
    assert first.reference["answer"] == 'The molecule is a "trans octene.', "a lone quote swallowed the rest of the file"
    assert rows_of_test("chebi20", "text2mol", data)[0].reference["answer"] == "CC/C=C\\CCCCCC"


def test_selection_roles_are_what_they_are_called_after_reading(data: Path) -> None:
    ligand = rows(data, "suzuki_selection", "ligand_selection")[0].inputs["reaction"]
    assert "base [OH-].[Na+]" in ligand and "solvent CC#N" in ligand, f"base and solvent are swapped: {ligand}"
    moved = rows(data, "suzuki_selection", "reactant_selection")[1].inputs["reaction"]
    assert moved == f"reactant {HALIDE}, ligand {LIGAND}, base [OH-].[K+], solvent CO", f"roles are moved by one: {moved}"


def test_candidates_are_shuffled_for_training_and_as_published_in_tests(data: Path) -> None:
    train = rows(data, "suzuki_selection", "ligand_selection")
    assert [sorted(row.inputs["candidates"]) == sorted(row.reference["ranked"]) for row in train] == [True, True]
    assert train[0].inputs["candidates"] == rows(data, "suzuki_selection", "ligand_selection")[0].inputs["candidates"], "not stable"
    test = rows_of_test("chemllmbench", "ligand_selection", data)[0]
    assert test.inputs["candidates"] == test.reference["ranked"] and test.reference["answer"] == test.reference["ranked"][0]


def test_shuffling_takes_the_best_candidate_off_the_first_place(data: Path) -> None:
    path = data / "chemllmbench/reagent_selection/ligand_selection.json"
    path.write_text(json.dumps(json.loads(path.read_text()) * 30))
    firsts = [row.inputs["candidates"][0] == row.reference["answer"] for row in rows(data, "suzuki_selection", "ligand_selection")]
    assert 0.3 < sum(firsts) / len(firsts) < 0.7, "the place of a candidate tells its rank"


def test_yields_are_labelled_above_70_for_training_and_as_published_in_tests(data: Path) -> None:
    answers = [(row.reference["answer"], row.reference["yield"]) for row in rows(data, "rxn_yields", "yield_bh")]
    assert answers == [("No", 62.5), ("Yes", 70.4), ("No", 0.1)]
    suzuki = rows(data, "rxn_yields", "yield_suzuki")
    assert [row.reference["answer"] for row in suzuki] == ["No", "Yes"], "Suzuki yields are shares of 1"
    test = rows_of_test("chemllmbench", "yield_bh", data)[0]
    assert (test.reference["answer"], test.reference["yield"]) == ("Yes", 62.5), (
        "N~1 and N-1 are one reaction, and 62.5 is published as high"
    )


def test_open_generation_is_read_from_columns_with_the_names_scorers_use(data: Path) -> None:
    assert rows_of_test("tomg", "molcustom_atomnum", data)[0].inputs["counts"] == {"C": 31, "Cl": 1}
    groups = rows_of_test("tomg", "molcustom_functionalgroup", data)[0]
    assert groups.inputs["counts"] == {"benzene_ring": 2} and groups.inputs["not_scored"] == {"thioether": 1}
    assert groups.reference == {}, "open generation has no gold answer"
    assert rows_of_test("tomg", "moledit_del", data)[0].inputs["remove"] == "benzene_ring"
    assert [rows_of_test("tomg", task, data)[0].inputs["direction"] for task in ("molopt_logp", "molopt_mr", "molopt_qed")] == [
        "decrease", "increase", "increase",
    ]  # fmt: skip


def test_openmolins_instructions_are_read_back_also_when_group_and_molecule_changed_places(data: Path) -> None:
    log = RowLog(strict=True)
    by_task = {task: rows(data, "openmolins", task, log) for task in SOURCES["openmolins"].tasks if rows(data, "openmolins", task)}
    assert by_task["moledit_del"][0].inputs == {"smiles": "CCCCCO", "remove": "hydroxyl"}
    assert by_task["moledit_add"][0].inputs == {"smiles": "CCCCN", "add": "benzene_ring"}
    assert by_task["moledit_sub"][0].inputs == {"smiles": "CCCCCBr", "remove": "halo", "add": "nitrile"}
    assert by_task["molcustom_functionalgroup"][0].inputs == {"counts": {"amide": 1}}, "a list that begins with 'and' is misread"
    assert len(by_task["molcustom_functionalgroup"]) == 1, "thioethers are not scored, lone carboxyls cannot be had"
    assert {reason.split()[2] for _, reason in log.skipped} >= {"thioethers,", "more"} or len(log.skipped) == 2


def test_openmolins_asks_for_the_size_that_its_answer_has(data: Path) -> None:
    asked = {task: [row.inputs.get("by") for row in rows(data, "openmolins", task)] for task in ("molopt_logp", "molopt_mr", "molopt_qed")}
    assert asked == {"molopt_logp": [1.6, None], "molopt_mr": [9.0], "molopt_qed": [0.1]}, "an answer that goes the wrong way has no size"
    assert "by" not in rows_of_test("tomg", "molopt_logp", data)[0].inputs, "the test asks for a direction alone, as published"


def test_a_molecule_with_both_labels_is_not_trained_on(data: Path) -> None:
    table = data / "chemllmbench/property_prediction/BBBP.csv"
    before = [row.uid for row in rows(data, "moleculenet", "property_bbbp")]
    append(table, "4,d,1,CCCC[C@H](C)N", "5,e,0,C[C@@H](CCCC)N", "6,f,0,CCCC[C@@H](C)N", "7,g,1,CCCCSC", "8,h,1,CSCCCC", "9,i,1,C1CC")
    log = RowLog()
    kept = [row for row in rows(data, "moleculenet", "property_bbbp", log) if row.uid not in before]
    assert [row.inputs["smiles"] for row in kept][:3] == ["CCCC[C@@H](C)N", "CCCCSC", "CSCCCC"], "one label, or another stereoisomer"
    assert log.bad["BBBP.csv", "the molecule has both labels"] == 2, "both of the rows are left out"


def test_atom_maps_do_not_reach_the_question(data: Path) -> None:
    (row,) = rows_of_test("uspto", "forward", data)
    assert row.inputs["reactants"] == "CCCCCCI.O" and ":" not in row.reference["answer"]
    assert without_maps("[CH3:1][C@H:2]([NH2:3])[OH:4]") == without_maps("C[C@H](N)O"), "maps decide the canonical form"


def test_reactions_of_uspto50k_are_joined_and_keep_their_class(data: Path) -> None:
    first = rows(data, "uspto50k", "retro")[0]
    assert first.inputs["product"] == "CCCCCCNC(=O)CCC" and first.reference == {"answer": "CCCCCCN.OC(=O)CCC", "reaction_class": 1}


def test_conventional_names_are_preferred() -> None:
    assert preferred_name("oxidanylnonane", ["oxidanylnonane", "nonan-1-ol"]) == "nonan-1-ol"
    assert preferred_name("nonane", ["n-nonane", "nonane"]) == "nonane"
    assert preferred_name("unverified", ["stk316366"]) == "", "a registry number is no name"


def test_heavy_atoms_are_counted_by_the_text_alone() -> None:
    sizes = {smiles: heavy_atoms(smiles) for smiles in ("CCO", "c1ccccc1Br", "[Na+].[Cl-]", "[H][C@@H](N)C", "[2H]C", "[13CH4]")}
    assert list(sizes.values()) == [3, 7, 2, 3, 1, 1], sizes


# --- bad rows


def test_a_bad_row_is_reported_with_file_line_reason_and_what_was_expected(data: Path) -> None:
    append(data / "chemllmbench/property_prediction/BACE.csv", "CCCC,B3,maybe", "CCCC", "C C,B4,1")
    log = RowLog()
    assert len(rows(data, "moleculenet", "property_bace", log)) == 2, "sound rows are lost beside bad ones"
    said = [str(bad) for bad in log.bad_rows if bad.file.name == "BACE.csv"]
    assert [text.split(": ")[0].rpartition(":")[2] for text in said] == ["4", "5", "6"], f"wrong lines: {said}"
    assert "unknown label" in said[0] and "'maybe'" in said[0] and "0 or 1 in column Class" in said[0]
    assert "1 cells" in said[1] and log.bad["BACE.csv", "no SMILES"] == 1


def test_strict_stops_at_the_first_bad_row(data: Path) -> None:
    append(data / "chemllmbench/property_prediction/BACE.csv", "CCCC,B3,maybe")
    with pytest.raises(BadRowError, match=r"BACE\.csv:4: unknown label.*without strict"):
        list(training_rows("moleculenet", data, RowLog(strict=True)))


def test_a_bad_test_row_is_never_passed_over(data: Path) -> None:
    append(data / "chemllmbench/property_prediction/BACE_test.csv", "CCCC,B3,")
    with pytest.raises(BadRowError, match=r"BACE_test\.csv:3"):
        rows_of_test("chemllmbench", "property_bace", data)


@pytest.mark.parametrize(
    ("file", "content", "source", "reason"),
    [
        ("chemllmbench/reagent_selection/ligand_selection.json", '[{"task": "x"}, 3]', "suzuki_selection", "no ranking"),
        ("rxn_yields/derived/buchwald_hartwig.tsv", "rxn\tyield\nC.C>>CC\t101\nC.C\t3", "rxn_yields", "no yield"),
        ("uspto50k/pandegroup/train_sources", "<RX_1> CC C", "uspto50k", "not single characters"),
        ("chebi20/molt5/validation.txt", "CID\tSMILES\tdescription\n1\tCCO\t", "chebi20", "no description"),
        ("tomg_bench/OpenMolIns/small/train.csv", "SubTask,Instruction,molecule\nLogP,Sing,CC", "openmolins", "instruction not understood"),
        ("chebi20/molt5/validation.txt", "CID\tSMILES\tdescription\n1\tCC\N{REPLACEMENT CHARACTER}O\tx", "chebi20", "not UTF-8 text"),
    ],
)
def test_each_format_names_what_is_wrong(data: Path, file: str, content: str, source: str, reason: str) -> None:
    write(data / file, content)
    log = RowLog()
    list(training_rows(source, data, log))
    assert any(bad == reason for _, bad in log.bad), f"{reason!r} is not among {dict(log.bad)}"


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_folder_is_one_helpful_line(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceFileError, match=r"no such folder.*data\.dir"):
        list(training_rows(source, tmp_path / "nowhere"))
    with pytest.raises(SourceFileError, match=r"no such file"):
        list(training_rows(source, tmp_path))


def test_broken_archives_and_headers_are_named(data: Path) -> None:
    for file, source in (("uspto15k/data.zip", "uspto15k"), ("uspto480k/valid.txt.tar.gz", "uspto480k")):
        (data / file).write_bytes(b"PK\x03\x04 not an archive")
        with pytest.raises(SourceFileError, match=rf"{Path(file).name}.*cannot be read"):
            list(training_rows(source, data))
    write(data / "chemllmbench/property_prediction/BACE.csv", "smiles,Class", "CC,1")
    with pytest.raises(SourceFileError, match=r"BACE\.csv: the header lacks mol"):
        list(training_rows("moleculenet", data))


def test_a_lost_line_in_one_of_two_parallel_files_is_not_passed_over(data: Path) -> None:
    append(data / "uspto50k/pandegroup/train_sources", "<RX_1> C C O C")
    with pytest.raises(SourceFileError, match=r"fewer lines"):
        list(training_rows("uspto50k", data))


def test_unknown_names_list_the_known_ones(data: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown suite 'gpqa'.*chebi20"):
        rows_of_test("gpqa", "forward", data)
    with pytest.raises(ValueError, match=r"no task 'forward'.*text2mol"):
        rows_of_test("chebi20", "forward", data)
    with pytest.raises(ValueError, match=r"unknown training source 'zinc'.*uspto50k"):
        training_rows("zinc", data)


def test_nothing_unpickles() -> None:
    from chemr.data import sources

    for module in Path(sources.__file__).parent.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        assert "allow_pickle" not in text and "import pickle" not in text and "np.load" not in text, f"{module.name} may run a file's code"
