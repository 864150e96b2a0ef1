"""What is known of a run from its records so far: folded record by record, bounded in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from chemr.live.progress import Pace, StagePlan
from chemr.run_events import EVENT_METRICS, event_of

SPARK_STEPS = 240  # of a task's rewards, newest last
FAILURES = 6
ALERTS = 6
_REWARD, _MEAN = "reward/", "/mean"
_WEIGHT, _ALERT, _RUN_ALERT, _EVAL = "curriculum/weight/", "curriculum/alert/", "alert/", "eval/"
_NOT_METRICS = frozenset({"step", "time", "elapsed_s", "stage", "nonfinite"})


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened at a step."""

    step: int
    text: str


@dataclass
class RunState:
    """Newest values and short histories.

    Attributes:
        step: optimiser steps over all stages; stage_base: those before the stage in progress.
        newest: metric -> (step, value), for every metric that was ever recorded.
        rewards: task -> its mean rewards in the last :data:`SPARK_STEPS` records that had any; ``mean`` is over all tasks.
        evaluations: task -> (stage, value) of its newest held-out evaluation.
        failures, alerts: the last few, oldest first; active: (task, kind) of alerts that go on.
    """

    stage: str = ""
    stages_seen: list[str] = field(default_factory=list)
    step: int = 0
    stage_base: int = 0
    time: float = 0.0
    elapsed_s: float = 0.0
    records: int = 0
    pace: Pace = field(default_factory=Pace)
    newest: dict[str, tuple[int, float]] = field(default_factory=dict)
    rewards: dict[str, deque[float]] = field(default_factory=dict)
    evaluations: dict[str, tuple[str, float]] = field(default_factory=dict)
    failures: deque[Told] = field(default_factory=lambda: deque(maxlen=FAILURES))
    alerts: deque[Told] = field(default_factory=lambda: deque(maxlen=ALERTS))
    active: set[tuple[str, str]] = field(default_factory=set)

    @property
    def stage_step(self) -> int:
        return self.step - self.stage_base

    def value(self, name: str) -> float | None:
        """The newest value of a metric."""
        found = self.newest.get(name)
        return None if found is None else found[1]

    def weights(self) -> dict[str, float]:
        """The curriculum's shares in its newest record; tasks that are not in it any more are left out."""
        named = {name.removeprefix(_WEIGHT): found for name, found in self.newest.items() if name.startswith(_WEIGHT)}
        last = max((step for step, _ in named.values()), default=0)
        return {task: value for task, (step, value) in named.items() if step == last}

    def fold(self, record: Mapping[str, Any]) -> None:
        """Take one record in. Fields of a wrong type are left out."""
        step, elapsed = int(record["step"]), _number(record.get("elapsed_s"))
        numbers = {name: float(value) for name, value in record.items() if name not in _NOT_METRICS and _is_number(value)}
        self._enter(str(record.get("stage") or self.stage), step, trains="train/loss" in numbers)
        self.records += 1
        self.step = max(self.step, step)
        self.time = _number(record.get("time")) or self.time
        self.elapsed_s = max(self.elapsed_s, elapsed)
        if "time/step_s" in numbers or "train/loss" in numbers:
            self.pace.step(step, elapsed)
        for name, value in numbers.items():
            self.newest[name] = (step, value)
            self._note(step, name, value)
        self._curriculum_alerts(step, numbers)
        for name in record.get("nonfinite") or ():
            self.failures.append(Told(step, f"{name} was not finite"))

    def _enter(self, stage: str, step: int, trains: bool) -> None:
        if stage == self.stage:
            return
        self.stage = stage
        self.stages_seen.append(stage)
        # The first thing that a stage records is its weights, before its first step.
        self.stage_base = step - 1 if trains else step
        self.pace.new_stage()

    def _note(self, step: int, name: str, value: float) -> None:
        if name.startswith(_REWARD) and name.endswith(_MEAN):
            task = name[len(_REWARD) : -len(_MEAN)] or "mean"  # reward/mean is over all tasks
            if "/" not in task:
                self.rewards.setdefault(task, deque(maxlen=SPARK_STEPS)).append(value)
        elif name.startswith(_EVAL):
            _, _, task = name.removeprefix(_EVAL).partition("/")
            self.evaluations[task] = (self.stage, value)
        elif name.startswith(_RUN_ALERT) and value > 0:  # told once, when it begins
            self.alerts.append(Told(step, name.removeprefix(_RUN_ALERT).replace("/", ": ").replace("_", " ")))
        elif name.startswith(EVENT_METRICS):
            event = event_of(name, value)
            if event is not None:
                self.failures.append(Told(step, event[1]))

    def _curriculum_alerts(self, step: int, numbers: Mapping[str, float]) -> None:
        """The curriculum's alerts are in each of its records while they go on, and in none when they have ended."""
        if not any(name.startswith(_WEIGHT) for name in numbers):
            return
        on = {name.removeprefix(_ALERT).partition("/")[::2] for name, value in numbers.items() if name.startswith(_ALERT) and value > 0}
        for task, kind in sorted(on - self.active):
            self.alerts.append(Told(step, f"{task}: {kind}"))
        self.active = on


def recent_mean(values: Sequence[float], count: int = 20) -> float:
    """Mean of the last few."""
    return fmean(list(values)[-count:])


def stage_rows(plan: Sequence[StagePlan], state: RunState) -> list[tuple[str, int, int, str]]:
    """(stage, steps done, steps planned, ``done`` | ``now`` | ``next``) in the order of the plan; stages outside of it come behind."""
    planned = {one.name: one.steps for one in plan}
    names = [*planned, *(name for name in dict.fromkeys(state.stages_seen) if name not in planned)]
    rows = []
    for name in names:
        steps = planned.get(name, 0)
        if name == state.stage:
            rows.append((name, state.stage_step, steps, "now"))
        elif name in state.stages_seen:
            rows.append((name, steps, steps, "done"))
        else:
            rows.append((name, 0, steps, "next"))
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0
