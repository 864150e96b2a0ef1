import math

import numpy as np
import pytest

from learner.advantages import group_advantages
from learner.config import Advantage, OptimConfig, Schedule
from learner.schedule import learning_rate


def test_warm_up_moves_from_the_first_update_and_reaches_the_full_rate():
    config = OptimConfig(lr=1.0, warmup_steps=4, schedule=Schedule.cosine)
    rates = [learning_rate(config, step, 20) for step in range(5)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0], "warm-up must be linear, start above 0 and hand over at the full rate"


@pytest.mark.parametrize("schedule", [Schedule.linear, Schedule.cosine])
def test_decay_ends_at_the_minimum_and_stays_there(schedule):
    config = OptimConfig(lr=2.0, warmup_steps=2, schedule=schedule, min_lr_ratio=0.1)
    rates = [learning_rate(config, step, 12) for step in range(2, 15)]
    assert rates == sorted(rates, reverse=True), "the rate must never rise after the warm-up"
    assert math.isclose(learning_rate(config, 11, 12), 0.2), "the last update must run at lr * min_lr_ratio"
    assert math.isclose(learning_rate(config, 500, 12), 0.2), "updates beyond the plan must keep the minimum"


def test_cosine_is_half_way_at_half_time():
    config = OptimConfig(lr=1.0, schedule=Schedule.cosine, min_lr_ratio=0.0)
    assert math.isclose(learning_rate(config, 5, 11), 0.5), "cosine passes the middle of its range at the middle of the stage"


def test_a_stage_of_one_step_and_one_that_is_all_warm_up_are_defined():
    assert learning_rate(OptimConfig(lr=1.0), 0, 1) == 1.0, "a single update runs at the full rate"
    assert learning_rate(OptimConfig(lr=1.0, warmup_steps=10), 4, 5) == 0.5, "a stage shorter than its warm-up just ends within it"


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="does not exist"):
        learning_rate(OptimConfig(), -1, 10)


def test_mean_advantage_is_reward_minus_group_mean():
    group = group_advantages([1.0, 0.0, 0.0, 1.0, 0.5])
    np.testing.assert_allclose(group.values, [0.5, -0.5, -0.5, 0.5, 0.0])
    assert group.keep.all(), "a group with a spread of rewards is trained on whole"
    assert group.reason == "", "and has no reason to be dropped"


def test_std_normalised_advantages_have_unit_scale():
    group = group_advantages([3.0, 1.0, 2.0, 6.0], Advantage.mean_std)
    rewards = np.array([3.0, 1.0, 2.0, 6.0])
    np.testing.assert_allclose(group.values, (rewards - rewards.mean()) / (rewards.std() + 1e-6))


def test_leave_one_out_compares_with_the_mean_of_the_others():
    rewards = [0.1, 0.9, 0.4]
    expected = [reward - (sum(rewards) - reward) / 2 for reward in rewards]
    np.testing.assert_allclose(group_advantages(rewards, Advantage.rloo).values, expected)


def test_a_reward_that_could_not_be_computed_leaves_before_the_baseline():
    group = group_advantages([1.0, None, 0.0])
    np.testing.assert_allclose(group.values[[0, 2]], [0.5, -0.5])
    assert group.keep.tolist() == [True, False, True], "the failed sample is not trained on"
    assert np.isnan(group.values[1]), "a failure has no advantage, not even 0"


@pytest.mark.parametrize(
    ("rewards", "reason"), [([1.0, 1.0, 1.0], "zero_variance"), ([None, 0.7, None], "too_few"), ([], "too_few"), ([0.3], "too_few")]
)
def test_a_group_that_teaches_nothing_says_why(rewards, reason):
    group = group_advantages(rewards)
    assert group.reason == reason, f"{rewards} must be dropped as {reason}"
    assert not group.keep.any(), "nothing of it may be trained on"


def test_a_nan_reward_is_an_error_and_not_a_number_to_average():
    with pytest.raises(ValueError, match="must be None"):
        group_advantages([1.0, float("nan")])
