"""A curriculum run on recorded pass rates: what it would have sampled, in seconds and without a model.

Two clocks say how a task's true pass rate moves. ``steps``: it is what was recorded at that step, whatever is sampled; this shows how a
sampler reads and follows given courses. ``groups``: it is what was recorded after as much practice, so a task that is sampled twice as
often moves twice as fast, and one that is not sampled stands still; this shows what another sampler would have made of the same tasks, if
tasks learnt from their own prompts only.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any

from chemr.curriculum.config import CurriculumConfig
from chemr.curriculum.recording import Recording
from chemr.curriculum.task_curriculum import TaskCurriculum
from chemr.curriculum.weights import effective_tasks, entropy


class Clock(StrEnum):
    steps = "steps"
    groups = "groups"


@dataclass(frozen=True)
class SimulationSettings:
    """Attributes:
    groups_per_step, samples: prompts a step, and answers to each of them.
    age: of the policy that answers, in versions.
    seed: of the draws and the answers. Two samplers with one seed meet the same luck: the n-th group of a task is answered alike.
    """

    steps: int
    groups_per_step: int = 16
    samples: int = 8
    age: int = 0
    seed: int = 0
    clock: Clock = Clock.steps


@dataclass
class SimulatedTask:
    """Attributes:
    groups, share: how often it was drawn, and of all draws.
    weights: its weight after each step.
    estimates: the curriculum's estimate after each step; None before it was drawn.
    rate_first, rate_last: the true pass rate at the first and the last step.
    unlocked_at: the step after which it was sampled; None: from the beginning, or never (``locked``).
    alerts: (step, kind).
    """

    groups: int = 0
    share: float = 0.0
    weights: list[float] = field(default_factory=list)
    estimates: list[float | None] = field(default_factory=list)
    rate_first: float = 0.0
    rate_last: float = 0.0
    unlocked_at: int | None = None
    locked: bool = False
    alerts: list[tuple[int, str]] = field(default_factory=list)

    @property
    def observed(self) -> list[float]:
        return [estimate for estimate in self.estimates if estimate is not None]


@dataclass
class Simulation:
    """What a sampler did.

    Attributes:
        entropy, effective_tasks: of the weights after each step; nats, inverse Simpson.
        teaching: share of the groups whose answers were not all worth the same.
        mean_rate, worst_third: true pass rates at the end, over all tasks and over the third (rounded up) that is worst.
    """

    tasks: dict[str, SimulatedTask]
    entropy: list[float]
    effective_tasks: list[float]
    teaching: float
    mean_rate: float
    worst_third: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def simulate(recording: Recording, config: CurriculumConfig, settings: SimulationSettings) -> Simulation:
    """Run a sampler for ``settings.steps`` steps. A pure function of its arguments.

    Raises:
        ValueError: the config names tasks that the recording does not hold.
    """
    curriculum = TaskCurriculum(tuple(recording.tasks), config, settings.seed)
    tasks = {task: SimulatedTask() for task in recording.tasks}
    result = Simulation(tasks, [], [], 0.0, 0.0, 0.0)
    drawn: Counter[str] = Counter()
    teaching = 0
    for step in range(1, settings.steps + 1):
        rates = _rates(recording, settings, step, drawn)
        if step == 1:
            for task, simulated in tasks.items():
                simulated.rate_first = rates[task]
        for task in [curriculum.draw() for _ in range(settings.groups_per_step)]:
            solved = _answers(settings, task, drawn[task], rates[task])
            drawn[task] += 1
            teaching += 0 < solved < settings.samples
            success = solved / settings.samples
            # Mean |r − mean r| of answers worth 0 or 1.
            notices = curriculum.update(task, success=success, abs_advantage=2.0 * success * (1.0 - success), age=settings.age)
            for notice in notices:
                if notice.kind == "unlocked":
                    tasks[notice.task].unlocked_at = step
                else:
                    tasks[notice.task].alerts.append((step, notice.kind))
        weights, successes = curriculum.weights, curriculum.successes
        for task, simulated in tasks.items():
            simulated.weights.append(weights[task])
            simulated.estimates.append(successes.get(task))
        result.entropy.append(entropy(weights))
        result.effective_tasks.append(effective_tasks(weights))
    last = _rates(recording, settings, settings.steps, drawn)
    total = settings.steps * settings.groups_per_step
    for task, simulated in tasks.items():
        simulated.groups, simulated.share = drawn[task], drawn[task] / total
        simulated.rate_last = last[task]
        simulated.locked = task in curriculum.locked
    result.teaching = teaching / total
    result.mean_rate = fmean(last.values())
    result.worst_third = fmean(sorted(last.values())[: math.ceil(len(last) / 3)])
    return result


def _rates(recording: Recording, settings: SimulationSettings, step: int, drawn: Mapping[str, int]) -> dict[str, float]:
    """Every task's true pass rate."""
    if settings.clock is Clock.steps:
        return {task: record.at_step(step) for task, record in recording.tasks.items()}
    return {task: record.after(drawn[task] / settings.groups_per_step) for task, record in recording.tasks.items()}


def _answers(settings: SimulationSettings, task: str, number: int, rate: float) -> int:
    """How many answers to the task's ``number``-th group are right."""
    generator = random.Random(f"simulated-answers/{settings.seed}/{task}/{number}")
    return sum(generator.random() < rate for _ in range(settings.samples))
