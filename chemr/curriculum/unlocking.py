"""The task graph: tasks that wait until the tasks before them are learnt, or have got stuck.

A task is opened once each task before it has passed, and stays open for the rest of the run; so has a task that passed, passed for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chemr.curriculum.config import UnlockRule
from chemr.curriculum.estimates import rise


class Locks:
    """Which tasks are still locked. The rules must be free of cycles (``CurriculumConfig.validate``)."""

    def __init__(self, rules: Mapping[str, UnlockRule]) -> None:
        self._rules = dict(rules)
        self._passed: dict[str, list[str]] = {task: [] for task in rules}  # task -> tasks before it that have passed
        self._open: list[str] = []  # of the tasks with a rule, in the order they were opened

    @property
    def locked(self) -> tuple[str, ...]:
        return tuple(task for task in self._rules if task not in self._open)

    @property
    def longest_look_back(self) -> int:
        """How many estimates of a task's course the rules look at."""
        return max((rule.plateau or 1 for rule in self._rules.values()), default=1)

    def observe(self, task: str, course: Sequence[float]) -> list[tuple[str, str]]:
        """The estimate of ``task`` changed; ``course`` holds its estimates, the newest last. What that opens, and why."""
        opened: list[tuple[str, str]] = []
        for waiting in self.locked:
            rule = self._rules[waiting]
            if task not in rule.after or task in self._passed[waiting]:
                continue
            reason = _passes(rule, course)
            if reason:
                self._passed[waiting].append(task)
                if set(rule.after) <= set(self._passed[waiting]):
                    self._open.append(waiting)
                    opened.append((waiting, f"{task} {reason}"))
        return opened

    def state_dict(self) -> dict[str, Any]:
        return {"open": list(self._open), "passed": {task: list(passed) for task, passed in self._passed.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Tasks whose rule is new since the checkpoint are locked; opened ones stay open."""
        self._open = [task for task in state["open"] if task in self._rules]
        self._passed = {task: list(state["passed"].get(task, ())) for task in self._rules}


def _passes(rule: UnlockRule, course: Sequence[float]) -> str:
    """Why a task with this course lets the waiting one in; empty when it does not."""
    if course[-1] >= rule.success:
        return f"reached {course[-1]:.2f} (unlocks at {rule.success:g})"
    if rule.plateau is not None and len(course) >= rule.plateau:
        recent = list(course)[-rule.plateau :]
        if rise(recent) <= rule.plateau_gain:
            return f"stays at {course[-1]:.2f}: over {rule.plateau} groups it rose by no more than {rule.plateau_gain:g}"
    return ""
