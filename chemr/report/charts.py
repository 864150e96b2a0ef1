"""What the page draws, as plain lists: curves, heat maps, the timeline of a step and histograms. Thinned here, so that the page stays
small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chemr.report.run_data import Metrics, RunData, Sample, Series
from chemr.report.thinning import bucket_edges, bucket_means, kept_points, moving_mean
from chemr.tasks import TASKS

POINTS = 400  # of a curve
SMOOTH_POINTS, SMOOTH_SHARE = 160, 20  # a moving mean over a twentieth of the values
SMOOTH_FROM = 40  # values; a curve of fewer is its own mean
BUCKETS = 64  # columns of a heat map and of the timeline
CLOCK_POINTS = 300
HISTOGRAM_BINS = 24

# (section, title, unit, metrics with their names in the legend)
LINES: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("training", "Mean reward of the rollouts", "", (("reward/mean", "reward"), ("reward/shaped_mean", "shaped"))),
    ("training", "Loss", "", (("train/loss", "loss"),)),
    ("training", "Entropy", "nats", (("train/entropy", "entropy"),)),
    ("training", "Gradient norm", "", (("train/grad_norm", "norm"),)),
    ("training", "Learning rate", "", (("train/lr", "rate"),)),
    ("training", "Effective sample size", "share", (("train/ess", "ESS"),)),
    ("training", "Clipped tokens", "share", (("train/clip_fraction", "clipped"),)),
    ("training", "Mismatch of engine and learner", "nats", (("train/mismatch_mean", "mean"), ("train/mismatch_p99", "99th percentile"))),
    ("training", "KL to the reference", "nats", (("train/kl", "KL"),)),
    ("training", "Length of an answer", "tokens", (("rollout/length", "mean"), ("rollout/length_max", "longest"))),
    ("training", "Answers cut at the length limit", "share", (("rollout/truncated", "truncated"),)),
    ("training", "Tasks in effect", "", (("curriculum/effective_tasks", "tasks"),)),
    ("speed", "Seconds of a step", "s", (("time/step_s", "step"),)),
    ("speed", "Trained tokens per second", "", (("train/tokens_per_s", "tokens/s"),)),
    ("speed", "Overlap of generation and training", "", (("async/overlap_efficiency", "overlap"),)),
    (
        "speed",
        "Age of what is trained on",
        "versions",
        (("async/age_mean", "mean"), ("async/age_max", "oldest"), ("async/age_bound", "bound")),
    ),
    (
        "speed",
        "Seconds of a group",
        "s",
        (("rollout/seconds", "generation"), ("rollout/turnaround_s", "until its verdicts")),
    ),
    ("speed", "Samples in a decoding step", "samples", (("engine/running", "mean"),)),
    ("speed", "Model FLOPs utilisation", "share", (("train/mfu", "MFU"),)),
    ("speed", "Peak memory of a learner", "GiB", (("train/peak_memory_gib", "peak"),)),
    ("weights", "Publishing and pulling weights", "s", (("weights/publish_s", "publish"), ("weights/pull_s", "slowest pull"))),
    ("weights", "Versions from one pull to the next", "versions", (("weights/version_lag", "lag"),)),
    ("weights", "Error of the log-prob probe", "nats", (("weights/probe_error", "error"),)),
    ("weights", "Groups in the buffer", "groups", (("async/queue", "ready"), ("async/slots_in_use", "slots in use"))),
)
PARTS = ("train", "wait_rollouts", "publish", "eval", "checkpoint")  # shares of a step's time, in the order of the timeline


def curve(series: Series, smooth: bool = True) -> dict[str, Any]:
    """``x`` steps and ``y`` values, extremes kept; with ``sx``, ``sy`` the moving mean where there are many values."""
    kept = kept_points(series.values, POINTS)
    made: dict[str, Any] = {"x": series.steps[kept].tolist(), "y": rounded(series.values[kept])}
    count = series.values.size
    if smooth and count >= SMOOTH_FROM:
        means = moving_mean(series.values, max(5, count // SMOOTH_SHARE))
        places = np.unique(np.linspace(0, count - 1, SMOOTH_POINTS).astype(np.int64))
        made |= {"sx": series.steps[places].tolist(), "sy": rounded(means[places])}
    return made


def rounded(values: Iterable[float]) -> list[float | None]:
    """Five significant digits; None for what is not finite, because JSON has no NaN."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]


def clock_of(metrics: Metrics) -> list[list[float | None]]:
    """[steps, seconds]: when each step was done, for the axis of minutes. At most :data:`CLOCK_POINTS` points."""
    known = np.isfinite(metrics.elapsed)
    steps, seconds = metrics.steps[known], metrics.elapsed[known]
    if steps.size == 0:
        return [[], []]
    last = np.append(np.flatnonzero(np.diff(steps)), steps.size - 1)  # a step's last record
    places = last[np.unique(np.linspace(0, last.size - 1, min(CLOCK_POINTS, last.size)).astype(np.int64))]
    return [steps[places].tolist(), rounded(seconds[places])]


def lines(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """The charts of :data:`LINES` for which any run has values."""
    charts = []
    for section, title, unit, metrics in LINES:
        drawn = [
            {"run": place, "name": name, **curve(run.metrics.series[metric])}
            for place, run in enumerate(runs)
            for metric, name in metrics
            if metric in run.metrics.series
        ]
        if drawn:
            charts.append({"section": section, "title": title, "unit": unit, "series": drawn})
    return charts


def learning_curves(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Per task: rewards of the rollouts, and held-out evaluations on validation and test rows."""
    names = {name for run in runs for name in run.metrics.under("reward/", "/mean")}
    for suite in ("validation", "test"):
        names |= {name for run in runs for name in run.metrics.under(f"eval/{suite}/")}
    charts = []
    for task in ["mean", *in_order(names - {"mean", "greedy"})]:
        drawn = []
        for place, run in enumerate(runs):
            rolled_out = run.metrics.series.get("reward/mean" if task == "mean" else f"reward/{task}/mean")
            if rolled_out is not None:
                drawn.append({"run": place, "name": "rollouts", **curve(rolled_out)})
            for suite in ("validation", "test"):
                series = run.metrics.series.get(f"eval/{suite}/{task}")
                if series is not None:
                    drawn.append({"run": place, "name": suite, **curve(series, smooth=False)})
        if drawn:
            charts.append({"task": task, "title": "mean over tasks" if task == "mean" else title_of(task), "series": drawn})
    return charts


def curriculum(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Per run a heat map: the share of prompts of every task, over steps."""
    maps = []
    for place, run in enumerate(runs):
        weights = run.metrics.under("curriculum/weight/")
        if weights:
            maps.append({"run": place, **_heat_map({task: weights[task] for task in in_order(weights)})})
    return maps


def reasons(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Per run and task a heat map: the share of answers with each reason, over steps. ``all`` is the unweighted mean over tasks."""
    found = []
    for place, run in enumerate(runs):
        by_task: dict[str, dict[str, Series]] = {}
        for name, series in run.metrics.series.items():
            parts = name.split("/")
            if len(parts) == 4 and parts[0] == "reward" and parts[2] == "reason":
                by_task.setdefault(parts[1], {})[parts[3]] = series
        if not by_task:
            continue
        edges = _edges(series for shares in by_task.values() for series in shares.values())
        tasks: dict[str, Any] = {}
        tables = {}
        for task in in_order(by_task):
            # A reason that did not occur in a step was not written; it was 0 wherever the task had any.
            asked = bucket_counts(by_task[task].values(), edges)
            tables[task] = {reason: _sums(series, edges) / asked for reason, series in by_task[task].items()}
        every = sorted({reason for table in tables.values() for reason in table})
        together = {}
        for reason in every:
            stack = np.array(
                [table.get(reason, np.where(np.isfinite(next(iter(table.values()))), 0.0, np.nan)) for table in tables.values()]
            )
            known = np.isfinite(stack)
            sums, counts = np.where(known, stack, 0.0).sum(axis=0), known.sum(axis=0)
            together[reason] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        for task, table in (("all", together), *tables.items()):
            order = sorted(table, key=lambda reason: -float(np.nansum(table[reason])))
            tasks[task] = {"rows": order, "cells": [rounded(table[reason]) for reason in order]}
        found.append({"run": place, "edges": edges.tolist(), "tasks": tasks})
    return found


def bucket_counts(shares: Iterable[Series], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """In how many steps of each bucket any of the series has a value; NaN where in none."""
    steps = np.unique(np.concatenate([series.steps for series in shares]))
    counts = np.histogram(steps, bins=edges)[0].astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


def _sums(series: Series, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.histogram(series.steps, bins=edges, weights=series.values)[0]


def timeline(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Per run, over the steps of GRPO (of all stages, if there was none): seconds of each part of a step, and who was idle."""
    found = []
    for place, run in enumerate(runs):
        step = run.metrics.series.get("time/step_s")
        if step is None or step.steps.size == 0:
            continue
        waits = run.metrics.series.get("time/wait_rollouts", step)
        edges = bucket_edges(int(waits.steps[0]), int(waits.steps[-1]), BUCKETS)
        seconds = dict(zip(step.steps.tolist(), step.values.tolist(), strict=True))
        parts = {}
        for name in (*PARTS, "unaccounted"):
            share = run.metrics.series.get(f"time/{name}")
            if share is not None:
                spent = np.array([value * seconds.get(at, 0.0) for at, value in zip(share.steps.tolist(), share.values, strict=True)])
                count = np.maximum(np.histogram(step.steps, bins=edges)[0], 1)  # a part is not in every step: over all steps
                parts[name] = rounded(np.histogram(share.steps, bins=edges, weights=spent)[0] / count)
        idle = {
            who: rounded(bucket_means(series.steps, series.values, edges))
            for who in ("learner", "generators")
            if (series := run.metrics.series.get(f"async/idle_{who}")) is not None
        }
        means = {who: float(np.mean(run.metrics.series[f"async/idle_{who}"].values)) for who in idle}
        mean_of = {name: _mean([value for value in values if value is not None]) for name, values in parts.items()}
        found.append({"run": place, "edges": edges.tolist(), "parts": parts, "idle": idle, "idle_mean": means, "part_mean": mean_of})
    return found


def histograms(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Age of what was trained on (per step), versions within a group, and tokens of an answer (both of the sampled trajectories)."""
    charts = []
    ages = [
        (place, run.metrics.series["async/age_mean"].values) for place, run in enumerate(runs) if "async/age_mean" in run.metrics.series
    ]
    charts.append(_histogram("Age of the samples of a step", "versions, mean of the step", "steps", ages))
    groups = [(place, _spans(run.samples)) for place, run in enumerate(runs) if run.samples]
    charts.append(_histogram("Versions that wrote one group", "newest − oldest version", "groups", groups, whole=True))
    lengths = [(place, np.array([sample.tokens for sample in run.samples], np.float64)) for place, run in enumerate(runs) if run.samples]
    charts.append(_histogram("Length of an answer", "tokens", "sampled answers", lengths))
    rewards = [
        (place, np.array([sample.reward for sample in run.samples if sample.reward is not None], np.float64))
        for place, run in enumerate(runs)
        if run.samples
    ]
    charts.append(_histogram("Reward of an answer", "reward", "sampled answers", rewards))
    return [chart for chart in charts if chart["series"]]


def _spans(samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    groups = {(sample.step, sample.uid): sample.newest_version - sample.oldest_version for sample in samples}
    return np.array(list(groups.values()), np.float64)


def _histogram(
    title: str, unit: str, counted: str, values: Sequence[tuple[int, npt.NDArray[np.float64]]], whole: bool = False
) -> dict[str, Any]:
    """``edges`` [bins + 1] and the counts of every run."""
    some = [one for one in values if one[1].size]
    if not some:
        return {"title": title, "unit": unit, "counted": counted, "edges": [], "series": []}
    low, high = min(float(one.min()) for _, one in some), max(float(one.max()) for _, one in some)
    if whole and high - low < HISTOGRAM_BINS:
        edges = np.arange(low - 0.5, high + 1.0, 1.0)
    else:
        room = 0.0 if high > low else 0.5  # one value stands in the middle
        edges = np.linspace(low - room, high + room, HISTOGRAM_BINS + 1)
    series = [{"run": place, "counts": np.histogram(one, bins=edges)[0].tolist()} for place, one in some]
    return {"title": title, "unit": unit, "counted": counted, "edges": rounded(edges), "series": series}


def _heat_map(rows: Mapping[str, Series]) -> dict[str, Any]:
    edges = _edges(rows.values())
    cells = [rounded(bucket_means(series.steps, series.values, edges)) for series in rows.values()]
    return {"edges": edges.tolist(), "rows": list(rows), "cells": cells}


def _edges(series: Iterable[Series]) -> npt.NDArray[np.float64]:
    some = [one.steps for one in series if one.steps.size]
    return bucket_edges(min(int(one[0]) for one in some), max(int(one[-1]) for one in some), BUCKETS)


def _mean(values: Sequence[float]) -> float:
    return float(f"{np.mean(values):.5g}") if values else 0.0


def in_order(tasks: Iterable[str]) -> list[str]:
    """Tasks in chemr's order, those of others behind them by name."""
    places = {name: place for place, name in enumerate(TASKS)}
    return sorted(tasks, key=lambda task: (places.get(task, len(places)), task))


def title_of(task: str) -> str:
    return TASKS[task].title if task in TASKS else task
