"""Intervals cover what they should, and pair what must be paired."""

from __future__ import annotations

import numpy as np
import pytest

from chemr.intervals import bootstrap_mean, bootstrap_stratified, paired_difference


def test_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_mean(generator.normal(0.4, 0.2, size=60), seed=trial)
        covered += low <= 0.4 <= high
    assert 180 <= covered <= 199, f"a 95 % interval covered the truth {covered} times in 200"


def test_a_stratum_weighs_the_same_whatever_its_size() -> None:
    low, high = bootstrap_stratified([np.ones(1000), np.zeros(2)])
    assert low == high == 0.5, "the mean over tasks must not depend on how many prompts each has"


def test_pairing_removes_the_spread_between_prompts() -> None:
    before = {"forward": {f"p{i}": i / 100 for i in range(100)}}
    after = {"forward": {uid: value + 0.05 for uid, value in before["forward"].items()}}
    difference, low, high = paired_difference(after, before)
    assert difference == pytest.approx(0.05) and high - low < 1e-9, "a constant gain has no spread once prompts are paired"


def test_the_difference_weighs_tasks_not_prompts() -> None:
    before = {"large": {f"p{i}": 0.0 for i in range(90)}, "small": {"q": 0.0}}
    after = {"large": {f"p{i}": 0.2 for i in range(90)}, "small": {"q": 1.0}}
    assert paired_difference(after, before)[0] == pytest.approx(0.6), "as in the mean reward, a task's number of prompts must not weigh it"


def test_only_shared_prompts_are_compared() -> None:
    difference, _, _ = paired_difference({"t": {"a": 1.0, "b": 0.0}}, {"t": {"a": 0.5, "c": 1.0}})
    assert difference == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no prompt in common"):
        paired_difference({"t": {"a": 1.0}}, {"t": {"b": 1.0}})
