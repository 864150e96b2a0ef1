"""What the model reads, and the form of what it writes."""

from __future__ import annotations

import pytest

from chemr.data.example import Example
from chemr.prompts import completion_direct, completion_with_trace, messages, prompted_tasks, render_prompt
from chemr.tasks import TASKS
from rewards.answer import Answer, extract
from rewards.registry import task_names
from tests.chemr.protocol_rows import ROWS

ANYTHING = {
    "smiles": "X", "iupac": "X", "counts": {"X": 1}, "add": "X", "remove": "X", "direction": "increase", "by": 1.0,
    "reactants": "X", "product": "X", "given": "X", "candidates": ["X"], "caption": "X", "reaction": "X",
}  # fmt: skip


def example(task: str, inputs: dict[str, object], answer: str = "CCO") -> Example:
    return Example(f"test/{task}", task, inputs, {"answer": answer}, 0.0, "test", "Apache-2.0")


def test_every_task_has_a_wording_and_every_scored_one_is_a_task() -> None:
    assert set(prompted_tasks()) == set(TASKS), "prompts and tasks differ"
    assert set(task_names()) <= set(TASKS), "a scorer has no task"


def test_both_forms_of_reactant_selection_are_asked() -> None:
    starter = render_prompt(example("reactant_selection", {"product": "CCOC", "given": "CO", "candidates": ["CCBr"]}))
    published = render_prompt(example("reactant_selection", {"reaction": "reactant CO, ligand P", "candidates": ["CCBr", "CCI"]}))
    assert starter == "Reactant to make CCOC with CO from 1 CCBr", "the starter's wording changed"
    assert "reactant CO, ligand P" in published and "1 CCBr, 2 CCI" in published


def test_yes_no_questions_say_what_may_be_answered() -> None:
    for task, spec in TASKS.items():
        if spec.classes:
            assert render_prompt(example(task, ANYTHING)).endswith("Answer Yes or No"), f"{task} does not name its answers"


def test_tasks_are_told_apart_by_their_words_alone() -> None:
    texts = {task: render_prompt(example(task, ANYTHING)) for task in prompted_tasks()}
    assert len(set(texts.values())) == len(texts), f"two tasks ask the same thing: {sorted(texts.items())}"


@pytest.mark.parametrize(
    ("task", "inputs", "text"),
    [
        ("molopt_logp", {"direction": "increase", "by": 0.6}, "Increase logP of CCO by 0.6"),
        ("molopt_logp", {"direction": "decrease", "by": 1.0}, "Decrease logP of CCO by 1"),
        ("molopt_mr", {"direction": "increase", "by": 25.0}, "Increase refractivity of CCO by 25"),
        ("molopt_qed", {"direction": "decrease", "by": 0.07}, "Decrease drug-likeness (QED) of CCO by 0.07"),
        ("molopt_logp", {"direction": "decrease"}, "Decrease logP of CCO"),
    ],
)
def test_direction_and_size_of_an_optimisation_are_in_the_prompt(task: str, inputs: dict[str, object], text: str) -> None:
    assert render_prompt(example(task, {"smiles": "CCO", **inputs})) == text


def test_counts_are_asked_in_one_order_whatever_the_order_of_the_mapping() -> None:
    one = render_prompt(example("molcustom_atomnum", {"counts": {"O": 1, "C": 3, "Cl": 2}}))
    other = render_prompt(example("molcustom_atomnum", {"counts": {"Cl": 2, "O": 1, "C": 3}}))
    assert one == other == "Molecule with atoms C3 Cl2 O1", "the same question is worded in two ways"


def test_a_missing_field_is_named_with_the_example_it_is_missing_from() -> None:
    with pytest.raises(ValueError, match=r"test/forward.*'reactants'.*smiles"):
        render_prompt(example("forward", {"smiles": "CCO"}))


def test_an_unknown_task_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'smiles2poetry'.*forward"):
        render_prompt(example("smiles2poetry", {}))


def test_the_conversation_is_one_user_message() -> None:
    assert messages(ROWS[0]) == [{"role": "user", "content": render_prompt(ROWS[0])}], "a prompt is more than one user message"


@pytest.mark.parametrize("row", ROWS[::7], ids=lambda row: row.uid)
def test_both_forms_of_completion_give_the_gold_answer_back_to_the_normaliser(row: Example) -> None:
    gold = row.reference["answer"]
    assert extract(completion_direct(row)) == Answer(gold), "the direct completion lost its answer"
    assert extract(completion_with_trace("1. **Look**: here", gold)) == Answer(gold), "the reasoned completion lost its answer"


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<answer>", "</answer>"])
def test_tags_inside_a_trace_or_an_answer_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="trace"):
        completion_with_trace(f"1. **Look**: {tag}", "CCO")
    with pytest.raises(ValueError, match="answer"):
        completion_with_trace("1. **Look**: here", tag)
    with pytest.raises(ValueError, match="answer"):
        completion_direct(example("forward", {}, answer=tag))
