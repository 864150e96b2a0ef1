"""The task graph: who waits for whom, and that a task once open stays open."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from chemr.curriculum.config import CurriculumConfig, UnlockRule
from chemr.curriculum.task_curriculum import TaskCurriculum

TASKS = ("first", "second", "third")


def chain(**settings: object) -> CurriculumConfig:
    """third waits for second, which waits for first."""
    rules = {"second": UnlockRule(["first"], success=0.4), "third": UnlockRule(["second"], success=0.4)}
    config = CurriculumConfig(unlock=rules | settings)  # type: ignore[arg-type]
    config.validate()
    return config


def practise(curriculum: TaskCurriculum, task: str, success: float, groups: int) -> list[str]:
    """The tasks that this unlocks."""
    notices = [notice for _ in range(groups) for notice in curriculum.update(task, success=success, abs_advantage=0.1, age=0)]
    return [notice.task for notice in notices if notice.kind == "unlocked"]


def test_a_locked_task_is_never_drawn_and_joins_when_the_task_before_it_is_learnt() -> None:
    curriculum = TaskCurriculum(TASKS, chain(), seed=0)
    assert set(Counter(curriculum.draw() for _ in range(200))) == {"first"}, "the others wait"
    assert curriculum.metrics()["curriculum/locked"] == 2
    assert practise(curriculum, "first", 0.3, 50) == [], "0.3 is below 0.4"
    assert practise(curriculum, "first", 0.9, 50) == ["second"], "one task joins, and is told of once"
    assert set(Counter(curriculum.draw() for _ in range(200))) == {"first", "second"}
    assert curriculum.metrics()["curriculum/weight/third"] == 0.0 and curriculum.metrics()["curriculum/locked"] == 1


def test_one_lucky_group_and_the_prior_unlock_nothing() -> None:
    curriculum = TaskCurriculum(TASKS, chain(), seed=0)
    assert practise(curriculum, "first", 1.0, 9) == [], "an estimate over nine groups is not taken at its word"
    assert practise(curriculum, "first", 1.0, 1) == ["second"]


def test_an_open_task_stays_open_when_the_task_before_it_is_forgotten() -> None:
    curriculum = TaskCurriculum(TASKS, chain(), seed=0)
    practise(curriculum, "first", 1.0, 20)
    practise(curriculum, "first", 0.0, 100)
    assert curriculum.locked == ("third",) and curriculum.weights["second"] > 0


def test_a_task_after_two_waits_for_both_though_not_at_one_moment() -> None:
    curriculum = TaskCurriculum(TASKS, chain(second=UnlockRule(["first"], success=0.9), third=UnlockRule(["first", "second"])), seed=0)
    practise(curriculum, "first", 1.0, 20)
    practise(curriculum, "first", 0.0, 100)
    assert "third" in curriculum.locked
    assert practise(curriculum, "second", 1.0, 20) == ["third"], "first has passed before, and that counts"


def test_a_task_that_got_stuck_lets_the_next_one_in() -> None:
    rule = UnlockRule(["first"], success=0.9, plateau=30, plateau_gain=0.02)
    curriculum = TaskCurriculum(TASKS, chain(second=rule), seed=0)
    rising = [practise(curriculum, "first", 0.01 * step, 1) for step in range(60)]
    assert not any(rising), "a task that still rises holds the next one back"
    assert practise(curriculum, "first", 0.6, 29) == [], "the window still holds the rise"
    assert practise(curriculum, "first", 0.6, 60) == ["second"], "a task that rises no more lets the next one in"


def test_without_a_plateau_a_stuck_task_holds_the_next_one_back() -> None:
    curriculum = TaskCurriculum(TASKS, chain(), seed=0)
    assert practise(curriculum, "first", 0.2, 500) == []


def test_a_checkpoint_keeps_what_is_open_and_what_has_passed() -> None:
    config = chain(third=UnlockRule(["first", "second"], success=0.4))
    original = TaskCurriculum(TASKS, config, seed=0)
    practise(original, "first", 1.0, 20)
    practise(original, "first", 0.0, 100)
    restored = TaskCurriculum(TASKS, config, seed=5)
    restored.load_state_dict(json.loads(json.dumps(original.state_dict())))
    assert restored.locked == ("third",) and restored.weights == original.weights
    assert practise(restored, "second", 1.0, 20) == ["third"] == practise(original, "second", 1.0, 20)


def test_a_checkpoint_from_before_the_graph_begins_locked() -> None:
    older = TaskCurriculum(TASKS, CurriculumConfig(), seed=0).state_dict()
    for name in ("locks", "courses", "watches"):
        del older[name]
    curriculum = TaskCurriculum(TASKS, chain(), seed=0)
    curriculum.load_state_dict(older)
    assert curriculum.locked == ("second", "third")
    assert practise(curriculum, "first", 1.0, 20) == ["second"]


def test_a_run_without_the_task_before_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unlock\.second\.after names 'first'"):
        TaskCurriculum(("second", "third"), chain(), seed=0)
