"""From measured quantities to values: the few rules that all partial credit follows."""

from __future__ import annotations

from collections.abc import Mapping

from rewards.verdict import Reason, Verdict

MAX_PARTIAL = 0.5
"""The most that any answer to a question *with one right answer* gets for being close: solving must always beat nearly solving."""


def graded(value: float, parts: Mapping[str, float] | None = None) -> Verdict:
    """A verdict whose reason follows from its value in [0, 1]: 1 is correct, 0 is wrong, anything between is partial."""
    reason = Reason.CORRECT if value >= 1.0 else Reason.PARTIAL if value > 0.0 else Reason.WRONG
    return Verdict(value, reason, parts or {})


def standing(rank: int, candidates: int) -> float:
    """The share of the other candidates that are ranked below the one at ``rank``, which counts from 0: 1 for the best, 0 for the last."""
    return (candidates - 1 - rank) / (candidates - 1)


def near_miss(distance: float, size: float, ceiling: float) -> float:
    """Credit for a wrong count vector: ``ceiling · max(0, 1 − 2·distance/size)``, ``size`` being the sum of the right counts.

    The factor 2 takes the floor away from constant answers: a vector that is off by half of the atoms earns nothing.
    """
    if ceiling > MAX_PARTIAL:
        raise ValueError(f"partial credit of up to {ceiling} is above the limit of {MAX_PARTIAL}")
    return ceiling * max(0.0, 1.0 - 2.0 * distance / size)
