"""Classification of failures and deadlines."""

import asyncio

import pytest
from ray import exceptions as ray_errors

from actors.failures import RETRIES, DeadlineExceededError, FailureKind, GroupDropped, LearnerLost, StragglerDeadline, await_ref, classify


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ray_errors.ActorDiedError(), FailureKind.INFRASTRUCTURE),
        (ray_errors.ActorUnavailableError("gone", b"x" * 16), FailureKind.INFRASTRUCTURE),
        (ray_errors.GetTimeoutError("late"), FailureKind.INFRASTRUCTURE),
        (DeadlineExceededError("late"), FailureKind.INFRASTRUCTURE),
        (LearnerLost("rank 1"), FailureKind.INFRASTRUCTURE),
        (GroupDropped("u", "straggler", "slow"), FailureKind.DATA),
        (ValueError("prompt too long"), FailureKind.DATA),
        (KeyError("typo"), FailureKind.BUG),
        (ray_errors.RayTaskError("f", "trace", ValueError("prompt too long")), FailureKind.DATA),
        (ray_errors.RayTaskError("f", "trace", ConnectionResetError("peer")).as_instanceof_cause(), FailureKind.INFRASTRUCTURE),
        (ray_errors.RayTaskError("f", "trace", ZeroDivisionError()).as_instanceof_cause(), FailureKind.BUG),
    ],
)
def test_failures_are_classified_through_rays_wrapping(error: Exception, kind: FailureKind) -> None:
    assert classify(error) is kind


def test_back_off_doubles_up_to_its_cap() -> None:
    policy = RETRIES[FailureKind.INFRASTRUCTURE]
    assert policy.tries == 5 and RETRIES[FailureKind.DATA].tries == 2
    assert [policy.delay_s(n) for n in (1, 2, 3, 30)] == [0.25, 0.5, 1.0, 10.0]


@pytest.mark.asyncio
async def test_waiting_too_long_names_what_was_waited_for() -> None:
    with pytest.raises(DeadlineExceededError, match="generator-3 health"):
        await await_ref(asyncio.sleep(10), 0.01, "generator-3 health")


@pytest.mark.asyncio
async def test_a_timeout_raised_by_the_remote_side_is_not_mistaken_for_ours() -> None:
    async def remote() -> None:
        raise TimeoutError("inner")

    with pytest.raises(TimeoutError, match="inner"):
        await await_ref(remote(), 5.0, "remote")


def test_straggler_deadline_follows_the_tail_between_floor_and_ceiling() -> None:
    deadline = StragglerDeadline(multiple=3.0, floor_s=2.0, ceiling_s=100.0)
    assert deadline.seconds() == 100.0, "without experience nothing may be called a straggler"
    for _ in range(16):
        deadline.record(0.1)
    assert deadline.seconds() == 2.0
    for _ in range(512):
        deadline.record(5.0)
    assert deadline.seconds() == pytest.approx(15.0)
    for _ in range(512):
        deadline.record(90.0)
    assert deadline.seconds() == 100.0
