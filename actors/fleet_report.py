"""The fleet in figures: what status, reports and metrics say of its members. Plain data, taken without waiting for anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from actors.health import HealthChecks
from actors.roster import Roster
from actors.trajectory import GroupMeta
from rewards.verdict import Verdict


class FleetCounts(Counter[str]):
    """Counters since the start: groups, samples, tokens, truncated, cut, nonfinite, retries/*, dropped/*, reward_failed/<reason>."""

    def generated(self, meta: GroupMeta) -> None:
        self["groups"] += 1
        self["samples"] += len(meta.lengths)
        self["tokens"] += sum(meta.lengths)
        self["truncated"] += meta.truncated
        self["cut"] += meta.cut
        self["nonfinite"] += len(meta.nonfinite)

    def scored(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.failed:
                self[f"reward_failed/{verdict.reason}"] += 1


def describe(roster: Roster[Any], health: HealthChecks | None = None) -> list[dict[str, Any]]:
    """One entry per seat: name, kind, state (:class:`actors.seats.SeatState`), version, load and limit (samples in flight), restarts, pid,
    last_progress_s. With ``health`` of a roster of generators ``version`` is that of the last health answer and ``last_progress_s`` the
    seconds since a counter moved or it was idle; what is not known is None."""
    entries = []
    for seat in roster.seats():
        place = seat.place
        answer = health.last(place) if health is not None and place is not None else None
        entries.append(
            {
                "name": roster.name(seat),
                "kind": roster.kind,
                "state": str(seat.state),
                "version": answer.version if answer is not None else None,
                "load": place.load if place is not None else 0,
                "limit": place.limit.value if place is not None and place.limit is not None else None,
                "restarts": seat.restarts,
                "pid": place.member.pid if place is not None else None,
                "last_progress_s": health.progress_s(place) if health is not None and place is not None else None,
            }
        )
    return entries


def member_counts(roster: Roster[Any]) -> dict[str, float]:
    """restarts/, quarantines/, drains/, members/ (serving) and queued/ (leases that wait for room) of the roster's kind; load/<member> and
    limit/<member> in samples where members have a limit."""
    kind = roster.kind
    counts = {
        f"restarts/{kind}": float(roster.restarts),
        f"quarantines/{kind}": float(roster.quarantines),
        f"drains/{kind}": float(roster.drains),
        f"members/{kind}": float(len(roster.serving())),
        f"queued/{kind}": float(roster.queued()),
    }
    for place in roster.serving():
        if place.limit is not None:
            counts[f"load/{place.member.name}"] = float(place.load)
            counts[f"limit/{place.member.name}"] = float(place.limit.value)
    return counts
