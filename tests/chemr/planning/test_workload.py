"""Lengths: their moments are those of what is drawn; a group's triviality falls with its size."""

from __future__ import annotations

import numpy as np
import pytest

from chemr.planning.errors import PlanError
from chemr.planning.workload import Lengths, Workload, trivial_share


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.2])
@pytest.mark.parametrize("cap", [400, 5000])
def test_moments_are_those_of_the_draws(sigma: float, cap: int):
    lengths = Lengths(300.0, sigma, cap)
    drawn = lengths.draw(20_000, 4, np.random.default_rng(0)).astype(float)
    assert drawn.mean() == pytest.approx(lengths.capped_mean, rel=0.02)
    assert (drawn**2).mean() / (2 * drawn.mean()) == pytest.approx(lengths.mean_of_running, rel=0.03), "what a running sample has"
    assert drawn.min() >= 1 and drawn.max() <= cap


def test_variance_between_prompts_makes_a_groups_samples_alike():
    alike = Lengths(100.0, 0.8, 10_000, between=1.0).draw(500, 8, np.random.default_rng(0))
    apart = Lengths(100.0, 0.8, 10_000, between=0.0)
    assert (alike.max(axis=1) == alike.min(axis=1)).all()
    assert apart.longest_of_group(8) > 2 * apart.longest_of_group(1) * 0.8, "the longest of eight is far above one"
    assert apart.expected_longest(800) > apart.expected_longest(8) > apart.capped_mean


def test_larger_groups_are_less_often_trivial_and_the_share_is_kept_at_its_own_size():
    shares = [trivial_share(0.3, 8, samples) for samples in (2, 4, 8, 16, 64)]
    assert shares == sorted(shares, reverse=True) and shares[2] == 0.3 and shares[0] > 0.5
    assert trivial_share(0.0, 8, 4) == 0.0 and trivial_share(0.99, 8, 4) <= 0.999


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mean": 0.0}, "mean length"),
        ({"sigma": -1.0}, "tail"),
        ({"cap": 0}, "cap"),
        ({"between": 1.5}, "between"),
        ({"mean": float("nan")}, "mean"),
    ],
)
def test_lengths_that_cannot_be_are_named(wrong: dict, said: str):
    with pytest.raises(PlanError, match=said):
        Lengths(**({"mean": 100.0, "sigma": 0.5, "cap": 200} | wrong))


@pytest.mark.parametrize(
    ("wrong", "said"), [({"trivial": 1.0}, "trivial"), ({"samples_per_group": 0}, "samples"), ({"reward_s": -1.0}, "reward")]
)
def test_a_workload_that_cannot_be_is_named(wrong: dict, said: str):
    fixed = {"groups_per_step": 4, "samples_per_group": 4, "off_policy_steps": 1, "window_fraction": 0.5, "lengths": Lengths(10, 0, 20)}
    with pytest.raises(PlanError, match=said):
        Workload(**(fixed | wrong))
