"""Recorded pass rates, for the simulator: from a run's ``metrics.jsonl``, or from a table with columns step, task, success."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

COLUMNS = ("step", "task", "success")


class RecordingError(ValueError):
    """A recording that cannot be used; the message says where and why."""


class Point(NamedTuple):
    """``share``: the task's share of the prompts at that step; None where it was not recorded."""

    step: int
    task: str
    success: float
    share: float | None = None


@dataclass(frozen=True)
class TaskRecord:
    """One task's course.

    Attributes:
        steps: 1 for the recording's first step; ascending.
        rates: mean success at each of them, in [0, 1].
        practice: prompts of the task up to and with each of them, in steps' worth: 1 = all prompts of one step. Ascending.
    """

    steps: Sequence[float]
    rates: Sequence[float]
    practice: Sequence[float]

    def at_step(self, step: float) -> float:
        """The rate at a step; between two recorded ones on the line through them, outside of them the nearest."""
        return _interpolated(self.steps, self.rates, step)

    def after(self, practice: float) -> float:
        """The rate after so much practice, likewise: beyond the recording it stays where it ended."""
        return _interpolated(self.practice, self.rates, practice)


@dataclass(frozen=True)
class Recording:
    """All tasks' courses. ``steps``: from the first recorded step to the last, both included."""

    tasks: Mapping[str, TaskRecord]
    steps: int


def read_recording(path: Path, smooth: int | None = None) -> Recording:
    """Pass rates from a run's folder, a ``.jsonl`` of metrics, a ``.csv`` or a ``.json`` (a list of objects).

    Args:
        smooth: means over so many neighbouring points of a task take the place of single ones. None: for metrics, whose points are means of
            a handful of answers, a twelfth of them (at least 9); for tables 1, as they are.

    Raises:
        RecordingError: there is no such file, no pass rate in it, or a value that cannot be one.
    """
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.is_file():
        what = "the folder holds no metrics.jsonl" if path.is_dir() else "there is no such file"
        raise RecordingError(f"{path}: {what}; give a run's folder, its metrics.jsonl, or a CSV or JSON table of {', '.join(COLUMNS)}")
    readers = {".jsonl": _from_metrics, ".csv": _from_csv, ".json": _from_json}
    if file.suffix not in readers:
        raise RecordingError(f"{file}: the name should end in one of {', '.join(readers)}, which says how to read it")
    points = list(readers[file.suffix](file))
    if not points:
        raise RecordingError(f"{file} holds no pass rates: a run has reward/<task>/mean from its first GRPO step on")
    if smooth is None and file.suffix != ".jsonl":
        smooth = 1
    return recording_of(points, smooth)


def recording_of(points: Iterable[Point], smooth: int | None = 1) -> Recording:
    """A recording of points in any order; of several for one step and task the mean counts. ``smooth``: see :func:`read_recording`."""
    grouped: dict[str, dict[int, list[Point]]] = {}
    for point in points:
        grouped.setdefault(point.task, {}).setdefault(point.step, []).append(point)
    every_step = {step for by_step in grouped.values() for step in by_step}
    first, last = min(every_step), max(every_step)
    tasks: dict[str, TaskRecord] = {}
    for task, by_step in sorted(grouped.items()):
        steps = sorted(by_step)
        rates = [fmean(point.success for point in by_step[step]) for step in steps]
        practice: list[float] = []
        done, before = 0.0, first - 1
        for step in steps:
            shares = [point.share for point in by_step[step] if point.share is not None]
            done += (step - before) * (fmean(shares) if shares else 1.0 / len(grouped))
            before = step
            practice.append(done)
        tasks[task] = TaskRecord(
            [step - first + 1.0 for step in steps], _smoothed(rates, max(9, len(rates) // 12) if smooth is None else smooth), practice
        )
    return Recording(tasks, last - first + 1)


def _from_metrics(file: Path) -> Iterable[Point]:
    from chemr.tracking.metrics_log import MetricsLogError, read_metrics

    try:
        for record in read_metrics(file):
            if record.get("stage", "grpo") != "grpo":
                continue
            for name, value in record.items():
                head, _, rest = name.partition("/")
                task, _, kind = rest.partition("/")
                if head == "reward" and kind == "mean" and value is not None:
                    share = record.get(f"curriculum/weight/{task}")
                    yield Point(record["step"], task, _rate(value, f"{file}, step {record['step']}, {name}"), share)
    except MetricsLogError as error:
        raise RecordingError(str(error)) from error


def _from_csv(file: Path) -> Iterable[Point]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise RecordingError(f"{file}: the first line should name the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing")
        for row in reader:
            yield _point(row, f"{file}:{reader.line_num}")


def _from_json(file: Path) -> Iterable[Point]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise RecordingError(f"{file} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RecordingError(f"{file} should hold a list of objects with {', '.join(COLUMNS)}")
    for number, row in enumerate(rows, start=1):
        yield _point(row, f"{file}, entry {number}")


def _point(row: Mapping[str, Any], where: str) -> Point:
    missing = [column for column in COLUMNS if row.get(column) in (None, "")]
    if missing:
        raise RecordingError(f"{where}: {', '.join(missing)} is missing")
    try:
        step = int(row["step"])
    except (TypeError, ValueError):
        raise RecordingError(f"{where}: step={row['step']!r} is not a whole number") from None
    return Point(step, str(row["task"]), _rate(row["success"], f"{where}, success"))


def _rate(value: Any, where: str) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        raise RecordingError(f"{where}: {value!r} is not a number") from None
    if not 0.0 <= rate <= 1.0:
        raise RecordingError(f"{where}: {rate:g} is outside [0, 1]; a mean success was expected")
    return rate


def _smoothed(values: Sequence[float], width: int) -> list[float]:
    """Centred moving averages; at the ends over the values that there are."""
    reach = width // 2
    return [fmean(values[max(0, index - reach) : index + reach + 1]) for index in range(len(values))]


def _interpolated(places: Sequence[float], values: Sequence[float], place: float) -> float:
    right = bisect_right(places, place)
    if right == 0:
        return values[0]
    if right == len(places):
        return values[-1]
    gap = places[right] - places[right - 1]
    return values[right - 1] + (values[right] - values[right - 1]) * (place - places[right - 1]) / gap
