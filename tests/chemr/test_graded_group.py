"""Grading: a failure is not a zero, and groups without a signal say why."""

from __future__ import annotations

import pytest

from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.graded_group import grade
from learner.config import GrpoConfig
from rewards.verdict import Reason, Verdict


def scored(values: list[float | None], nonfinite: tuple[int, ...] = ()) -> ScoredGroup:
    request = GroupRequest("uid", "forward", (1,), {}, {}, Sampling(len(values), 8), seed=0)
    meta = GroupMeta("uid", "generator-0", (3,) * len(values), 1, 5, 6, 0, nonfinite, 0.1)
    verdicts = [Verdict(v, Reason.TIMEOUT if v is None else Reason.CORRECT if v else Reason.WRONG) for v in values]
    return ScoredGroup(request, meta, verdicts, tokens_ref=None)


def test_a_failed_verdict_leaves_before_the_baseline_is_taken() -> None:
    group = grade(scored([1.0, 0.0, None, None]), GrpoConfig())
    order = group.for_training()
    assert order.keep == (True, True, False, False), "only samples with a verdict take part"
    assert order.advantages[:2] == pytest.approx((0.5, -0.5)), "failures must not pull the baseline towards 0"


def test_a_sample_with_non_finite_log_probabilities_is_left_out() -> None:
    group = grade(scored([1.0, 0.0, 1.0], nonfinite=(2,)), GrpoConfig())
    assert group.for_training().keep == (True, True, False)
    assert group.trained_lengths == [3, 3]


@pytest.mark.parametrize(
    ("values", "reason"),
    [([1.0, 1.0, 1.0], "zero_variance"), ([0.0, 0.0], "zero_variance"), ([1.0, None], "too_few"), ([None, None], "too_few")],
)
def test_a_group_without_a_signal_says_why(values: list[float | None], reason: str) -> None:
    assert grade(scored(values), GrpoConfig()).untrainable == reason


def test_success_is_unknown_rather_than_zero_when_every_verdict_failed() -> None:
    assert grade(scored([None, None]), GrpoConfig()).success is None
