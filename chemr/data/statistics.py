"""``chemr data stats``: how many rows of each task there are to train on and to test with, how long, how hard and how balanced they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemr.class_balance import answer_class
from chemr.data.decontamination import EvaluationIndex, clean_training_rows
from chemr.data.example import Example
from chemr.data.leak_report import bad_row_lines
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import SOURCES, SUITES, test_rows
from chemr.data.text_table import text_table
from chemr.prompts import render_prompt


@dataclass
class TaskStatistics:
    """Of the rows of one task in one source or suite. Lengths in characters, counted, so that quantiles are exact."""

    prompts: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    difficulty: Counter[float] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        self.prompts[len(render_prompt(example))] += 1
        if "answer" in example.reference:
            self.answers[len(example.reference["answer"])] += 1
        self.difficulty[round(example.difficulty, 2)] += 1
        label = answer_class(example)
        if label is not None:
            self.classes[label] += 1

    @property
    def rows(self) -> int:
        return self.prompts.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "prompt_chars": [quantile(self.prompts, q) for q in (0.5, 0.95, 1.0)],
            "answer_chars": [quantile(self.answers, q) for q in (0.5, 0.95, 1.0)] if self.answers else None,
            "difficulty": [quantile(self.difficulty, q) for q in (0.25, 0.5, 0.75)],
            "classes": dict(sorted(self.classes.items())),
        }


def quantile(counts: Counter[Any], share: float) -> Any:
    """The smallest value with at least ``share`` of the counts at or below it."""
    seen, wanted = 0, share * counts.total()
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    raise ValueError("no counts")


@dataclass
class DataStatistics:
    """By (source, task) of what may be trained on, and by (suite, task) of the tests."""

    training: dict[tuple[str, str], TaskStatistics]
    tests: dict[tuple[str, str], TaskStatistics]
    logs: dict[str, RowLog]

    def to_json(self) -> dict[str, Any]:
        return {
            "training": {f"{source}/{task}": figures.to_json() for (source, task), figures in self.training.items()},
            "tests": {f"{suite}/{task}": figures.to_json() for (suite, task), figures in self.tests.items()},
            "bad": {source: {f"{file}: {reason}": n for (file, reason), n in log.bad.items()} for source, log in self.logs.items()},
        }


def collect_statistics(data_dir: Path, *, strict: bool = False) -> DataStatistics:
    """Over all sources after decontamination, and all suites. Raises as :func:`chemr.data.leak_report.find_leaks`."""
    tests = {(suite, task): _of(test_rows(suite, task, data_dir)) for suite, tasks in SUITES.items() for task in tasks}
    index = EvaluationIndex.of_all_suites(data_dir)
    training: dict[tuple[str, str], TaskStatistics] = {}
    logs: dict[str, RowLog] = {}
    for source in SOURCES:
        log = logs[source] = RowLog(strict=strict)
        for example in clean_training_rows(source, data_dir, index, log):
            training.setdefault((source, example.task), TaskStatistics()).add(example)
    return DataStatistics(training, tests, logs)


def _of(rows: Iterable[Example]) -> TaskStatistics:
    figures = TaskStatistics()
    for example in rows:
        figures.add(example)
    return figures


def statistics_lines(statistics: DataStatistics) -> list[str]:
    """Two tables: what may be trained on, and the tests."""
    lines: list[str] = []
    for title, figures in (("Training rows, after decontamination", statistics.training), ("Test rows", statistics.tests)):
        rows = [[f"{place}/{task}", *_cells(one)] for (place, task), one in figures.items()]
        header = ["task", "rows", "prompt chars 50/95/100 %", "answer chars 50/95/100 %", "difficulty 25/50/75 %", "classes"]
        lines += [title, "", *text_table(header, rows), ""]
    return [*lines, *bad_row_lines(statistics.logs)]


def _cells(figures: TaskStatistics) -> list[str]:
    values = figures.to_json()
    lengths = [" / ".join(map(str, values[name])) if values[name] else "-" for name in ("prompt_chars", "answer_chars")]
    difficulty = " / ".join(f"{value:.2f}" for value in values["difficulty"])
    classes = ", ".join(f"{label} {count / figures.rows:.0%}" for label, count in values["classes"].items()) or "-"
    return [str(figures.rows), *lengths, difficulty, classes]
