"""How old a trajectory may be when it is trained on (DESIGN §3.1). Pure arithmetic.

P groups are trained per step; S is the target number of off-policy steps; f in (0, 1] says how much of the buffer may be given out of
submission order. The *age* of a trajectory is (learner version when it is consumed) - (oldest version that produced one of its tokens).

Why the bound holds. Let group n (counted from 0 by submission) be consumed by the step that starts at learner version k. Every earlier
step took P groups, each of them either older than n or one of the at most W-1 younger ones that may overtake it: ``k*P <= n + W - 1``.
When n was submitted, n+1 groups had been submitted and at most B slots were occupied; all others had been freed, P for each version the
generators had pulled by then: ``v*P >= n + 1 - B``. Hence ``k - v <= (B + W - 2) / P``. A group that is released without being trained on
(a trivial or failed group) leaves both inequalities alike, so the bound holds with any number of them.

When the learner is lost it goes back to a checkpoint, and the steps since then are undone. Age counts the versions of steps that still
stand (:func:`age_in_steps`). Let u be the groups that undone steps took before n was submitted and that did not come back to the buffer:
they are submitted again under new numbers, above n. Then ``k*P <= n - u + W - 1`` and ``v*P >= n + 1 - B - u`` over the steps that stand,
and u leaves the difference. (Groups made by weights that were undone are off the path of the learner; the correction by behaviour
log-probs covers them like any other.)
"""

from __future__ import annotations

from collections.abc import Iterable


def _check(groups_per_step: int, off_policy_steps: int, window_fraction: float) -> None:
    if groups_per_step < 1:
        raise ValueError(f"groups_per_step is {groups_per_step}: a step trains on at least 1 group")
    if off_policy_steps < 0:
        raise ValueError(f"off_policy_steps is {off_policy_steps}: use 0 for synchronous training or a positive number")
    if not 0.0 < window_fraction <= 1.0:
        raise ValueError(f"window_fraction is {window_fraction}: it is the share of the buffer given out of order, in (0, 1]")


def slot_count(groups_per_step: int, off_policy_steps: int) -> int:
    """B = (S+1)·P: groups that may be in generation, waiting or in training at once."""
    _check(groups_per_step, off_policy_steps, 1.0)
    return (off_policy_steps + 1) * groups_per_step


def window_size(groups_per_step: int, off_policy_steps: int, window_fraction: float) -> int:
    """W = max(1, ⌊f·B⌋): a group may be overtaken by at most W-1 younger ones. 1 (strict order) for S = 0, so that age is 0."""
    _check(groups_per_step, off_policy_steps, window_fraction)
    if off_policy_steps == 0:
        return 1
    return max(1, int(window_fraction * slot_count(groups_per_step, off_policy_steps)))


def max_age(groups_per_step: int, off_policy_steps: int, window_fraction: float) -> int:
    """The proven upper bound ⌊(B+W-2)/P⌋ on the age of anything that is trained on, in learner versions."""
    slots = slot_count(groups_per_step, off_policy_steps)
    return (slots + window_size(groups_per_step, off_policy_steps, window_fraction) - 2) // groups_per_step


def age_in_steps(oldest_version: int, learner_version: int, undone: Iterable[tuple[int, int]]) -> int:
    """Training steps that stand between two versions: their difference without the versions in the intervals (after, up to] of ``undone``,
    which may overlap."""
    lost: set[int] = set()
    for after, up_to in undone:
        lost.update(range(max(after, oldest_version) + 1, min(up_to, learner_version) + 1))
    return learner_version - oldest_version - len(lost)
