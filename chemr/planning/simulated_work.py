"""What is under way in a simulated stage (:mod:`chemr.planning.stage_simulation`): events, groups, steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from chemr.planning.simulated_engine import SimulatedEngine


class Event(IntEnum):
    """What can happen next."""

    ENGINE, SCORED, LEARNER, PUBLISHED, PULLED, DEADLINE, FAILS, RETURNS = range(8)


@dataclass(slots=True, eq=False)
class SimulatedGroup:
    """A group from its submission on; times in seconds since the stage began."""

    seq: int
    lengths: list[int]
    trivial: bool
    attempt: int = 0
    left: int = 0  # samples not ended
    stragglings: int = 0
    submitted: float = 0.0
    began: float = 0.0
    engine: SimulatedEngine | None = None
    oldest: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class SimulatedStep:
    """An optimiser step that is done."""

    ended: float
    train_s: float
    wait_s: float
    ages: list[int]
    tokens: int
    graded: int
    rollout_s: float
    turnaround_s: float
