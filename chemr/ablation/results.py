"""What the arms' runs say: means over seeds with intervals, differences to the reference, the tasks that were worst without."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from chemr.ablation.arms import Comparison
from chemr.ablation.schedule import ArmRun
from chemr.checkpoints import CheckpointStore
from chemr.intervals import paired_difference

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Held-out scores of one run's last stage, in [0, 1]. ``by_prompt``: task -> prompt uid -> mean reward, for pairing."""

    seed: int
    mean: float
    greedy: float | None
    tasks: Mapping[str, float]
    by_prompt: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm over its seeds; the worst task and the worst third are named by the reference's means, so they are the same for all arms."""

    name: str
    title: str
    seeds: Sequence[SeedResult]
    mean: Interval
    tasks: Mapping[str, float]
    worst_task: Interval
    worst_third: Interval
    gain: Interval | None  # over the reference; None for itself
    gain_worst_task: Interval | None
    gain_worst_third: Interval | None

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "seeds": [one.seed for one in self.seeds],
            "mean_by_seed": [one.mean for one in self.seeds],
            "greedy_by_seed": [one.greedy for one in self.seeds],
            "mean": list(self.mean),
            "tasks": dict(self.tasks),
            "worst_task": list(self.worst_task),
            "worst_third": list(self.worst_third),
            "gain": _listed(self.gain),
            "gain_worst_task": _listed(self.gain_worst_task),
            "gain_worst_third": _listed(self.gain_worst_third),
        }


def read_result(run: ArmRun) -> SeedResult:
    """Of a finished run: its summary, and the scores by prompt that its newest checkpoint keeps.

    Raises:
        ValueError: the run is not whole.
    """
    checkpoint, complaints = CheckpointStore(run.directory / "checkpoints").peek()
    if checkpoint is None:
        raise ValueError(f"{run.directory} is finished but has no readable checkpoint: {'; '.join(complaints)}")
    stage = str(checkpoint.state["stage"])
    result = checkpoint.state["results"][stage]
    evaluation = result["evaluation"]
    tasks = {task: float(score["mean"]) for task, score in evaluation["tasks"].items()}
    return SeedResult(run.seed, float(evaluation["mean_reward"]), evaluation["greedy_mean_reward"], tasks, result["by_prompt"])


def compare(comparison: Comparison, results: Mapping[str, Sequence[SeedResult]]) -> list[ArmResult]:
    """The arms that have results, in the order of the comparison.

    Raises:
        ValueError: the reference has none.
    """
    reference = results.get(comparison.reference)
    if not reference:
        raise ValueError(f"the reference {comparison.reference} has no finished run, so nothing can be compared to it")
    means = _task_means(reference)
    worst = sorted(means, key=lambda task: (means[task], task))
    third = worst[: max(1, math.ceil(len(worst) / 3))]
    return [_arm_result(comparison, name, results[name], reference, worst[0], third) for name in comparison.arms if results.get(name)]


def _arm_result(
    comparison: Comparison, name: str, seeds: Sequence[SeedResult], reference: Sequence[SeedResult], worst: str, third: Sequence[str]
) -> ArmResult:
    arm = comparison.arms[name]
    whole = tuple(_task_means(seeds))
    pairs = [(own, other) for own in seeds for other in reference if own.seed == other.seed]
    is_reference = name == comparison.reference or not pairs

    def gain(tasks: Sequence[str]) -> Interval | None:
        if is_reference:
            return None
        paired = [_paired(own, other, tasks) for own, other in pairs]
        return seed_interval([difference for difference, _, _ in paired], paired)

    def score(tasks: Sequence[str]) -> Interval:
        return seed_interval([fmean(one.tasks[task] for task in tasks) for one in seeds])

    return ArmResult(
        name,
        arm.title,
        seeds,
        mean=seed_interval([one.mean for one in seeds]),
        tasks=_task_means(seeds),
        worst_task=score([worst]),
        worst_third=score(third),
        gain=gain(whole),
        gain_worst_task=gain([worst]),
        gain_worst_third=gain(third),
    )


def seed_interval(values: Sequence[float], single: Sequence[Interval] = ()) -> Interval:
    """Mean over seeds with its 95 % Student interval (n − 1 degrees of freedom): what another set of seeds would give.

    With one seed there is no such interval: that of ``single`` (over prompts) if given, else the value itself.
    """
    mean = fmean(values)
    if len(values) == 1:
        return single[0] if single else (mean, mean, mean)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _paired(own: SeedResult, other: SeedResult, tasks: Sequence[str]) -> Interval:
    return paired_difference({task: own.by_prompt[task] for task in tasks}, other.by_prompt)


def _task_means(seeds: Sequence[SeedResult]) -> dict[str, float]:
    return {task: fmean(one.tasks[task] for one in seeds) for task in seeds[0].tasks}


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
