"""What of an answer is true: claims by RDKit, steps by the program that writes the starter's traces, and the score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from chemr.playground.checks import Checks, Claim
from chemr.playground.model import Sampling
from chemr.playground.names import Names
from chemr.playground.questions import question
from chemr.playground.session import Playground, Reply, drawings, read_completion
from chemr.playground.step_scorer import agrees
from rewards.opsin import OpsinMode
from tests.chemr.playground.scripted import FORMULA, HOSTILE, PROSE, ScriptedModel

NO_NAMES = Names(OpsinMode.NEVER)


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    model: Any = ScriptedModel("")
    with closing(Playground(model, NO_NAMES)) as made:
        yield made


def ask(playground: Playground, written: str, task: str, text: str, **settings: str) -> Reply:
    model: Any = playground.model
    model.text = written
    return playground.answer(question(task, text, settings, NO_NAMES), Sampling())


def told(claims: list[Claim]) -> list[tuple[int, str, str, bool | None, str]]:
    return [(claim.step, claim.kind, claim.what, claim.true, claim.of) for claim in claims]


def test_each_claim_of_a_step_is_true_or_false_and_of_what(playground: Playground) -> None:
    reply = ask(playground, PROSE, "moledit_add", "CC(=O)OCC", add="hydroxyl")
    assert told(reply.claims) == [
        (0, "group", "ester", True, "both"),
        (0, "rings", "2", False, ""),
        (0, "formula", "C4H8O2", True, "question"),
        (1, "group", "hydroxyl", True, "answer"),
    ], "a denied group is no claim"
    assert reply.claims[1].said == "It has two rings"


def test_steps_of_the_starter_s_form_are_computed_again(playground: Playground) -> None:
    reply = ask(playground, FORMULA, "smiles2formula", "CCC(=O)O")
    assert told(reply.claims) == [(0, "step", "Heavy atoms", True, "question"), (1, "step", "Unsaturation", False, "")]
    forward = ask(playground, "<think>1. **Product atoms**: O2C4</think><answer>CCOC(C)=O</answer>", "forward", "CCO.CC(=O)O")
    assert told(forward.claims) == [(0, "step", "Product atoms", True, "answer")], "the order of elements does not matter"
    assert forward.score.value is None and "not known here" in forward.score.why


def test_a_step_that_can_be_written_in_many_ways_is_never_false() -> None:
    assert agrees("Put in", "O", "O") is True and agrees("Put in", "[OH]", "O") is None
    assert agrees("Leaves", "HCl,", "ClH") is None and agrees("Part atoms", "C2O,C3", "C3,OC2") is True
    assert agrees("Leaves", "none", "H2O") is False and agrees("Unsaturation", "1", "2") is False


def test_without_a_molecule_a_claim_cannot_be_told(playground: Playground) -> None:
    reply = ask(playground, "<think>It has one ring. It is an ester.</think><answer>none</answer>", "text2mol", "a ring")
    assert told(reply.claims) == [(0, "rings", "1", None, ""), (0, "group", "ester", None, "")]


@pytest.mark.parametrize(
    ("task", "text", "settings", "answer", "value"),
    [
        ("smiles2formula", "CCO", {}, "C2H6O", 1.0),
        ("moledit_add", "CCCC", {"add": "hydroxyl"}, "CCCCO", 1.0),
        ("moledit_add", "CCCC", {"add": "hydroxyl"}, "CCCC", 0.0),
        ("molopt_logp", "CCCO", {"direction": "increase", "by": "0.4"}, "CCCCO", 1.0),
        ("molopt_logp", "CCCO", {"direction": "increase", "by": "1.2"}, "CCCCO", 0.0),
        ("molcustom_atomnum", "C2 O1", {}, "COC", 1.0),
    ],
)
def test_what_needs_no_reference_is_scored(
    task: str, text: str, settings: dict[str, str], answer: str, value: float | None, playground: Playground
) -> None:
    reply = ask(playground, f"<answer>{answer}</answer>", task, text, **settings)
    assert reply.score.value is not None
    assert reply.score.value == value if value is not None else reply.score.value > 0.0


def test_names_are_scored_by_what_they_mean(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "OPSIN is off" in ask(playground, "<answer>ethanol</answer>", "smiles2iupac", "CCO").score.why
    monkeypatch.setattr(Names, "smiles", lambda self, name: {"ethanol": "OCC"}.get(name))
    assert ask(playground, "<answer>ethanol</answer>", "smiles2iupac", "CCO").score.value == 1.0
    assert ask(playground, "<answer>rubbish</answer>", "smiles2iupac", "CCO").score.value == 0.0


def test_an_answer_in_no_form_is_shown_and_worth_nothing(playground: Playground) -> None:
    reply = ask(playground, HOSTILE, "smiles2formula", "CCO")
    assert reply.answer is None and reply.score.value == 0.0 and reply.score.reason == "no_answer"
    assert "onerror" in reply.steps[0].claim
    empty = ask(playground, "", "smiles2formula", "CCO")
    assert empty.steps == [] and empty.claims == []


def test_text_before_the_steps_is_kept() -> None:
    steps, answer = read_completion("<think>Let me see.\n1. **One**: a\nmore\n2. **Two**: b</think><answer>C</answer>")
    assert [(step.number, step.title, step.claim) for step in steps] == [(0, "", "Let me see."), (1, "One", "a\nmore"), (2, "Two", "b")]
    assert answer == "C"


def test_an_edit_is_drawn_with_what_it_changed(playground: Playground) -> None:
    drawn = drawings(ask(playground, "<answer>CCCCO</answer>", "moledit_add", "CCCC", add="hydroxyl"))
    assert (drawn["asked"], drawn["answer"]) == ([0], 1) and len(drawn["difference"][0]) == 1 and drawn["difference"][1] == []
    formula = drawings(ask(playground, "<answer>CO</answer>", "smiles2formula", "CO"))
    assert formula["answer"] is None, "a formula was drawn as if it were SMILES"


def test_scoring_processes_that_cannot_be_started_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from chemr.playground import checks
    from chemr.playground.errors import QuestionError
    from rewards.errors import ScorerPoolError

    def refuse(**_: Any) -> None:
        raise ScorerPoolError("no room")

    monkeypatch.setattr(checks, "ScorerPool", refuse)
    with pytest.raises(QuestionError, match="answers cannot be checked: no room"):
        Checks(NO_NAMES)
