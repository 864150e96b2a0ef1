"""No training row speaks of a test row: what is removed, what is not, and that a planted leak in any source is found."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from chemr.cli import main
from chemr.data.decontamination import EvaluationIndex, Removals, decontaminated
from chemr.data.example import Example
from chemr.data.leak_audit import LeakAudit
from chemr.data.leak_report import find_leaks, leak_lines
from chemr.data.row_checks import fault
from chemr.data.row_keys import evaluation_keys, row_keys
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import training_rows
from tests.chemr.data.publisher_files import (
    HALIDE,
    MAPPED,
    append,
    selection_item,
    selection_prompt,
    write_data_folder,
    write_uspto480k,
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_folder(tmp_path / "data")


def row(task: str, inputs: dict[str, object], answer: str = "") -> Example:
    return Example(f"x/{task}/0", task, inputs, {"answer": answer} if answer else {}, 0.0, "test", "MIT")


def removed(train: Example, test: Example) -> bool:
    index, audit = EvaluationIndex(), LeakAudit()
    index.add("suite", [test])
    audit.expect("suite", test)
    first, second = bool(index.matches(train)), not audit.check("source", train)
    assert first == second, f"the two passes disagree about {train.inputs} and {test.inputs}: {first}, {second}"
    return first


HEXANOL = row("property_bbbp", {"smiles": "CCCCCCO"}, "Yes")


@pytest.mark.parametrize(
    ("train", "why"),
    [
        (row("property_hiv", {"smiles": "OCCCCCC"}, "No"), "another spelling"),
        (row("property_hiv", {"smiles": "[2H]C(O)CCCCC"}, "No"), "a labelled compound is the same compound"),
        (row("property_hiv", {"smiles": "[H]OCCCCCC"}, "No"), "a hydrogen written out"),
        (row("property_hiv", {"smiles": "CCCCCCO.Cl"}, "No"), "a salt of it"),
        (row("smiles2iupac", {"smiles": "[CH3:1]CCCCCO"}, "hexan-1-ol"), "with atom maps"),
        (row("iupac2smiles", {"iupac": "hexanol"}, "CCCCCCO"), "as an answer"),
        (row("moledit_del", {"smiles": "CCCCCCCO", "remove": "halo"}, "CCCCCCO"), "as the answer of an edit"),
        (row("forward", {"reactants": "CCCCCCBr.[OH-]"}, "CCCCCCO"), "as a product"),
        (row("retro", {"product": "CCCCCCO"}, "CCCCCCBr.O"), "as a product to be made"),
        (row("yield_bh", {"reaction": "CCCCCCBr.O>>CCCCCCO"}, "No"), "as a product whose yield is asked"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.task,
)
def test_a_molecule_of_a_test_is_found_in_any_form(train: Example, why: str) -> None:
    assert removed(train, HEXANOL), f"not found: {why}"


@pytest.mark.parametrize(
    ("train", "test", "why"),
    [
        (row("property_hiv", {"smiles": "CCCCCCCO"}, "No"), HEXANOL, "another molecule"),
        (row("forward", {"reactants": "CCCCCCO.BrCC"}, "CCCCCCOCC"), HEXANOL, "a reactant is not what a reaction row is about"),
        (row("property_hiv", {"smiles": "CCCCCCCCN.O.Cl"}, "No"), row("text2mol", {"caption": "water"}, "O"), "water beside a molecule"),
        (
            row("property_hiv", {"smiles": "CCCCCCCCN.[Na+].CC(=O)[O-]"}, "No"),
            row("property_hiv", {"smiles": "CCCCCCCO.[Na+].CC(=O)[O-]"}, "No"),
            "counter-ions are everywhere",
        ),
        (
            row("property_hiv", {"smiles": "Cc1ccc(Nc2ccccn2)cc1"}, "No"),
            row("yield_bh", {"reaction": "Brc1ccccn1.Cc1ccc(N)cc1>>Cc1ccc(Nc2ccccn2)cc1"}, "No"),
            "a yield test asks about a reaction",
        ),
        (
            row("molcustom_atomnum", {"counts": {"C": 6}}, "CCCCCC"),
            row("molcustom_atomnum", {"counts": {"C": 7}}),
            "another count",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.task,
)
def test_what_is_not_a_leak_stays(train: Example, test: Example, why: str) -> None:
    assert not removed(train, test), f"removed, though: {why}"


def test_stereo_does_not_hide_a_molecule() -> None:
    assert removed(row("property_hiv", {"smiles": "CCCC[C@@H](C)O"}, "No"), row("smiles2iupac", {"smiles": "CCCC[C@H](C)O"}, "x"))
    assert removed(row("property_hiv", {"smiles": "CC/C=C/CC"}, "No"), row("smiles2iupac", {"smiles": "CC/C=C\\CC"}, "x"))
    assert removed(row("property_hiv", {"smiles": "CCCCC(=[NH2+])N"}, "No"), row("smiles2iupac", {"smiles": "CCCCC(/N)=[NH+]/[H]"}, "x"))


def test_a_small_molecule_on_its_own_is_a_molecule_like_any_other() -> None:
    assert removed(row("property_hiv", {"smiles": "O"}, "No"), row("text2mol", {"caption": "water"}, "O"))
    assert removed(row("property_hiv", {"smiles": "[Na+].[Cl-]"}, "No"), row("text2mol", {"caption": "salt"}, "[Cl-].[Na+]"))


def test_text_decides_where_no_molecule_can_be_read() -> None:
    assert removed(row("property_hiv", {"smiles": "C1CC"}, "No"), row("property_bbbp", {"smiles": "C1CC"}, "No"))
    assert removed(row("iupac2formula", {"iupac": "Hexan-1-ol"}, "C6H14O"), row("iupac2formula", {"iupac": "hexan-1-ol"}, "C6H14O"))
    assert removed(row("text2mol", {"caption": "A  smell."}, "CCCN"), row("mol2text", {"smiles": "CCCO"}, "a smell."))
    counts = row("molcustom_bondnum", {"counts": {"single": 3, "double": 1}}, "CC=CC")
    assert removed(counts, row("molcustom_bondnum", {"counts": {"double": 1, "single": 3}}))


def test_reactions_are_told_apart_as_a_whole_whatever_their_order_and_spelling() -> None:
    test = row("yield_bh", {"reaction": "Brc1ccccn1.Nc1ccccc1.O[Pd]1ccN~1>>CC"}, "No")
    same = row("yield_bh", {"reaction": "Nc1ccccc1.c1ccnc(Br)c1.O[Pd]1ccN-1>>CC"}, "Yes")
    other = row("yield_bh", {"reaction": "Nc1ccccc1.c1ccnc(Cl)c1.O[Pd]1ccN-1>>CC"}, "Yes")
    assert removed(same, test) and not removed(other, test)
    asked = row("solvent_selection", {"reaction": "reactant CCBr, base [OH-].[Na+]", "candidates": ["CO", "CC#N"]}, "CO")
    turned = row("solvent_selection", {"reaction": "reactant BrCC, base [Na+].[OH-]", "candidates": ["N#CC", "CO"]}, "CO")
    assert removed(turned, asked)


def test_faults_of_training_rows() -> None:
    assert fault(row("property_hiv", {"smiles": "C1CC"}, "No")).reason == "SMILES not readable"  # type: ignore[union-attr]
    assert fault(row("retro", {"product": "CCO"}, "OCC.CC")).reason == "the product is among the reactants"  # type: ignore[union-attr]
    assert fault(row("forward", {"reactants": "CCO.CC"}, "CCO")).reason == "the product is among the reactants"  # type: ignore[union-attr]
    wrong = fault(row("moledit_sub", {"smiles": "CCCBr", "remove": "halo", "add": "nitro"}, "CCCNO"))
    assert wrong is not None and "+1 nitro, -1 halo" in wrong.expected
    assert fault(row("moledit_sub", {"smiles": "CCCBr", "remove": "halo", "add": "nitro"}, "CCC[N+](=O)[O-]")) is None
    assert fault(row("molopt_logp", {"smiles": "CCCO", "direction": "increase"}, "OCCCO")) is not None
    assert fault(row("molopt_qed", {"smiles": "CCCCCCCCCCCC", "direction": "increase"}, "CCCCCCO")) is None
    hardly = fault(row("molopt_logp", {"smiles": "CCCCCN", "direction": "increase"}, "CCCCCO"))
    assert hardly is not None and hardly.reason == "the answer hardly changes the property" and "at least 0.1" in hardly.expected


PROTEIN = "NC(C)C(=O)" * 140 + "O"


@pytest.mark.parametrize(
    ("faulty", "found"),
    [
        (row("molopt_mr", {"smiles": "CCCO", "direction": "increase"}, "CCCO[CH2]"), "0 (unreasonable)"),
        (row("molopt_logp", {"smiles": "CCCO", "direction": "increase", "by": 2.0}, "CCCCO"), "'by' asks for 2"),
        (row("moledit_add", {"smiles": "CCCC", "add": "hydroxyl"}, "CC(C)[CH]CO"), "0 (unreasonable)"),
        (row("molcustom_atomnum", {"counts": {"C": 3}}, "CCCC"), "0.1 (partial)"),
        (row("text2mol", {"caption": "A protein."}, PROTEIN), "too_long"),
        (row("text2mol", {"caption": "Any alcohol."}, "*O"), "guarded_molecule"),
        (row("smiles2iupac", {"smiles": "CCO"}, "eth" * 1000), "0 (too_long)"),
    ],
    ids=lambda value: value.task if isinstance(value, Example) else "",
)
def test_a_row_whose_own_answer_does_not_earn_its_reward_is_not_trained_on(faulty: Example, found: str) -> None:
    wrong = fault(faulty)
    assert wrong is not None and wrong.reason == "its own answer does not earn its reward" and found in wrong.found, wrong


def test_a_clean_folder_is_clean_after_removal_and_says_what_it_removed(data: Path) -> None:
    report = find_leaks(data)
    assert report.clean, f"left: {report.first_left}"
    assert all(report.met("chemllmbench", task) == 1 for task in ("property_bace", "property_hiv", "ligand_selection", "yield_bh"))
    assert report.removals["moleculenet"].removed == 5, "every property test row is in the full tables"
    assert report.removals["rxn_yields"].removed == 2 and report.removals["suzuki_selection"].removed == 3
    assert report.logs["moleculenet"].bad["BBBP.csv", "SMILES not readable"] == 1
    assert report.logs["openmolins"].bad["train.csv", "the answer breaks the instruction"] == 2
    text = "\n".join(leak_lines(report))
    assert "0 leaks" in text and "chemllmbench/yield_bh: 1 of 1" in text and "BBBP.csv:4: SMILES not readable" in text


def _gzip_append(path: Path, line: str) -> None:
    with gzip.open(path, "at", encoding="utf-8") as handle:
        handle.write(line + "\n")


def _uspto50k_append(root: Path) -> None:
    append(root / "uspto50k/pandegroup/valid_sources", "<RX_3> C C C C C C C C C C O C")
    append(root / "uspto50k/pandegroup/valid_targets", "C C C C C C C C C C O . C I")


def _zip_append(root: Path) -> None:
    import zipfile

    path = root / "uspto15k/data.zip"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text + (MAPPED.format("F", "AsH2") + "\n" if name == "data/valid.txt" else ""))


def _selection_append(root: Path) -> None:
    path = root / "chemllmbench/reagent_selection/solvent_selection.json"
    items = json.loads(path.read_text())
    (sample,) = items[-1:]
    roles = [line.split(": ") for line in sample["task"].rpartition("components:\n")[2].split("  \n")[0].split("\n")]
    swapped = [roles[0][:1] + roles[1][1:], roles[1][:1] + roles[0][1:], *roles[2:]]  # the two reactants have changed places
    ranked = sample["candidate_rank"]
    path.write_text(json.dumps([*items, selection_item(selection_prompt([(r, s) for r, s in swapped], "Solvent", ranked[::-1]), ranked)]))


PLANTS: dict[str, Callable[[Path], None]] = {
    "chemllmbench_names": lambda root: append(root / "chemllmbench/name_prediction/llm_test.csv", "9,OCCCCCCC,1-heptanol,C7H16O,8,train"),
    "chemicals_names": lambda root: _gzip_append(
        root / "chemicals_names/pubchem_names_opsin_verified.tsv.gz", "3\t\tC7H14O2\tOC(=O)CCCCCC\tx\tenanthic acid\t\tenanthic acid"
    ),
    "pubchem_iupac": lambda root: append(root / "tomg_bench/targeted_generation/IUPAC/PubChem/train.txt", "3\tCCCCCOCCCCCC\tan ether"),
    "moleculenet": lambda root: append(root / "chemllmbench/property_prediction/BACE.csv", "CCCCCCCCBr,B9,1"),
    "chebi20": lambda root: append(root / "chebi20/molt5/validation.txt", "3\tCC/C=C/CCCCCC\tThe other decene."),
    "pubchem_captions": lambda root: append(
        root / "tomg_bench/targeted_generation/CapMol/PubChem/validation.txt", "3\tCCN\tThe molecule  smells, test."
    ),
    "openmolins": lambda root: append(
        root / "tomg_bench/OpenMolIns/small/train.csv", f'AtomNum,"A molecule with 31 carbon atoms, and 1 chlorine atom.",{"C" * 31}Cl'
    ),
    "suzuki_selection": _selection_append,
    "rxn_yields": lambda root: append(
        root / "rxn_yields/Suzuki-Miyaura/random_split_0.tsv", f"7\tCO.CC(=O)O-CC(=O)O-[Pd].{HALIDE}>>c1ccc2ncccc2c1\t0.1"
    ),
    "uspto50k": _uspto50k_append,
    "uspto15k": _zip_append,
    "uspto480k": lambda root: write_uspto480k(root, MAPPED.format("F", "NH2"), MAPPED.format("Cl", "AsH2")),
}  # fmt: skip


@pytest.mark.parametrize("source", PLANTS)
def test_a_leak_planted_in_any_source_is_removed_and_would_be_caught_by_the_second_pass(data: Path, source: str) -> None:
    before = list(training_rows(source, data))
    PLANTS[source](data)
    planted = [example for example in training_rows(source, data) if example not in before]
    assert planted, "the planted row was not read"

    index, removals = EvaluationIndex.of_all_suites(data), Removals()
    kept = list(decontaminated(training_rows(source, data), index, RowLog(), removals))
    assert not [example for example in kept if example in planted], "a planted leak is trained on"

    audit = LeakAudit.of_all_suites(data)
    assert not any(audit.check(source, example) for example in planted), "the second pass takes a leak for clean"
    assert audit.left.total() >= len(planted)


def test_the_second_pass_reports_what_the_first_lets_through(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(source: str, data_dir: Path, index: EvaluationIndex, log: RowLog, removals: Removals) -> Iterator[Example]:
        yield from training_rows(source, data_dir, log)

    monkeypatch.setattr("chemr.data.leak_report.clean_training_rows", lazy)
    report = find_leaks(data)
    assert report.left["moleculenet", "chemllmbench"] == 5 and report.left["rxn_yields", "chemllmbench"] == 2
    assert "LEAKS LEFT" in "\n".join(leak_lines(report)) and "moleculenet/property_bace/0" in "\n".join(leak_lines(report))


def test_a_test_row_leaks_into_itself(data: Path) -> None:
    from chemr.data.sources.suites import SUITES
    from chemr.data.sources.suites import test_rows as rows_of_test

    rows: Iterable[tuple[str, Example]] = ((s, row) for s, tasks in SUITES.items() for task in tasks for row in rows_of_test(s, task, data))
    for suite, example in rows:
        assert evaluation_keys(example) & row_keys(example), f"{suite} {example.uid} has nothing to be known by"


def test_the_commands_print_their_tables_and_end_with_a_status(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["data", "leaks", f"data.dir={data}", "--json", str(tmp_path / "leaks.json")]) == 0
    assert "0 leaks" in capsys.readouterr().out
    assert json.loads((tmp_path / "leaks.json").read_text())["left"] == {}
    assert main(["data", "stats", f"data.dir={data}"]) == 0
    printed = capsys.readouterr().out
    assert "rxn_yields/yield_bh" in printed and "No 50%, Yes 50%" in printed, printed
    assert main(["data", "leaks", f"data.dir={data}", "data.strict=true"]) == 2
    assert "BBBP.csv:4" in capsys.readouterr().err, "strict does not say where it stopped"
    assert main(["data", "stats", f"data.dir={tmp_path / 'nowhere'}"]) == 2
    assert "data.dir" in capsys.readouterr().err
