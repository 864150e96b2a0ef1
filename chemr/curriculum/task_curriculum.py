"""The task sampler: an estimate of every task's success, turned into weights by which tasks are drawn."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.curriculum.alerts import TaskWatch
from chemr.curriculum.config import CurriculumConfig, Weighting
from chemr.curriculum.estimates import SETTLED, TaskEstimate
from chemr.curriculum.outcome import Notice
from chemr.curriculum.unlocking import Locks
from chemr.curriculum.weights import effective_tasks, entropy, task_weights

_WITHOUT_FLOORS = (Weighting.uniform, Weighting.advantage)


class TaskCurriculum:
    """Draws tasks by weight and learns from scored groups."""

    def __init__(self, tasks: Sequence[str], config: CurriculumConfig, seed: int) -> None:
        """Raises ValueError: no tasks, or settings that name others."""
        if not tasks:
            raise ValueError("the curriculum needs at least one task")
        config.check_tasks(tasks)
        self._config = config
        self._estimates = {task: TaskEstimate() for task in sorted(tasks)}
        self.floors: dict[str, float] = {}  # of unnormalised weights, that were set while the run went on
        self._random = random.Random(f"curriculum/{seed}")
        self._locks = Locks(config.unlock)
        self._watches = {task: TaskWatch() for task in self._estimates} if config.alerts.enabled else {}
        look_back = max(self._locks.longest_look_back, config.alerts.window if config.alerts.enabled else 1)
        # The newest estimates of each task, once they have settled: what rules and alerts look at.
        self._courses: dict[str, deque[float]] = {task: deque(maxlen=look_back) for task in self._estimates}
        self._weights: dict[str, float] | None = None  # None: to be computed

    @property
    def weights(self) -> dict[str, float]:
        """Share of the prompts by task; 0 for locked tasks."""
        if self._weights is None:
            self._weights = task_weights(self._estimates, self._config, self.floors, self._locks.locked)
        return dict(self._weights)

    @property
    def locked(self) -> tuple[str, ...]:
        return self._locks.locked

    @property
    def successes(self) -> dict[str, float]:
        """Success estimates of the tasks that were observed."""
        return {task: estimate.success for task, estimate in self._estimates.items() if estimate.groups}

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
        if self._config.weighting in _WITHOUT_FLOORS:
            others = ", ".join(one for one in Weighting if one not in _WITHOUT_FLOORS)
            raise ValueError(f"grpo.curriculum.weighting={self._config.weighting} has no floors; {others} have")
        self.floors[task] = floor
        self._weights = None

    def update(self, task: str, *, success: float, abs_advantage: float, age: int) -> list[Notice]:
        """Feed back one group: mean reward and mean |advantage| of its samples, and the age of the policy that produced them.

        Returns what a person should know: tasks that this unlocked, and alerts of ``task`` that begin with it.
        """
        estimate, config = self._estimates[task], self._config
        estimate.observe(success, abs_advantage, rate=config.rate, age_decay=config.age_decay, age=age)
        self._weights = None
        if estimate.groups < SETTLED:
            return []
        course = self._courses[task]
        course.append(estimate.success)
        notices = [Notice(opened, "unlocked", f"{opened} joins: {why}") for opened, why in self._locks.observe(task, course)]
        if task in self._watches:
            alerts = self._watches[task].observe(course, config.alerts)
            notices += [Notice(task, str(alert.kind), f"{task} {alert.text}") for alert in alerts]
        return notices

    def metrics(self) -> dict[str, float]:
        weights = self.weights
        record = {f"curriculum/weight/{task}": weight for task, weight in weights.items()}
        record |= {f"curriculum/success/{task}": success for task, success in self.successes.items()}
        record |= {f"curriculum/floor/{task}": floor for task, floor in self.floors.items()}
        record["curriculum/entropy"] = entropy(weights)
        record["curriculum/effective_tasks"] = effective_tasks(weights)
        if self._config.unlock:
            record["curriculum/locked"] = float(len(self.locked))
        record |= {f"curriculum/alert/{task}/{kind}": 1.0 for task, watch in self._watches.items() for kind in watch.active}
        return record

    def state_dict(self) -> dict[str, Any]:
        version, internal, gauss = self._random.getstate()
        return {
            "random": [version, list(internal), gauss],
            "estimates": {task: [e.success, e.abs_advantage, e.groups] for task, e in self._estimates.items()},
            "floors": dict(self.floors),
            "locks": self._locks.state_dict(),
            "courses": {task: list(course) for task, course in self._courses.items() if course},
            "watches": {task: watch.state_dict() for task, watch in self._watches.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError when the checkpoint was made with other tasks. What older checkpoints lack begins as in a new run."""
        if set(state["estimates"]) != set(self._estimates):
            missing, extra = set(self._estimates) - set(state["estimates"]), set(state["estimates"]) - set(self._estimates)
            raise ValueError(
                f"the checkpoint's curriculum has other tasks: lacks {sorted(missing)}, has besides {sorted(extra)}; keep `tasks`"
            )
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
        self._estimates = {task: TaskEstimate(*values) for task, values in state["estimates"].items()}
        self.floors = dict(state.get("floors", {}))
        self._locks.load_state_dict(state.get("locks", {"open": [], "passed": {}}))
        for task, course in self._courses.items():
            course.clear()
            course.extend(state.get("courses", {}).get(task, ()))  # of a longer one the newest stay
        for task in self._watches:
            watch = state.get("watches", {}).get(task)
            self._watches[task] = TaskWatch() if watch is None else TaskWatch.restored(watch)
        self._weights = None
