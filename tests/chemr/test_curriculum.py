"""The curriculum: what it favours, what it never does, and that a checkpoint holds all of it."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chemr.curriculum import CurriculumConfig, PromptCursor, TaskCurriculum, Weighting
from chemr.curriculum.weights import effective_tasks, entropy

TASKS = ("easy", "hard", "middling")


def trained_curriculum(weighting: Weighting) -> TaskCurriculum:
    curriculum = TaskCurriculum(TASKS, CurriculumConfig(weighting=weighting), seed=1)
    for _ in range(60):
        curriculum.update("easy", success=0.98, abs_advantage=0.02, age=0)
        curriculum.update("hard", success=0.05, abs_advantage=0.10, age=0)
        curriculum.update("middling", success=0.5, abs_advantage=0.45, age=0)
    return curriculum


def weights(curriculum: TaskCurriculum) -> dict[str, float]:
    return {task: curriculum.metrics()[f"curriculum/weight/{task}"] for task in TASKS}


@pytest.mark.parametrize(
    ("weighting", "favourite"),
    [(Weighting.difficulty, "hard"), (Weighting.variance, "middling"), (Weighting.advantage, "middling")],
)
def test_each_weighting_favours_the_task_it_is_named_for(weighting: Weighting, favourite: str) -> None:
    learnt = weights(trained_curriculum(weighting))
    assert max(learnt, key=lambda task: learnt[task]) == favourite, f"{weighting} favours the wrong task: {learnt}"


def test_uniform_weighting_ignores_success() -> None:
    learnt = weights(trained_curriculum(Weighting.uniform))
    assert learnt == pytest.approx({task: 1 / 3 for task in TASKS}), "uniform weights must not depend on what was learnt"


@given(st.lists(st.tuples(st.sampled_from(TASKS), st.floats(0, 1), st.floats(0, 1), st.integers(0, 5)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_task_ever_starves_and_weights_sum_to_one(updates: list[tuple[str, float, float, int]]) -> None:
    for weighting in Weighting:
        curriculum = TaskCurriculum(TASKS, CurriculumConfig(weighting=weighting, temperature=0.5), seed=0)
        for task, success, advantage, age in updates:
            curriculum.update(task, success=success, abs_advantage=advantage, age=age)
        learnt = weights(curriculum)
        assert sum(learnt.values()) == pytest.approx(1.0), "weights are probabilities"
        assert min(learnt.values()) > 0.01, f"{weighting} lets a task starve: {learnt}"


def test_an_old_policy_moves_the_estimate_less_than_the_current_one() -> None:
    fresh, stale = (TaskCurriculum(TASKS, CurriculumConfig(), seed=0) for _ in range(2))
    for curriculum in (fresh, stale):
        for _ in range(20):
            curriculum.update("hard", success=0.0, abs_advantage=0.0, age=0)
    fresh.update("hard", success=1.0, abs_advantage=0.0, age=0)
    stale.update("hard", success=1.0, abs_advantage=0.0, age=4)
    moved = [c.metrics()["curriculum/success/hard"] for c in (fresh, stale)]
    assert moved[0] > 3 * moved[1], f"a sample four versions old must count for much less: {moved}"


def test_effective_tasks_counts_tasks_and_entropy_is_in_nats() -> None:
    assert effective_tasks({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}) == pytest.approx(4.0)
    assert effective_tasks({"a": 1.0, "b": 0.0}) == pytest.approx(1.0)
    assert entropy({"a": 0.5, "b": 0.5}) == pytest.approx(math.log(2))


def test_a_restored_curriculum_draws_what_the_original_would_have_drawn() -> None:
    original = trained_curriculum(Weighting.difficulty)
    cursor = PromptCursor({"easy": 3, "hard": 5, "middling": 2}, seed=4)
    for _ in range(17):
        cursor.draw(original.draw())
    state = json.loads(json.dumps([original.state_dict(), cursor.state_dict()]))  # as a checkpoint keeps it
    expected = [(task := original.draw(), cursor.draw(task)) for _ in range(50)]

    restored = TaskCurriculum(TASKS, CurriculumConfig(weighting=Weighting.difficulty), seed=99)
    restored.load_state_dict(state[0])
    restored_cursor = PromptCursor({"easy": 3, "hard": 5, "middling": 2}, seed=4)
    restored_cursor.load_state_dict(state[1])
    drawn = [(task := restored.draw(), restored_cursor.draw(task)) for _ in range(50)]
    assert drawn == expected, "a resumed run must ask the prompts that the uninterrupted one would have asked"


def test_a_floor_set_while_a_run_goes_on_lifts_its_task_and_is_kept_by_checkpoints() -> None:
    curriculum = trained_curriculum(Weighting.difficulty)
    before = curriculum.weights
    curriculum.set_floor("easy", 0.9)
    assert curriculum.weights["easy"] > before["easy"] and curriculum.metrics()["curriculum/floor/easy"] == 0.9
    restored = TaskCurriculum(TASKS, CurriculumConfig(weighting=Weighting.difficulty), seed=99)
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert restored.weights == curriculum.weights
    older = curriculum.state_dict()
    del older["floors"]
    restored.load_state_dict(older)
    assert restored.weights == before, "a checkpoint from before there were floors has none"


@pytest.mark.parametrize(
    ("task", "floor", "words"), [("nosuch", 0.5, "no task 'nosuch'"), ("easy", 0.0, "outside"), ("easy", 1.5, "outside")]
)
def test_a_floor_that_cannot_be_is_refused(task: str, floor: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trained_curriculum(Weighting.difficulty).set_floor(task, floor)


def test_a_weighting_without_floors_refuses_one_instead_of_ignoring_it() -> None:
    with pytest.raises(ValueError, match="has no floors"):
        trained_curriculum(Weighting.uniform).set_floor("easy", 0.5)


def test_a_checkpoint_of_other_tasks_is_refused_by_name() -> None:
    state = TaskCurriculum(("easy", "gone"), CurriculumConfig(), seed=0).state_dict()
    with pytest.raises(ValueError, match="gone"):
        TaskCurriculum(("easy", "new"), CurriculumConfig(), seed=0).load_state_dict(state)


def test_every_prompt_is_asked_once_before_any_is_asked_twice() -> None:
    cursor = PromptCursor({"hard": 7}, seed=0)
    assert Counter(cursor.draw("hard") for _ in range(14)) == Counter(dict.fromkeys(range(7), 2)), "two passes ask each prompt twice"


def test_a_task_without_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        PromptCursor({"empty": 0, "full": 3}, seed=0)


@pytest.mark.parametrize(("field", "value"), [("floor", 0.0), ("rate", 1.5), ("alpha", -1.0), ("temperature", 0.0), ("age_decay", 0.0)])
def test_impossible_curriculum_settings_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"curriculum\.{field}"):
        CurriculumConfig(**{field: value}).validate()
