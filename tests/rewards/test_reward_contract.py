"""The contract of every task: gold pays 1, wrong pays less, junk pays 0, broken rows are failures and unknown tasks are errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rewards.registry as registry
from rewards.errors import BadReferenceError, UnknownTaskError
from rewards.job import ScoreJob
from rewards.registry import scorer, scorer_for, task_names
from rewards.scoring import score_answer, score_here
from rewards.verdict import FAILURES, Reason, Verdict

OPEN_TASKS = ("molcustom_", "moledit_", "molopt_")  # may come without a reference answer


def test_every_task_has_a_solved_example_here(solved):
    assert set(solved) == set(task_names()), "a task without an example in conftest.SOLVED is a task without tests"


def test_the_reference_answer_of_every_task_scores_one(solved):
    for task, (inputs, reference) in solved.items():
        verdict = score_here(ScoreJob(task, f"<think>steps</think><answer>{reference['answer']}</answer>", inputs, reference))
        assert verdict.value == 1.0, f"the gold answer of {task} got {verdict}"
        assert verdict.reason is Reason.CORRECT


def test_another_answer_scores_less_than_one_on_every_task(solved):
    wrong = {"smiles2formula": "C9H9N", "iupac2formula": "C2H6", "smiles2iupac": "methanol", "mol2text": "The molecule is an alkane."}
    for task, (inputs, reference) in solved.items():
        verdict = score_answer(task, wrong.get(task, "CCCCN"), inputs, reference)
        assert verdict.value is not None, f"a wrong answer to {task} is not a failure: {verdict}"
        assert verdict.value <= 0.5, f"a wrong answer to {task} got {verdict}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=()), min_size=1, max_size=40)
    | st.text("CNOSFcnos[]()=#123+-@./\\H", min_size=1, max_size=30)
)
def test_any_text_gets_a_value_and_never_a_failure(solved, text):
    for task, (inputs, reference) in solved.items():
        verdict = score_answer(task, text, inputs, reference)
        assert verdict.value is not None, f"{text!r} made {task} fail: {verdict}; a failure is for the machine, not for an answer"


def test_a_broken_row_is_a_failure_and_not_a_zero(solved):
    for task, (inputs, reference) in solved.items():
        if not task.startswith(OPEN_TASKS):
            with pytest.raises(BadReferenceError):
                score_answer(task, reference["answer"], inputs, {})
        if task not in {"smiles2iupac", "mol2text"}:
            with pytest.raises(BadReferenceError):
                score_answer(task, reference["answer"], inputs, {"answer": "not (a molecule"})


@pytest.mark.parametrize(
    ("task", "inputs"),
    [
        ("molcustom_atomnum", {"counts": {"C": 0}}),
        ("molcustom_atomnum", {"counts": {"C": True}}),
        ("molcustom_atomnum", {"counts": {"H": 3}}),
        ("molcustom_atomnum", {"counts": {}}),
        ("molcustom_bondnum", {"counts": {"quadruple": 1}}),
        ("molcustom_functionalgroup", {"counts": {"phlogiston": 1}}),
        ("moledit_add", {"smiles": "CC", "add": "phlogiston"}),
        ("molopt_logp", {"smiles": "CC", "direction": "sideways"}),
        ("reactant_selection", {"candidates": ["CO"]}),
        ("reactant_selection", {"candidates": ["CCO", "OCC"]}),
    ],
)
def test_impossible_questions_are_bad_references(task, inputs):
    with pytest.raises(BadReferenceError):
        score_answer(task, "CCO", inputs, {"answer": "CCO"})


def test_an_unknown_task_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UnknownTaskError, match=r"'smiles2fromula'.*smiles2formula"):
        scorer_for("smiles2fromula")


def test_two_scorers_for_one_task_are_refused():
    scorer_for("retro")
    with pytest.raises(ValueError, match="already has the scorer"):
        scorer("retro")(lambda answer, inputs, reference: Verdict(1.0, Reason.CORRECT))


def test_the_table_of_tasks_equals_what_the_modules_register():
    registry.import_all()
    assert set(registry._MODULE_OF_TASK) <= set(registry._SCORERS)
    for task, module in registry._MODULE_OF_TASK.items():
        assert registry._SCORERS[task].__module__ == module


def test_names_and_pool_do_not_import_rdkit():
    code = "import sys, rewards.isolation, rewards.registry as r; r.task_names(); sys.exit('rdkit' in sys.modules)"
    path = [p for p in sys.path if p]
    assert subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], timeout=240).returncode == 0


@pytest.mark.parametrize("reason", list(Reason))
def test_a_verdict_is_either_a_value_or_a_failure(reason):
    if reason in FAILURES:
        assert Verdict(None, reason).failed
        with pytest.raises(ValueError):
            Verdict(0.0, reason)
    else:
        with pytest.raises(ValueError):
            Verdict(None, reason)
    with pytest.raises(ValueError):
        Verdict(1.1, reason)
