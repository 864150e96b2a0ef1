"""``python -m tests.chemr.mining.filter_figures``: precision and recall of every filter on planted errors, as a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chemr.config import RewardsConfig
from chemr.data.example import Example
from chemr.data.starter import load_starter
from chemr.data.starter.config import StarterConfig
from chemr.data.text_table import text_table
from chemr.mining.answers import scorer_pool, verdicts
from chemr.mining.config import FilterConfig
from chemr.mining.filters.claims import claims_job, reason_kind
from chemr.mining.filters.judgement import judge
from chemr.mining.trace_text import thinking_of
from chemr.protocols.teacher import PROTOCOLS
from rewards.job import ScoreJob
from tests.chemr.mining.planted import KINDS, cases
from tests.chemr.mining.scripted import Case, molecule_rows, protocol_of

VERIFY_AT = 0.9


@dataclass(frozen=True)
class Figures:
    """Of one filter: planted cases, those it found, clean and otherwise-planted cases, and those it accused."""

    name: str
    planted: int
    found: int
    others: int
    accused: int

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.accused) if self.found + self.accused else 0.0

    @property
    def recall(self) -> float:
        return self.found / self.planted


def rows(cache: Path) -> list[Example]:
    """Real starter rows of all tasks, mixed with the larger molecules."""
    config = StarterConfig(max_heavy_atoms=7, train_per_task=40, validation_per_task=4, test_per_task=4)
    starter = [row for row in load_starter(cache, config).train if row.task in PROTOCOLS]
    by_task: dict[str, list[Example]] = {}
    for row in starter:
        by_task.setdefault(row.task, []).append(row)
    chosen = [row for place in range(20) for mine in by_task.values() if place < len(mine) for row in [mine[place]]]
    return [*molecule_rows(), *chosen]


def judged(found: Sequence[Case]) -> list[set[str]]:
    """The kinds of reasons given against every case, by all filters at their default settings."""
    with scorer_pool(RewardsConfig(processes=2, deadline_s=30.0)) as pool:
        answers = verdicts(pool, [ScoreJob(c.example.task, c.completion, c.example.inputs, c.example.reference) for c in found])
        jobs = [claims_job(case.completion, thinking_of(case.completion), case.example) for case in found]
        checked = iter(verdicts(pool, [job for job in jobs if job is not None]))
    reasons = []
    for case, verdict, job in zip(found, answers, jobs, strict=True):
        claims = None if job is None else next(checked)
        protocol = protocol_of(case.example.task)
        judgement = judge(case.example, case.completion, protocol, verdict, claims, FilterConfig(), VERIFY_AT)
        reasons.append({reason_kind(reason) for reason in judgement.reasons})
    return reasons


def figures(found: Sequence[Case], reasons: Sequence[set[str]]) -> list[Figures]:
    """A filter accuses wrongly when it speaks against a clean case, or against one with another error that does not bring its own along."""
    also = {kind.name: kind.also for kind in KINDS}
    result = []
    for kind in KINDS:
        counts: Counter[str] = Counter()
        for case, given in zip(found, reasons, strict=True):
            speaks = bool(given & kind.reasons)
            if case.planted == kind.name:
                counts["planted"] += 1
                counts["found"] += speaks
            elif not also.get(case.planted, frozenset()) & kind.reasons:
                counts["others"] += 1
                counts["accused"] += speaks
        result.append(Figures(kind.name, counts["planted"], counts["found"], counts["others"], counts["accused"]))
    return result


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chemr.mining.filter_figures",
        description="Precision and recall of every filter of mined traces on planted errors, as a table (docs/mining.md).",
        epilog="example:\n  python -m tests.chemr.mining.filter_figures --seed 1 --wrong",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="another one plants other errors (0)")
    parser.add_argument("--wrong", action="store_true", help="show every case that was judged wrongly")
    return parser


def main() -> int:
    options = command_parser().parse_args()
    with tempfile.TemporaryDirectory() as cache:
        found = list(cases(rows(Path(cache)), options.seed))
        reasons = judged(found)
    table = [
        [one.name, str(one.planted), str(one.found), str(one.others), str(one.accused), f"{one.precision:.3f}", f"{one.recall:.3f}"]
        for one in figures(found, reasons)
    ]
    print("\n".join(text_table(["filter", "planted", "found", "others", "accused", "precision", "recall"], table)))
    clean = [given for case, given in zip(found, reasons, strict=True) if not case.planted]
    print(f"clean cases passed by all filters: {sum(not given for given in clean)} of {len(clean)}")
    if options.wrong:
        for case, given in zip(found, reasons, strict=True):
            kind = next((kind for kind in KINDS if kind.name == case.planted), None)
            missed = kind is not None and not given & kind.reasons
            extra = given - (kind.reasons | kind.also if kind is not None else frozenset())
            if missed or extra:
                print(f"\n== {case.planted or 'clean'}: {'MISSED ' if missed else ''}{sorted(given)} {case.example.uid}\n{case.completion}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
