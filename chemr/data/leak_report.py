"""``chemr data leaks``: what decontamination takes out of every source, and the proof that nothing is left."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemr.data.decontamination import EvaluationIndex, Removals, clean_training_rows
from chemr.data.leak_audit import LeakAudit
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import SOURCES, SUITES
from chemr.data.text_table import text_table

CERTAIN_TASKS = (
    "property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox",
    "reactant_selection", "ligand_selection", "solvent_selection", "yield_bh", "yield_suzuki",
)  # fmt: skip
"""ChemLLMBench took the tests of these from the very files that are trained on, so each test row must have been met there."""


@dataclass
class LeakReport:
    """Figures of one run over all sources; ``left`` by (source, suite) is empty when the data are clean. ``seconds`` are processor time."""

    removals: dict[str, Removals] = field(default_factory=dict)
    logs: dict[str, RowLog] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    test_sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_left: dict[tuple[str, str], str] = field(default_factory=dict)
    checked: int = 0
    wall_seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.left

    def met(self, suite: str, task: str) -> int:
        """How many test rows of a suite's task were met, under the same task, in any source."""
        prefix = f"{suite}/{task}/"
        return len({uid for removals in self.removals.values() for where, uid in removals.met if where == suite and uid.startswith(prefix)})

    def to_json(self) -> dict[str, Any]:
        return {
            "removed": {
                source: {"rows": r.rows, "kept": sum(r.kept.values()), "removed": r.removed, "by_suite": dict(r.by_suite)}
                for source, r in self.removals.items()
            },
            "bad": {source: {f"{file}: {reason}": n for (file, reason), n in log.bad.items()} for source, log in self.logs.items()},
            "skipped": {source: {f"{file}: {reason}": n for (file, reason), n in log.skipped.items()} for source, log in self.logs.items()},
            "test_rows_met": {f"chemllmbench/{task}": self.met("chemllmbench", task) for task in CERTAIN_TASKS},
            "left": {f"{source} x {suite}": n for (source, suite), n in self.left.items()},
            "checked": self.checked,
            "wall_seconds": round(self.wall_seconds, 1),
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }


def find_leaks(data_dir: Path, *, strict: bool = False) -> LeakReport:
    """Decontaminates every source and audits what is left.

    Raises:
        SourceFileError: a file is missing or broken.
        BadRowError: a test file holds a bad row; under ``strict`` also a source does.
    """
    report = LeakReport()
    began = time.monotonic()
    start = time.process_time()
    index, audit = EvaluationIndex.of_all_suites(data_dir), LeakAudit.of_all_suites(data_dir)
    report.test_sizes = index.sizes
    report.seconds["test files"] = time.process_time() - start
    for source in SOURCES:
        start = time.process_time()
        log = report.logs[source] = RowLog(strict=strict)
        removals = report.removals[source] = Removals()
        for example in clean_training_rows(source, data_dir, index, log, removals):
            audit.check(source, example)
        report.seconds[source] = time.process_time() - start
    report.left, report.first_left, report.checked = audit.left, audit.first, audit.checked
    report.wall_seconds = time.monotonic() - began
    return report


def leak_lines(report: LeakReport) -> list[str]:
    """The report as text."""
    header = ["source", "rows", *SUITES, "removed", "kept", "left"]
    body = []
    for source, removals in report.removals.items():
        left = sum(n for (name, _), n in report.left.items() if name == source)
        by_suite = [str(removals.by_suite[suite]) for suite in SUITES]
        body.append([source, str(removals.rows), *by_suite, str(removals.removed), str(sum(removals.kept.values())), str(left)])
    total = [sum(int(row[column]) for row in body) for column in range(1, len(header))]
    lines = ["Rows removed from training, by source and suite (a row met in two suites counts in both; 'removed' counts it once)", ""]
    lines += text_table(header, [*body, ["all", *map(str, total)]])
    lines += ["", "Test rows that were met in training under the same task, and removed:"]
    for task in CERTAIN_TASKS:
        lines.append(f"  chemllmbench/{task}: {report.met('chemllmbench', task)} of {report.test_sizes['chemllmbench', task]}")
    lines += ["", *bad_row_lines(report.logs)]
    if report.clean:
        lines.append(f"Second pass, by another reading of the {report.checked} rows left: 0 leaks.")
    else:
        lines.append(f"Second pass over {report.checked} rows: {sum(report.left.values())} LEAKS LEFT")
        lines += [f"  {source} x {suite}: {n}, first {report.first_left[source, suite]}" for (source, suite), n in report.left.items()]
    lines.append(f"{sum(report.seconds.values()):.0f} s on one core ({report.wall_seconds:.0f} s of wall time)")
    return lines


def bad_row_lines(logs: dict[str, RowLog]) -> list[str]:
    """Bad and skipped rows by file and reason, with the first bad row of each."""
    lines = []
    if any(log.bad for log in logs.values()):
        lines.append("Bad rows left out (the first of each reason is shown):")
    for log in logs.values():
        for (file, reason), count in log.bad.items():
            lines.append(f"  {count} x {reason} in {file}")
            first = next((bad for bad in log.bad_rows if bad.file.name == file and bad.reason == reason), None)
            lines += [f"    {first}"] if first is not None else []
    if any(log.skipped for log in logs.values()):
        lines.append("Sound rows that are no question of ours:")
    lines += [f"  {count} x {reason} in {file}" for log in logs.values() for (file, reason), count in log.skipped.items()]
    return [*lines, ""] if lines else []
