"""The figures, tables and lists of the report: what a run achieved, with what, and what happened to it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chemr.report.charts import clock_of, in_order, rounded, title_of
from chemr.report.run_data import Metrics, RunData

GAP_S = 60.0  # wall time that passed while the run did not run: a restart
MAX_EVENTS = 400
BENIGN_DROPS = frozenset({"zero_variance", "too_few", "stage_end"})  # groups that teach nothing, or came too late: no failure


def run_entry(run: RunData) -> dict[str, Any]:
    """A run without its curves: name, state, facts, spans of its stages, events, configuration and environment."""
    spans = stage_spans(run.metrics)
    return {
        "name": run.name,
        "folder": str(run.directory),
        "finished": run.finished,
        "problems": run.problems,
        "facts": facts(run),
        "spans": spans,
        "clock": clock_of(run.metrics),
        "events": events(run.metrics, spans, run.notes),
        "config": flat(run.config),
        "environment": flat(run.manifest),
    }


def facts(run: RunData) -> list[list[str]]:
    """(label, value) pairs for the head of the page."""
    metrics, summary = run.metrics, run.summary or {}
    found = [["state", "finished" if run.finished else "not finished"]]
    stages = summary.get("stages") or []
    if stages:
        last = summary.get(stages[-1], {})
        found.append([f"held-out reward after {stages[-1]}", _with_interval(last.get("mean_reward"), last.get("interval95"))])
        if isinstance(last.get("greedy_mean_reward"), (int, float)):
            found.append(["greedy", f"{100 * last['greedy_mean_reward']:.1f} %"])
    for stage, gain in summary.get("gain", {}).items():
        found.append([f"gain of {stage}", _with_interval(gain, summary.get("gain_interval95", {}).get(stage), signed=True)])
    if metrics.steps.size:
        found.append(["optimiser steps", f"{int(metrics.steps.max()):,}"])
        times = metrics.times[np.isfinite(metrics.times)]
        if times.size:
            began = datetime.datetime.fromtimestamp(float(times[0]), datetime.UTC)
            found.append(["began", f"{began:%Y-%m-%d %H:%M} UTC"])
    seconds = summary.get("wall_s") or (float(np.nanmax(metrics.elapsed)) if np.isfinite(metrics.elapsed).any() else 0.0)
    found.append(["running time", duration(seconds)])
    grpo = summary.get("grpo", {})
    if grpo:
        found.append(["trained samples (GRPO)", f"{grpo.get('trained_samples', 0):,}"])
        if "age_max" in grpo:
            found.append(["oldest sample trained on", f"{grpo['age_max']} versions, bound {grpo['age_bound']}"])
        ledger = grpo.get("ledger", {})
        if ledger:
            dropped = sum(ledger.get("dropped", {}).values())
            found.append(["groups", f"{ledger['submitted']:,} asked, {ledger['trained']:,} trained on, {dropped:,} dropped"])
    found.append(["seed", str(summary.get("seed", run.config.get("run", {}).get("seed", "?")))])
    return found


def _with_interval(value: Any, interval: Any, signed: bool = False) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    sign = "+" if signed else ""
    text = f"{100 * value:{sign}.1f} {'points' if signed else '%'}"
    return text if not interval else f"{text} [{100 * interval[0]:{sign}.1f}, {100 * interval[1]:{sign}.1f}]"


def duration(seconds: float) -> str:
    """``3 d 4 h``, ``1 h 5 min``, ``12 min 51 s``."""
    left = round(seconds)
    days, left = divmod(left, 86_400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def task_table(runs: Sequence[RunData]) -> dict[str, Any]:
    """Task × stage × run. A cell is [mean, low, high, greedy, solved, prompts]; rows are tasks, ``mean`` first."""
    stages = list(dict.fromkeys(stage for run in runs for stage in (run.summary or {}).get("stages", [])))
    cells: dict[str, dict[str, list[Any]]] = {}
    for place, run in enumerate(runs):
        for stage in (run.summary or {}).get("stages", []):
            result = (run.summary or {}).get(stage, {})
            total = [result.get("mean_reward"), *(result.get("interval95") or [None, None]), result.get("greedy_mean_reward"), None, None]
            cells.setdefault("mean", {})[f"{place}/{stage}"] = _plain(total)
            for task, score in result.get("tasks", {}).items():
                row = [score.get("mean"), *(score.get("interval95") or [None, None])]
                row += [score.get("greedy"), score.get("solved"), score.get("prompts")]
                cells.setdefault(task, {})[f"{place}/{stage}"] = _plain(row)
    order = [task for task in ["mean", *in_order(set(cells) - {"mean"})] if task in cells]
    rows = [{"task": task, "title": "mean over tasks" if task == "mean" else title_of(task), "cells": cells[task]} for task in order]
    return {"stages": stages, "rows": rows}


def _plain(values: Sequence[Any]) -> list[float | None]:
    return rounded([float("nan") if value is None else float(value) for value in values])


def stage_spans(metrics: Metrics) -> list[list[Any]]:
    """[stage, first step, last step, first second, last second] in order of time; a stage lasts until the next begins."""
    starts: list[list[Any]] = []
    for step, seconds, stage in zip(metrics.steps.tolist(), metrics.elapsed.tolist(), metrics.stages, strict=True):
        if stage and (not starts or starts[-1][0] != stage):
            starts.append([stage, step, step, round(seconds, 1) if seconds == seconds else None, None])
    for span, following in zip(starts, [*starts[1:], None], strict=True):
        last = following[1] if following else int(metrics.steps[-1])
        seconds = following[3] if following else round(float(metrics.elapsed[-1]), 1)
        span[2], span[4] = last, seconds if seconds == seconds else None
    return starts


def events(metrics: Metrics, spans: Sequence[Sequence[Any]], notes: Sequence[Mapping[str, Any]] = ()) -> list[list[Any]]:
    """[step, kind, what happened], by step: what the notes and the metrics tell of stages, restarts, failures, drops and weights."""
    found: list[list[Any]] = [[int(span[1]), "stage", f"{span[0]} begins"] for span in spans]
    found += _noted(metrics, notes)
    found += _restarts(metrics)
    found += [[step, "failure", "a checkpoint could not be written: the disk was full"] for step in _steps(metrics, "checkpoint/failed")]
    found += [[step, "checkpoint", "a checkpoint was written"] for step in _steps(metrics, "time/checkpoint")]
    for reason, series in metrics.under("async/dropped/").items():
        if reason not in BENIGN_DROPS:
            found += [
                [step, "drop", f"{count:g} groups were dropped: {reason}"]
                for step, count in zip(series.steps.tolist(), series.values.tolist(), strict=True)
                if count > 0
            ]
    for step in _steps(metrics, "weights/fallback"):
        found.append([step, "weights", "a version came from the object store, not by broadcast"])
    lags = metrics.series.get("weights/version_lag")
    if lags is not None:
        for step, lag in zip(lags.steps.tolist(), lags.values.tolist(), strict=True):
            if lag > 1:
                found.append([step, "weights", f"a generator skipped {lag - 1:g} versions"])
    for name, series in metrics.series.items():
        parts = name.split("/")
        if parts[:2] == ["curriculum", "alert"] and len(parts) == 4:
            found += [[step, "alert", f"{parts[2]}: {parts[3]}"] for step in _onsets(series.steps.tolist(), series.values.tolist())]
        elif parts[0] == "alert":
            found += [[int(step), "alert", ": ".join(parts[1:])] for step in _steps(metrics, name)]
    for name, steps in metrics.nonfinite.items():
        found.append([steps[0], "failure", f"{name} was not finite in {len(steps)} records, first here"])
    found.sort(key=lambda event: event[0])
    if len(found) > MAX_EVENTS:
        rarer = [event for event in found if event[1] not in ("checkpoint", "weights")]
        left_out = len(found) - len(rarer[:MAX_EVENTS])
        found = [*rarer[:MAX_EVENTS], [found[-1][0], "note", f"{left_out:,} more events are in metrics.jsonl"]]
    return found


def _steps(metrics: Metrics, name: str) -> list[int]:
    series = metrics.series.get(name)
    return [] if series is None else [int(step) for step, value in zip(series.steps, series.values, strict=True) if value > 0]


def _onsets(steps: Sequence[int], values: Sequence[float]) -> Iterator[int]:
    before = 0.0
    for step, value in zip(steps, values, strict=True):
        if value > 0 and before <= 0:
            yield step
        before = value


def _noted(metrics: Metrics, notes: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Notes have times; their steps are those of the newest record before them (that the run has kept)."""
    places = np.searchsorted(metrics.times, [float(note["time"]) for note in notes], side="right") - 1
    steps = [int(metrics.steps[place]) if place >= 0 else 0 for place in places]
    return [[step, str(note.get("kind", "note")), note["text"]] for step, note in zip(steps, notes, strict=True)]


def _restarts(metrics: Metrics) -> list[list[Any]]:
    """Wall time that passed between two records while the run's own time stood still."""
    if metrics.steps.size < 2:
        return []
    gaps = np.diff(metrics.times) - np.diff(metrics.elapsed)
    places = np.flatnonzero(gaps > GAP_S)
    return [[int(metrics.steps[at]), "restart", f"the run stood still for {duration(float(gaps[at]))} and went on"] for at in places]


def flat(content: Any, prefix: str = "") -> list[list[str]]:
    """(dotted name, value as text) of nested mappings; lists of plain values in one line."""
    found: list[list[str]] = []
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            found.append([f"{prefix}{name}", ", ".join(map(str, value))])
        else:
            found.append([f"{prefix}{name}", "null" if value is None else str(value)])
    return found
