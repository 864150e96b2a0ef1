"""A run directory, read once: what every part of the report is made from.

A file that the run may still lack (``summary.json`` of a run that goes on) is no error, and one that is damaged is named on the page:
the rest is shown. Only a folder that holds no run at all is refused.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chemr.conf_files import ConfFileError
from chemr.finished_run import CONFIG, SUMMARY, stored_config
from chemr.run_notes import read_notes
from chemr.tracking.metrics_log import MetricsLogError, read_metrics

COLUMNS = ("uid", "task", "sample", "prompt", "completion", "reward", "reason", "tokens", "oldest_version", "newest_version", "generator")
JSON_COLUMNS = ("inputs", "reference", "parts", "terms")  # runs of older versions of chemr lack them
_STEP_FILE = re.compile(r"step-(\d+)\.parquet")


class RunDataError(RuntimeError):
    """The folder holds no run that could be shown; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric: ``steps`` int64 [n], ascending, and ``values`` float64 [n], all finite."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(slots=True)
class Metrics:
    """``metrics.jsonl`` by columns.

    Attributes:
        steps, times, elapsed: of every record [n]: optimiser step, Unix seconds, seconds that the run has been running.
        stages: stage of every record; empty where it has none.
        series: metric -> its values.
        nonfinite: metric -> steps at which it was not a finite number.
    """

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    elapsed: npt.NDArray[np.float64]
    stages: list[str]
    series: dict[str, Series]
    nonfinite: dict[str, list[int]]

    def under(self, prefix: str, suffix: str = "") -> dict[str, Series]:
        """The metrics ``<prefix>NAME<suffix>`` by NAME, which holds no slash."""
        found = {}
        for name, series in self.series.items():
            if name.startswith(prefix) and name.endswith(suffix):
                middle = name[len(prefix) : len(name) - len(suffix)]
                if middle and "/" not in middle:
                    found[middle] = series
        return found


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of ``trajectories/step-N.parquet``. ``inputs`` and ``reference`` are None in files of older versions of chemr."""

    step: int
    uid: str
    task: str
    sample: int
    prompt: str
    completion: str
    reward: float | None
    reason: str
    tokens: int
    oldest_version: int
    newest_version: int
    generator: str
    inputs: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunData:
    """A run. ``notes`` are those of ``notes.jsonl``; ``problems`` are lines for people about files that could not be read as a whole."""

    name: str
    directory: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    summary: dict[str, Any] | None
    metrics: Metrics
    samples: list[Sample]
    problems: list[str]
    notes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        wanted = [str(stage) for stage in self.config.get("stages", [])]
        return self.summary is not None and set(wanted) <= set(self.summary.get("stages", []))


def read_run(directory: Path) -> RunData:
    """Read ``runs/<name>``.

    Raises:
        RunDataError: it is no folder of a run, or nothing has been recorded in it yet.
    """
    metrics_file = directory / "metrics.jsonl"
    if not directory.is_dir():
        raise RunDataError(f"{directory} is not a folder; a run's folder was expected, e.g. runs/starter")
    if not (directory / CONFIG).is_file():
        raise RunDataError(f"{directory} is not a run's folder: it has no {CONFIG}")
    if not metrics_file.is_file():
        raise RunDataError(f"{directory} has no metrics.jsonl: nothing has been recorded yet; wait for its first step")
    problems: list[str] = []
    try:
        config = stored_config(directory) or {}
    except ConfFileError as error:
        config = {}
        problems.append(f"{CONFIG} cannot be read: {_first_line(error)}")
    manifest = _read_json(directory / "manifest.json", problems) or {}
    summary = _read_json(directory / SUMMARY, problems)
    run = config.get("run")
    configured = run.get("name") if isinstance(run, Mapping) else None
    name = str(configured or directory.resolve().name)
    metrics = _read_metrics(metrics_file, problems)
    samples = _read_samples(directory / "trajectories", problems)
    return RunData(name, directory, config, manifest, summary, metrics, samples, problems, read_notes(directory))


def _read_json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """None when there is no such file, or it is damaged (which is added to ``problems``)."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{path.name} is damaged and left out: {_first_line(error)}")
        return None
    if not isinstance(content, dict):
        problems.append(f"{path.name} is left out: an object was expected, found {type(content).__name__}")
        return None
    return content


def _read_metrics(path: Path, problems: list[str]) -> Metrics:
    steps, times, elapsed, stages = array("q"), array("d"), array("d"), []
    columns: dict[str, tuple[array[int], array[float]]] = {}
    nonfinite: dict[str, list[int]] = {}
    try:
        for record in read_metrics(path):
            step = record["step"]
            steps.append(step)
            times.append(_number(record.get("time")))
            elapsed.append(_number(record.get("elapsed_s")))
            stages.append(str(record.get("stage") or ""))
            for name, value in record.items():
                if type(value) is float or (type(value) is int and name != "step"):
                    if name in ("time", "elapsed_s"):
                        continue
                    column = columns.get(name)
                    if column is None:
                        column = columns[name] = (array("q"), array("d"))
                    column[0].append(step)
                    column[1].append(value)
            for name in record.get("nonfinite", ()):
                nonfinite.setdefault(str(name), []).append(step)
    except (MetricsLogError, UnicodeDecodeError) as error:
        problems.append(f"metrics.jsonl is damaged; shown are the {len(steps):,} records before: {_first_line(error)}")
    else:
        if not _ends_with_newline(path):
            problems.append("metrics.jsonl: its last line is cut off and left out (the run was being written, or was killed)")
    series = {name: Series(np.array(x, np.int64), np.array(y, np.float64)) for name, (x, y) in columns.items()}
    return Metrics(np.array(steps, np.int64), np.array(times, np.float64), np.array(elapsed, np.float64), stages, series, nonfinite)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _read_samples(folder: Path, problems: list[str]) -> list[Sample]:
    """All samples in order of step, group and sample."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [(int(match[1]), path) for path in folder.glob("*.parquet") if (match := _STEP_FILE.fullmatch(path.name))]
    samples: list[Sample] = []
    for step, path in sorted(files):
        try:
            rows = pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            problems.append(f"trajectories/{path.name} is damaged and left out: {_first_line(error)}")
            continue
        missing = [column for column in COLUMNS if rows and column not in rows[0]]
        if missing:
            problems.append(f"trajectories/{path.name} is left out: it has no column {', '.join(missing)}")
            continue
        samples += _samples_of(step, rows)
    return samples


def _samples_of(step: int, rows: Iterable[Mapping[str, Any]]) -> Iterable[Sample]:
    for row in rows:
        inputs, reference, parts, terms = (_mapping(row.get(column)) for column in JSON_COLUMNS)
        known = {column: row[column] for column in COLUMNS}
        yield Sample(step=step, **known, inputs=inputs, reference=reference, parts=parts or {}, terms=terms or {})


def _mapping(text: Any) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
