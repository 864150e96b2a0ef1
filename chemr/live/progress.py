"""How far a run is, how fast it goes and when it will be done. Arithmetic only."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RECENT_STEPS = 50  # over which the speed is taken


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage of the run's configuration. ``steps`` is 0 where the configuration does not say."""

    name: str
    steps: int


def plan_of(config: Mapping[str, Any]) -> list[StagePlan]:
    """The stages in their order, from ``config.yaml``."""
    stages = config.get("stages")
    plans = []
    for name in stages if isinstance(stages, Sequence) and not isinstance(stages, str) else ():
        section = config.get(str(name))
        steps = section.get("steps") if isinstance(section, Mapping) else None
        plans.append(StagePlan(str(name), steps if isinstance(steps, int) else 0))
    return plans


class Pace:
    """Seconds of a step over the last :data:`RECENT_STEPS` steps of the stage in progress, pauses of the run left out."""

    def __init__(self) -> None:
        self._done: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS + 1)  # (step, running seconds)

    def step(self, step: int, elapsed_s: float) -> None:
        if self._done and step <= self._done[-1][0]:
            return
        self._done.append((step, elapsed_s))

    def new_stage(self) -> None:
        self._done.clear()

    @property
    def step_s(self) -> float | None:
        """None until two steps are done."""
        if len(self._done) < 2:
            return None
        (first, began), (last, ended) = self._done[0], self._done[-1]
        return (ended - began) / (last - first)


def left_s(plan: Sequence[StagePlan], stage: str, stage_step: int, step_s: float | None) -> float | None:
    """Seconds until the stage in progress is done at the present speed; None where its steps or the speed are not known.

    Evaluations at the end of the stage and the stages after it are not in it: their speed is another one.
    """
    total = next((one.steps for one in plan if one.name == stage), 0)
    if not total or step_s is None:
        return None
    return max(0, total - stage_step) * step_s
