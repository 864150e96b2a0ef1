"""What a person types becomes a question with the wording of training, or a sentence."""

from __future__ import annotations

import pytest

from chemr.playground import names as names_module
from chemr.playground.errors import QuestionError
from chemr.playground.names import Names
from chemr.playground.questions import ASKED, question, score_meaning
from chemr.prompts import prompted_tasks, render_prompt
from rewards.opsin import OpsinMode, find_opsin

NO_NAMES = Names(OpsinMode.NEVER)
WITH_JAVA = pytest.mark.skipif(find_opsin(OpsinMode.AUTO).jar is None, reason="names are read where Java is")
FURTHER = {
    "moledit_add": {"add": "amine"},
    "moledit_del": {"remove": "hydroxyl"},
    "moledit_sub": {"remove": "halo", "add": "Benzene ring"},
    "molopt_logp": {"direction": "increase", "by": "0.6"},
    "molopt_mr": {"direction": "decrease", "by": "5"},
    "molopt_qed": {"direction": "increase", "by": "0.05"},
    "reactant_selection": {"given": "CCO", "candidates": "CC(=O)O, CC(=O)Cl"},
    "ligand_selection": {"candidates": "CP(C)C,CCP(CC)CC"},
    "solvent_selection": {"candidates": "CCO,O"},
}


def test_every_task_that_training_words_can_be_asked() -> None:
    assert set(ASKED) == set(prompted_tasks())
    for task, asked in ASKED.items():
        made = question(task, asked.example, FURTHER.get(task, {}), NO_NAMES)
        assert render_prompt(made.example), f"{task} has no wording"


def test_a_question_is_worded_as_in_training_with_what_is_known_of_its_answer() -> None:
    made = question("smiles2formula", " OCC ", {}, NO_NAMES)
    assert render_prompt(made.example) == "Formula of OCC", "a molecule is copied as it was typed"
    assert made.example.reference == {"answer": "C2H6O"} and made.molecules == ("OCC",)
    edit = question("moledit_sub", "CCBr", {"remove": "halo", "add": "benzene ring"}, NO_NAMES)
    assert render_prompt(edit.example) == "Replace halo by benzene ring in CCBr" and edit.example.reference == {}


@pytest.mark.parametrize(("text", "counts"), [("C=3 O=1", {"C": 3, "O": 1}), ("C3, O1", {"C": 3, "O": 1}), ("Cl 2", {"Cl": 2})])
def test_counts_are_read_in_several_writings(text: str, counts: dict[str, int]) -> None:
    assert question("molcustom_atomnum", text, {}, NO_NAMES).example.inputs["counts"] == counts


def test_the_size_of_a_change_is_a_number_in_the_question() -> None:
    made = question("molopt_logp", "CCCO", {"direction": "increase", "by": "0.60"}, NO_NAMES)
    assert render_prompt(made.example) == "Increase logP of CCCO by 0.6"


def test_groups_may_have_two_words() -> None:
    made = question("molcustom_functionalgroup", "benzene ring = 1, amine = 2", {}, NO_NAMES)
    assert made.example.inputs["counts"] == {"benzene_ring": 1, "amine": 2}


@pytest.mark.parametrize(
    ("task", "text", "settings", "said"),
    [
        ("smiles2formula", "C1CC", {}, "RDKit does not read it as SMILES"),
        ("smiles2formula", "C" * 1300, {}, "longer than any SMILES"),
        ("smiles2formula", "CC*", {}, "of another shape"),
        ("smiles2formula", "ethanol", {}, "if it is a name: names cannot be read here: OPSIN is off"),
        ("smiles2formula", "", {}, "asks for: Molecule"),
        ("smiles2formula", "CC\nO", {}, "one printable line"),
        ("smiles2formula", "CCO", {"add": "amine"}, "has no setting 'add'"),
        ("nothing", "CCO", {}, "there is no task 'nothing'"),
        ("moledit_add", "CCO", {}, "needs add="),
        ("moledit_add", "CCO", {"add": "gold"}, "one of benzene_ring"),
        ("molopt_mr", "CCO", {"direction": "up"}, "increase, decrease"),
        ("molopt_mr", "CCO", {"direction": "increase"}, "needs by=a number from 0.5 on, in cm³/mol"),
        *(("molopt_logp", "CCO", {"direction": "increase", "by": by}, "a number from 0.1 on") for by in ("much", "0", "-1", "nan", "inf")),
        ("molcustom_atomnum", "H=3", {}, "does not count 'H'"),
        ("molcustom_atomnum", "C=0", {}, "from 1 to 100"),
        ("molcustom_bondnum", "many", {}, "counts were expected"),
        ("yield_bh", "CCO", {}, "is no reaction"),
        ("yield_bh", "CCO>>C1", {}, "is no molecule"),
        ("reactant_selection", "CCO", {"given": "C1", "candidates": "C"}, "is no molecule"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(task: str, text: str, settings: dict[str, str], said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        question(task, text, settings, NO_NAMES)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_java_a_name_is_asked_but_its_answer_is_not_known() -> None:
    made = question("iupac2smiles", "butan-1-ol", {}, NO_NAMES)
    assert made.example.reference == {} and "the answer is not scored" in made.notes[0]


def test_names_are_read_where_java_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"butan-1-ol": "C(CCC)O"}
    monkeypatch.setattr(names_module, "_read", lambda jar, line: known.get(line, ""))
    names = Names()
    names._jar, names.why_not = "jar", ""
    made = question("smiles2formula", "butan-1-ol", {}, names)
    assert made.molecules == ("CCCCO",) and made.notes == ("butan-1-ol is CCCCO, as OPSIN reads it",)
    assert question("iupac2smiles", "butan-1-ol", {}, names).example.reference == {"answer": "CCCCO"}
    for task, said in (("smiles2formula", "nor a name that OPSIN reads"), ("iupac2smiles", "no systematic name")):
        with pytest.raises(QuestionError, match=said):
            question(task, "no such thing", {}, names)


@WITH_JAVA
def test_opsin_reads_a_name() -> None:
    names = Names()
    assert names.smiles("butan-1-ol") == "C(CCC)O" and names.smiles("a\nb") is None, "two lines are no name"


def test_what_a_score_means_is_said_for_the_tasks_that_have_one() -> None:
    assert "RDKit" in score_meaning("smiles2formula") and "no reference" in score_meaning("molopt_qed")
    assert score_meaning("forward") == score_meaning("property_bace") == ""
