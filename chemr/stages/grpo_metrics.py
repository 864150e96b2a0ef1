"""The numbers of one GRPO step, under the names of DESIGN §7. Arithmetic only: the loops call in, nothing here waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from actors.buffer import Taken, WindowedBuffer
from actors.ledger import Ledger
from chemr.graded_group import GradedGroup

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


class StepRecorder:
    """Collects what happened since the last step, and totals over the stage (kept in checkpoints)."""

    def __init__(self, run: TrainingRun, buffer: WindowedBuffer[GradedGroup], ledger: Ledger) -> None:
        self._run = run
        self._buffer = buffer
        self._ledger = ledger
        self._since: list[GradedGroup] = []
        self._generation_s = run.fleet.busy_seconds()
        self._dropped: Counter[str] = Counter()
        self._losses = 0
        self.distributions: dict[str, list[int]] = {}  # of the last step, by sample
        self.age_max = 0
        self.samples = 0
        self.tokens = 0
        self.wall_s = 0.0
        self.generation_s = 0.0
        self.training_s = 0.0

    def graded(self, group: GradedGroup) -> None:
        self._since.append(group)

    def lost(self, group: GradedGroup) -> None:
        """It came back and was lost: whatever comes in its place counts."""
        self._since = [other for other in self._since if other is not group]

    def step(self, taken: Sequence[Taken[GradedGroup]], trained: Mapping[str, float], times: Mapping[str, float]) -> dict[str, float]:
        """Metrics of the step that trained on ``taken`` and took ``times`` (of the step clock)."""
        groups = [t.item for t in taken]
        ages = [t.age for t in taken]
        wall = times["time/step_s"]
        training = wall * times["time/train"]
        busy = self._run.fleet.busy_seconds()
        generation, self._generation_s = busy - self._generation_s, busy
        lengths = [length for group in groups for length in group.trained_lengths]
        samples, tokens = len(lengths), sum(lengths)
        self.age_max = max(self.age_max, *ages)
        self.samples += samples
        self.tokens += tokens
        self.wall_s += wall
        self.generation_s += generation
        self.training_s += training
        counts = self._buffer.counts()
        record = {
            **trained,
            **times,
            "train/samples": float(samples),
            "train/sampled_tokens": float(tokens),
            "train/samples_per_s": samples / wall,
            "async/age_mean": fmean(ages),
            "async/age_max": float(max(ages)),
            "async/age_bound": float(self._buffer.max_age),
            "async/slots_in_use": float(self._buffer.capacity - counts["free"]),
            "async/queue": float(counts["ready"]),
            "async/overlap_efficiency": max(generation, training) / wall,
            "async/idle_learner": max(0.0, 1.0 - training / wall),
            "async/idle_generators": max(0.0, 1.0 - generation / wall),
            "async/ledger/submitted": float(self._ledger.submitted),
            "async/ledger/trained": float(self._ledger.trained),
            "async/ledger/dropped": float(sum(self._ledger.dropped.values())),
            "async/ledger/in_flight": float(len(self._ledger.in_flight)),
            **self._drops(),
            **_fleet_metrics(self._run.fleet.stats()),
            **_rollout_metrics(self._since),
            **_reward_metrics(self._since),
        }
        self.distributions = {
            "async/age_histogram": [t.age for t in taken for _ in t.item.trained_lengths],
            "rollout/length_histogram": [length for group in self._since for length in group.scored.meta.lengths],
        }
        self._since = []
        return record

    def _drops(self) -> dict[str, float]:
        new = Counter(self._ledger.dropped)
        new.subtract(self._dropped)
        self._dropped = Counter(self._ledger.dropped)
        drops = {f"async/dropped/{reason}": float(count) for reason, count in new.items() if count}
        lost, self._losses = self._ledger.losses - self._losses, self._ledger.losses
        return drops | ({"async/asked_again": float(lost)} if lost else {})

    def summary(self) -> dict[str, Any]:
        """The stage's figures for summary.json; rates over the stage's own wall time."""
        wall = max(self.wall_s, 1e-9)
        return {
            "trained_samples": self.samples,
            "trained_tokens": self.tokens,
            "samples_per_s": self.samples / wall,
            "age_max": self.age_max,
            "age_bound": self._buffer.max_age,
            "age_slack": self._buffer.max_age - self.age_max,
            "overlap_efficiency": max(self.generation_s, self.training_s) / wall,
            "ledger": {
                "submitted": self._ledger.submitted,
                "trained": self._ledger.trained,
                "dropped": self._ledger.dropped,
                "in_flight": len(self._ledger.in_flight),
            },
            "ledger_error": self._ledger.error,
        }

    def state_dict(self) -> dict[str, float]:
        names = ("age_max", "samples", "tokens", "wall_s", "generation_s", "training_s")
        return {name: getattr(self, name) for name in names}

    def rewind(self, state: Mapping[str, float]) -> None:
        """Back to the totals of a checkpoint, or of the stage's beginning (no totals); what was seen of ages stays seen."""
        age_max = self.age_max
        self.load_state_dict(dict.fromkeys(self.state_dict(), 0) | dict(state))
        self.age_max = max(age_max, self.age_max)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._dropped = Counter(self._ledger.dropped)


def _fleet_metrics(stats: Mapping[str, float]) -> dict[str, float]:
    """fleet/{members,restarts,quarantines,drains}/<kind> and engine/*: what of the fleet's counters is watched."""
    kinds = ("members/", "restarts/", "quarantines/", "drains/")
    fleet = {f"fleet/{name}": value for name, value in stats.items() if name.startswith(kinds)}
    return fleet | {name: value for name, value in stats.items() if name.startswith("engine/")}


def _rollout_metrics(groups: Sequence[GradedGroup]) -> dict[str, float]:
    lengths = [length for group in groups for length in group.scored.meta.lengths]
    if not lengths:
        return {}
    truncated = sum(group.scored.meta.truncated for group in groups)
    nonfinite = sum(len(group.scored.meta.nonfinite) for group in groups)
    return {
        "rollout/length": fmean(lengths),
        "rollout/length_max": float(max(lengths)),
        "rollout/truncated": truncated / len(lengths),
        "rollout/cut": sum(group.scored.meta.cut for group in groups) / len(lengths),
        "rollout/nonfinite_logprobs": float(nonfinite),
        "rollout/seconds": fmean(group.scored.meta.seconds for group in groups),
        "rollout/turnaround_s": fmean(group.scored.turnaround_s for group in groups),
    }


def _reward_metrics(groups: Sequence[GradedGroup]) -> dict[str, float]:
    """reward/<task>/{mean,std,solved,blind,excess} and shares of reason codes, for the tasks that had a group in this step."""
    record: dict[str, float] = {}
    for task in sorted({group.task for group in groups}):
        verdicts = [verdict for group in groups if group.task == task for verdict in group.scored.verdicts]
        values = [verdict.value for verdict in verdicts if verdict.value is not None]
        for reason, count in sorted(Counter(str(verdict.reason) for verdict in verdicts).items()):
            record[f"reward/{task}/reason/{reason}"] = count / len(verdicts)
        record |= _term_metrics(task, groups) | _blind_metrics(task, groups)
        if values:
            record[f"reward/{task}/mean"] = fmean(values)
            record[f"reward/{task}/std"] = pstdev(values)
            record[f"reward/{task}/solved"] = fmean(float(value >= 1.0) for value in values)
    means = [reward for group in groups for reward in group.known_rewards]
    if means:
        record["reward/mean"] = fmean(means)
    if groups:
        record["reward/seconds"] = fmean(verdict.seconds for group in groups for verdict in group.scored.verdicts)
    totals = [total for group in groups if group.shaped for total in group.shaped.totals if total is not None]
    if totals:
        record["reward/shaped_mean"] = fmean(totals)
    return record


def _blind_metrics(task: str, groups: Sequence[GradedGroup]) -> dict[str, float]:
    """reward/<task>/blind, the mean of the best question-blind policy over the step's rows, and excess, how far the policy is above it on
    the same rows. Both are of verdicts, whatever the shaping."""
    compared = [(group, blind) for group in groups if group.task == task and group.known_rewards and (blind := group.blind)]
    if not compared:
        return {}
    earned: dict[str, list[float]] = {}
    for _, values in compared:
        for policy, value in values.items():
            earned.setdefault(policy, []).append(value)
    best = max(sum(values) / len(compared) for values in earned.values())
    return {f"reward/{task}/blind": best, f"reward/{task}/excess": fmean(group.success or 0.0 for group, _ in compared) - best}


def _term_metrics(task: str, groups: Sequence[GradedGroup]) -> dict[str, float]:
    """reward/<task>/term/<name>: unweighted means of the terms that count, where rewards are shaped."""
    values: dict[str, list[float]] = {}
    for group in groups:
        if group.task == task and group.shaped is not None:
            for name, term in group.shaped.terms.items():
                values.setdefault(name, []).extend(value for value in term if value is not None)
    return {f"reward/{task}/term/{name}": fmean(known) for name, known in values.items() if known}
