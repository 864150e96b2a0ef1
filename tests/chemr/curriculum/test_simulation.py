"""The simulator: a pure function that tells samplers apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chemr.curriculum.config import AlertsConfig, CurriculumConfig, UnlockRule, Weighting
from chemr.curriculum.recording import Point, Recording, recording_of
from chemr.curriculum.simulation import Clock, SimulationSettings, simulate

SETTINGS = SimulationSettings(steps=100, groups_per_step=8, samples=8)


def recorded(courses: dict[str, tuple[float, float]], steps: int = 100) -> Recording:
    """Straight lines from the one rate to the other."""
    points: Sequence[Point] = [
        Point(step, task, first + (last - first) * (step - 1) / (steps - 1))
        for task, (first, last) in courses.items()
        for step in range(1, steps + 1)
    ]
    return recording_of(points)


MIXED = recorded({"easy": (0.9, 0.95), "middling": (0.4, 0.6), "hard": (0.02, 0.1), "harder": (0.0, 0.05)})


def test_one_seed_gives_one_simulation() -> None:
    first, again = (simulate(MIXED, CurriculumConfig(), SETTINGS) for _ in range(2))
    assert first == again
    assert simulate(MIXED, CurriculumConfig(), replace(SETTINGS, seed=1)) != first


def test_difficulty_draws_hard_tasks_more_often_and_uniform_all_alike() -> None:
    hard = simulate(MIXED, CurriculumConfig(weighting=Weighting.difficulty, floor=0.1), SETTINGS)
    alike = simulate(MIXED, CurriculumConfig(weighting=Weighting.uniform), SETTINGS)
    assert hard.tasks["harder"].share > 2 * hard.tasks["easy"].share
    assert all(0.18 < task.share < 0.32 for task in alike.tasks.values())
    assert sum(task.share for task in hard.tasks.values()) == pytest.approx(1.0)
    assert alike.effective_tasks == pytest.approx([4.0] * 100) and hard.effective_tasks[-1] < 3.9
    assert simulate(MIXED, CurriculumConfig(weighting=Weighting.variance), SETTINGS).teaching > hard.teaching, (
        "where success is a coin toss, more groups teach"
    )


def test_estimates_follow_the_recorded_rates() -> None:
    result = simulate(recorded({"a": (0.1, 0.8), "b": (0.5, 0.5)}), CurriculumConfig(weighting=Weighting.uniform), SETTINGS)
    a = result.tasks["a"]
    assert a.rate_first == pytest.approx(0.1) and a.rate_last == pytest.approx(0.8)
    assert a.observed[0] < 0.45 and a.observed[-1] == pytest.approx(0.8, abs=0.15)
    assert len(a.weights) == len(a.estimates) == len(result.entropy) == 100


def test_by_the_clock_of_groups_a_task_moves_with_its_own_practice() -> None:
    by_groups = replace(SETTINGS, clock=Clock.groups)
    recording = recorded({"easy": (0.9, 1.0), "middle": (0.6, 0.8), "hard": (0.0, 0.6)})
    alike = simulate(recording, CurriculumConfig(weighting=Weighting.uniform), replace(by_groups, steps=60))
    lifted = simulate(recording, CurriculumConfig(weighting=Weighting.difficulty, floor=0.1), replace(by_groups, steps=60))
    assert alike.tasks["hard"].rate_last < 0.6, "60 of 100 steps are not the whole course"
    assert lifted.worst_third > alike.worst_third + 0.05, "difficulty weighting lifts the worst third"
    assert lifted.mean_rate > alike.mean_rate, "and here the mean with it"
    by_steps = [simulate(recording, CurriculumConfig(weighting=w), SETTINGS).worst_third for w in Weighting]
    assert len(set(by_steps)) == 1, "by the clock of steps, rates are the recording's, whatever is sampled"


def test_unlocking_and_alerts_are_reported_with_their_step() -> None:
    config = CurriculumConfig(
        weighting=Weighting.uniform,
        unlock={"hard": UnlockRule(["middling"], success=0.5), "harder": UnlockRule(["hard"], success=0.9)},
        alerts=AlertsConfig(window=50),
    )
    tasks = simulate(MIXED, config, SETTINGS).tasks
    assert tasks["hard"].unlocked_at is not None and tasks["hard"].weights[tasks["hard"].unlocked_at - 2] == 0.0
    assert tasks["hard"].weights[-1] > 0 and tasks["hard"].estimates[0] is None
    assert tasks["harder"].locked and tasks["harder"].unlocked_at is None and tasks["harder"].groups == 0
    assert {kind for _, kind in tasks["hard"].alerts} == {"stall"} and tasks["easy"].alerts == []


def test_two_samplers_meet_the_same_luck() -> None:
    results = [simulate(recorded({"a": (0.5, 0.5)}), CurriculumConfig(weighting=w), SETTINGS) for w in Weighting]
    assert len({tuple(result.tasks["a"].observed) for result in results}) == 1, "the n-th group of a task is answered alike"


def test_settings_that_do_not_fit_the_recording_are_refused() -> None:
    with pytest.raises(ValueError, match="no task of this run"):
        simulate(MIXED, CurriculumConfig(floors={"nosuch": 0.1}), SETTINGS)
