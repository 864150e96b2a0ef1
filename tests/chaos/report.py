"""The outcome of many runs: a table for people, JSON for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.chaos.harness import Outcome


def recovery(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """By fault kind: how often, seconds to the next optimiser step (p50, max), to the victim's replacement where one was seen."""
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for outcome in outcomes:
        for strike in outcome.strikes:
            if not strike.skipped:
                by_kind[strike.kind].append(strike)
    figures: dict[str, dict[str, Any]] = {}
    for kind, strikes in sorted(by_kind.items()):
        seconds = [strike.recovery_s for strike in strikes if strike.recovery_s is not None]
        figures[kind] = {
            "count": len(strikes),
            "recovered": len(seconds),
            "p50_s": round(median(seconds), 2) if seconds else None,
            "max_s": round(max(seconds), 2) if seconds else None,
            "replaced_max_s": max((round(strike.replaced_s, 2) for strike in strikes if strike.replaced_s is not None), default=None),
        }
    return figures


def table(outcomes: Sequence[Outcome]) -> str:
    lines = [f"{'run':>5} {'faults':>6} {'starts':>6} {'seconds':>7}  result"]
    for outcome in outcomes:
        result = "ok" if not outcome.problems else "; ".join(outcome.problems)
        lines.append(f"{outcome.seed:>5} {len(outcome.strikes):>6} {outcome.launches:>6} {outcome.seconds:>7.0f}  {result}")
    lines += ["", f"{'fault':<20} {'count':>5} {'recovered':>9} {'p50 s':>7} {'max s':>7} {'new s':>7}"]
    for kind, row in recovery(outcomes).items():
        p50, most, new = ("-" if row[name] is None else f"{row[name]:.1f}" for name in ("p50_s", "max_s", "replaced_max_s"))
        lines.append(f"{kind:<20} {row['count']:>5} {row['recovered']:>9} {p50:>7} {most:>7} {new:>7}")
    lines.append("p50, max: from the fault to the next optimiser step; new: at most, to another process in the victim's place")
    skipped = {f"{strike.kind}: {strike.skipped}" for outcome in outcomes for strike in outcome.strikes if strike.skipped}
    lines += [f"skipped: {what}" for what in sorted(skipped)]
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    lines += ["", f"{len(outcomes) - failed} of {len(outcomes)} runs kept every promise"]
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome], missing: Sequence[str]) -> dict[str, Any]:
    """Keys: runs, ok, faults, kinds_missing, recovery{kind}, outcomes."""
    return {
        "runs": len(outcomes),
        "ok": sum(not outcome.problems for outcome in outcomes),
        "faults": sum(not strike.skipped for outcome in outcomes for strike in outcome.strikes),
        "kinds_missing": list(missing),
        "recovery": recovery(outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
