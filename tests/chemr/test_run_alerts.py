"""A person is told once of what goes wrong, at the right step, and not of luck."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from chemr.tracking.alerts import AlertKind, RunWatch, alerts_of, in_episode
from chemr.tracking.config import AlertThresholds, TrackingConfig, WandbMode
from chemr.tracking.metrics_log import read_metrics
from chemr.tracking.tracker import Tracker

WINDOW = AlertThresholds().window
Course = Callable[[int], dict[str, Any]]


def run(steps: int, course: Course, thresholds: AlertThresholds | None = None) -> list[tuple[int, str]]:
    """Steps and metrics of the alerts of a GRPO stage whose records are ``course(step)``."""
    records: Iterable[dict[str, Any]] = ({"step": step, "stage": "grpo", **course(step)} for step in range(1, steps + 1))
    return [(step, alert.metric) for step, alert in alerts_of(records, thresholds or AlertThresholds())]


def healthy(step: int) -> dict[str, Any]:
    luck = random.Random(step)
    wrong, broken = 0.3 + 0.1 * luck.random(), 0.1 * luck.random()
    return {
        "reward/mean": 0.5 + 0.15 * luck.uniform(-1, 1),
        "train/entropy": 0.3 + 0.1 * luck.random(),
        "train/ess": 0.9 + 0.1 * luck.random(),
        "train/mismatch_kl": 0.01 * luck.random(),
        "async/age_max": float(luck.choice([0, 1, 1])),
        "async/age_bound": 1.0,
        "reward/forward/reason/correct": 1 - wrong - broken,
        "reward/forward/reason/wrong": wrong,
        "reward/forward/reason/invalid_molecule": broken,
    }


def test_a_healthy_run_tells_nobody() -> None:
    assert run(400, healthy) == []


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (AlertKind.reward_collapse, {"reward/mean": 0.1}),
        (AlertKind.entropy_collapse, {"train/entropy": 0.001}),
        (AlertKind.ess_low, {"train/ess": 0.3}),
        (AlertKind.mismatch, {"train/mismatch_kl": 0.1}),
        (AlertKind.age_at_bound, {"async/age_max": 1.0}),
        ("reason_rising/forward/invalid_molecule", {"reward/forward/reason/invalid_molecule": 0.6}),
        ("reason_rising/forward/no_answer", {"reward/forward/reason/no_answer": 0.5}),
    ],
)
def test_each_fault_is_told_once_within_two_windows_and_again_in_a_second_episode(kind: str, broken: dict[str, float]) -> None:
    def course(step: int) -> dict[str, Any]:
        return healthy(step) | (broken if 60 < step <= 120 or step > 240 else {})

    told = run(300, course)
    assert [metric for _, metric in told] == [f"alert/{kind}"] * 2, f"told: {told}"
    assert 60 < told[0][0] <= 60 + 2 * WINDOW and 240 < told[1][0] <= 240 + 2 * WINDOW, f"told too late, or by luck: {told}"


def validations(rewards: list[float], verbatim: list[float]) -> list[tuple[int, str]]:
    rows = {"eval/validation/forward": rewards, "eval/validation/forward/verbatim": verbatim}
    records = [
        {"step": step, "stage": "grpo"} | ({name: values[step // 10 - 1] for name, values in rows.items()} if step % 10 == 0 else {})
        for step in range(1, 10 * len(rewards) + 1)
    ]
    return [(step, alert.metric) for step, alert in alerts_of(records, AlertThresholds())]


def test_a_reward_that_rises_without_right_answers_is_told_once() -> None:
    told = validations([0.2, 0.2, 0.25, 0.5, 0.6, 0.6, 0.7], [0.1, 0.1, 0.1, 0.1, 0.09, 0.1, 0.1])
    assert told == [(40, "alert/hollow_reward/forward")]


@pytest.mark.parametrize(
    ("rewards", "verbatim"),
    [
        ([0.2, 0.2, 0.4, 0.6, 0.7], [0.1, 0.1, 0.2, 0.3, 0.4]),  # it learns
        ([0.2, 0.2, 0.6], [0.1, 0.1, 0.1]),  # too few validations to tell
        ([0.2, 0.3, 0.3, 0.35, 0.3], [0.1, 0.1, 0.1, 0.1, 0.1]),  # luck
        ([0.6, 0.6, 0.4, 0.3, 0.2], [0.3, 0.3, 0.2, 0.1, 0.0]),  # it gets worse: reward_collapse is about that
    ],
)
def test_a_reward_that_is_earned_or_does_not_rise_tells_nobody(rewards: list[float], verbatim: list[float]) -> None:
    assert validations(rewards, verbatim) == []


def test_one_bad_step_is_luck() -> None:
    bad = {"reward/mean": 0.0, "train/entropy": 0.0, "train/ess": 0.0, "async/age_max": 1.0, "train/mismatch_kl": 0.1}
    assert run(100, lambda step: healthy(step) | (bad if step == 50 else {})) == []


def test_a_level_that_trembles_about_its_threshold_is_one_episode() -> None:
    told = run(300, lambda step: healthy(step) | {"train/ess": 0.5 + 0.05 * math.sin(step / 8)})
    assert [metric for _, metric in told] == ["alert/ess_low"], f"told: {told}"
    assert in_episode(True, 0.55, 0.5, below=True) and not in_episode(False, 0.55, 0.5, below=True)
    assert in_episode(True, 0.018, 0.02, below=False) and not in_episode(False, 0.018, 0.02, below=False)


def test_a_policy_that_never_learnt_has_not_collapsed_and_a_synchronous_run_is_not_at_its_bound() -> None:
    assert run(100, lambda step: {"reward/mean": 0.08 if step < 50 else 0.0, "async/age_max": 0.0, "async/age_bound": 0.0}) == []


def test_what_is_null_or_of_another_stage_is_not_looked_at() -> None:
    assert run(100, lambda step: {"train/ess": None, "train/entropy": math.nan}) == []
    records = [{"step": step, "stage": "distill", "train/entropy": 0.0} for step in range(100)]
    assert list(alerts_of(records, AlertThresholds())) == [], "a supervised stage has no such entropy"


def test_a_threshold_of_null_leaves_its_alert_out() -> None:
    off = AlertThresholds(
        reward_drop=None, entropy=None, ess=None, mismatch_kl=None, age_at_bound=False, reason_rise=None, hollow_rise=None
    )
    bad = {"reward/mean": 0.0, "train/entropy": 0.0, "train/ess": 0.0, "async/age_max": 1.0, "train/mismatch_kl": 1.0}
    assert run(200, lambda step: healthy(step) | (bad | {"reward/forward/reason/timeout": 0.9} if step > 80 else {}), off) == []


def test_a_continued_run_does_not_tell_again_and_a_rewound_one_forgets(tmp_path: Path) -> None:
    notes: list[str] = []

    def tracker() -> Tracker:
        return Tracker(tmp_path, TrackingConfig(wandb=WandbMode.off), {}, None, notes.append)

    with tracker() as first:
        for step in range(1, 31):
            first.log(step, {"stage": "grpo", "train/ess": 0.1})
    assert len(notes) == 1 and "effective sample size" in notes[0] and "0.1" in notes[0], f"a person is told what was seen: {notes}"
    with tracker() as second:
        for step in range(31, 41):
            second.log(step, {"stage": "grpo", "train/ess": 0.1})
        assert len(notes) == 1, "the episode that was told before the restart is told again"
        second.rewind(10)
        for step in range(11, 31):
            second.log(step, {"stage": "grpo", "train/ess": 0.1})
        assert len(notes) == 2, "what was told of steps that did not happen counts"
    told = [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl") if "alert/ess_low" in record]
    assert told == [WINDOW], "the record with which it begins says so"


def test_memory_is_bounded() -> None:
    watch = RunWatch(AlertThresholds())
    for step in range(2_000):
        watch.observe({"step": step, "stage": "grpo", **healthy(step)})
    assert sum(map(len, watch._series.values())) <= 20 * 2 * WINDOW, "a watch keeps its windows and no more"


@pytest.mark.parametrize(("field", "value"), [("window", 0), ("ess", 1.5), ("entropy", -1.0), ("reward_drop", 0.0)])
def test_a_threshold_that_makes_no_sense_stops_at_load(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"tracking\.alerts\.{field}="):
        TrackingConfig(alerts=AlertThresholds(**{field: value})).validate()
