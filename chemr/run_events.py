"""What one recorded number tells a person: a checkpoint that failed, groups that were dropped, weights that came late."""

from __future__ import annotations

BENIGN_DROPS = frozenset({"zero_variance", "too_few", "stage_end"})  # groups that teach nothing, or came too late: no failure

_DROPPED = "async/dropped/"
EVENT_METRICS = ("checkpoint/failed", _DROPPED, "weights/fallback", "weights/version_lag")
"""Beginnings of the names for which :func:`event_of` may have something to say."""


def event_of(name: str, value: float) -> tuple[str, str] | None:
    """(kind, what happened) for a metric of a record; None when it is nothing to tell. Kinds: failure, drop, weights."""
    if value <= 0:
        return None
    if name == "checkpoint/failed":
        return "failure", "a checkpoint could not be written"
    if name.startswith(_DROPPED):
        reason = name.removeprefix(_DROPPED)
        return None if reason in BENIGN_DROPS else ("drop", f"{value:g} groups were dropped: {reason}")
    if name == "weights/fallback":
        return "weights", "a version came from the object store, not by broadcast"
    if name == "weights/version_lag" and value > 1:
        return "weights", f"a generator skipped {value - 1:g} versions"
    return None
