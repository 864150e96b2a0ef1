"""Which task the next prompt comes from, and which prompt of that task.

Two pure, checkpointable parts. :class:`TaskCurriculum` keeps an estimate of every task's success and turns it into sampling weights;
:class:`PromptCursor` walks a shuffled deck of each task's prompts. Neither knows of Ray, models or time; the stage driver draws and
feeds back, always in submission order, so that a synchronous run (S = 0) is a pure function of its seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Weighting(StrEnum):
    """How success estimates become task weights (DESIGN §4)."""

    uniform = "uniform"
    difficulty = "difficulty"  # w ∝ max(floor, (1 − p)^α): hard tasks are not left behind (Chem-R's curriculum weighting)
    variance = "variance"  # w ∝ max(floor, 4p(1 − p)): most where success is a coin toss (marin)
    advantage = "advantage"  # w ∝ exp(Q/τ), Q = running mean |advantage| (SEC bandit)


@dataclass
class CurriculumConfig:
    """Task curriculum of the GRPO stage.

    Attributes:
        weighting: see :class:`Weighting`.
        alpha: exponent of the difficulty weighting.
        floor: smallest unnormalised weight, so that no task starves; in (0, 1].
        rate: step size of the exponential averages for a sample of the current policy; in (0, 1].
        age_decay: a sample that is ``a`` versions old updates with ``rate · age_decay^a``: it describes a policy that is gone.
        temperature: softmax temperature of the advantage weighting.
    """

    weighting: Weighting = Weighting.difficulty
    alpha: float = 1.0
    floor: float = 0.2
    rate: float = 0.1
    age_decay: float = 0.7
    temperature: float = 0.1

    def validate(self) -> None:
        """Raises ValueError that names the field, the value and the remedy."""
        for name, low, high in (("floor", 0.0, 1.0), ("rate", 0.0, 1.0), ("age_decay", 0.0, 1.0)):
            value = getattr(self, name)
            if not low < value <= high:
                raise ValueError(f"grpo.curriculum.{name}={value} is outside ({low:g}, {high:g}]; choose a value in that range")
        if self.alpha < 0:
            raise ValueError(f"grpo.curriculum.alpha={self.alpha} is negative, which would favour easy tasks; use alpha >= 0")
        if self.temperature <= 0:
            raise ValueError(f"grpo.curriculum.temperature={self.temperature} must be positive")


@dataclass
class _TaskEstimate:
    success: float = 0.5
    abs_advantage: float = 0.5
    groups: int = 0


def task_weights(
    estimates: Mapping[str, _TaskEstimate], config: CurriculumConfig, floors: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Normalised sampling probabilities of the tasks; every one is positive and they sum to 1. ``floors``: of single tasks."""
    floors = floors or {}
    raw: dict[str, float] = {}
    for task, estimate in estimates.items():
        p = min(1.0, max(0.0, estimate.success))
        match config.weighting:
            case Weighting.uniform:
                raw[task] = 1.0
            case Weighting.difficulty:
                raw[task] = max(floors.get(task, config.floor), (1.0 - p) ** config.alpha)
            case Weighting.variance:
                raw[task] = max(floors.get(task, config.floor), 4.0 * p * (1.0 - p))
            case Weighting.advantage:
                raw[task] = math.exp(min(50.0, estimate.abs_advantage / config.temperature))
    total = sum(raw.values())
    return {task: weight / total for task, weight in raw.items()}


def effective_tasks(weights: Mapping[str, float]) -> float:
    """Inverse Simpson index 1 / Σ w²: n for uniform weights over n tasks, 1 when one task takes all."""
    return 1.0 / sum(weight * weight for weight in weights.values())


def entropy(weights: Mapping[str, float]) -> float:
    """Shannon entropy of the weights in nats."""
    return -sum(weight * math.log(weight) for weight in weights.values() if weight > 0)


class TaskCurriculum:
    """Draws tasks by weight and learns from scored groups."""

    def __init__(self, tasks: Sequence[str], config: CurriculumConfig, seed: int) -> None:
        if not tasks:
            raise ValueError("the curriculum needs at least one task")
        self._config = config
        self._estimates = {task: _TaskEstimate() for task in sorted(tasks)}
        self.floors: dict[str, float] = {}  # that were set while the run went on
        self._random = random.Random(f"curriculum/{seed}")

    @property
    def weights(self) -> dict[str, float]:
        """Share of the prompts by task."""
        return task_weights(self._estimates, self._config, self.floors)

    def draw(self) -> str:
        weights = self.weights
        return self._random.choices(list(weights), list(weights.values()))[0]

    def set_floor(self, task: str, floor: float) -> None:
        """From now on ``task``'s unnormalised weight is at least ``floor``, instead of the configured one.

        Raises ValueError: no such task, no such floor, or a weighting without floors.
        """
        if task not in self._estimates:
            raise ValueError(f"the curriculum has no task {task!r}; it has {', '.join(self._estimates)}")
        if not 0.0 < floor <= 1.0:
            raise ValueError(f"floor {floor:g} of {task} is outside (0, 1]: weights lie there before they are normalised")
        if self._config.weighting not in (Weighting.difficulty, Weighting.variance):
            raise ValueError(f"grpo.curriculum.weighting={self._config.weighting} has no floors; difficulty and variance have")
        self.floors[task] = floor

    def update(self, task: str, *, success: float, abs_advantage: float, age: int) -> None:
        """Feed back one group: mean reward and mean |advantage| of its samples, and the age of the policy that produced them."""
        estimate = self._estimates[task]
        # The first groups count as a plain average (1/n), so that the prior of 0.5 is forgotten at once.
        rate = max(self._config.rate, 1.0 / (estimate.groups + 1)) * self._config.age_decay ** max(0, age)
        estimate.success += rate * (success - estimate.success)
        estimate.abs_advantage += rate * (abs_advantage - estimate.abs_advantage)
        estimate.groups += 1

    def metrics(self) -> dict[str, float]:
        weights = self.weights
        record = {f"curriculum/weight/{task}": weight for task, weight in weights.items()}
        record |= {f"curriculum/success/{task}": estimate.success for task, estimate in self._estimates.items() if estimate.groups}
        record |= {f"curriculum/floor/{task}": floor for task, floor in self.floors.items()}
        record["curriculum/entropy"] = entropy(weights)
        record["curriculum/effective_tasks"] = effective_tasks(weights)
        return record

    def state_dict(self) -> dict[str, Any]:
        version, internal, gauss = self._random.getstate()
        return {
            "random": [version, list(internal), gauss],
            "estimates": {task: [e.success, e.abs_advantage, e.groups] for task, e in self._estimates.items()},
            "floors": dict(self.floors),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError when the checkpoint was made with other tasks."""
        if set(state["estimates"]) != set(self._estimates):
            missing, extra = set(self._estimates) - set(state["estimates"]), set(state["estimates"]) - set(self._estimates)
            raise ValueError(
                f"the checkpoint's curriculum has other tasks: lacks {sorted(missing)}, has besides {sorted(extra)}; keep `tasks`"
            )
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
        self._estimates = {task: _TaskEstimate(*values) for task, values in state["estimates"].items()}
        self.floors = dict(state.get("floors", {}))  # checkpoints from before there were any lack them


class PromptCursor:
    """Walks each task's prompts in a seeded order, reshuffled every pass; its state is one integer per task."""

    def __init__(self, sizes: Mapping[str, int], seed: int) -> None:
        empty = [task for task, size in sizes.items() if size < 1]
        if empty:
            raise ValueError(f"tasks without training prompts: {empty}; drop them from `tasks` or provide data")
        self._sizes = dict(sizes)
        self._seed = seed
        self._drawn = dict.fromkeys(sizes, 0)
        self._decks: dict[str, tuple[int, list[int]]] = {}

    def draw(self, task: str) -> int:
        """Index of the task's next prompt."""
        lap, position = divmod(self._drawn[task], self._sizes[task])
        self._drawn[task] += 1
        if self._decks.get(task, (-1, []))[0] != lap:
            deck = list(range(self._sizes[task]))
            random.Random(f"prompts/{self._seed}/{task}/{lap}").shuffle(deck)
            self._decks[task] = (lap, deck)
        return self._decks[task][1][position]

    def state_dict(self) -> dict[str, int]:
        return dict(self._drawn)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._drawn = {task: int(state.get(task, 0)) for task in self._sizes}
