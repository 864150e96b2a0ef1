"""What goes into a simulated stage and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from actors.pool_config import FleetTiming
from chemr.planning.errors import PlanError
from chemr.planning.throughput import EngineSpeed, LearnerSpeed
from chemr.planning.workload import Workload


@dataclass(frozen=True, slots=True)
class SharedCores:
    """Engines and learner ranks on the cores of one machine, one thread each: then ``LearnerSpeed.train_s`` is core-seconds of each rank.

    ``learner_nice``: of their processes. ``service``: what all else that a rollout needs (the engine's front end, reward processes, the
    driver) computes beside an engine, in core-seconds for each of the engine's.
    """

    cores: float
    ranks: int
    learner_nice: int = 0
    service: float = 0.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated.

    Attributes:
        reward_servers: processes that score one answer at a time, a group's answers one after the other.
        overhead_s: of the driver, per step, while the learner waits for it.
        latency_s: a group's, between engine, reward process and driver.
        failures_per_hour: of one engine; it comes back after ``restart_s``, its groups are generated elsewhere.
        cores: None where every actor has a device of its own.
    """

    engines: int
    engine: EngineSpeed
    learner: LearnerSpeed
    workload: Workload
    reward_servers: int = 1
    keep_cache: bool = False
    overhead_s: float = 0.0
    latency_s: float = 0.0
    timing: FleetTiming = field(default_factory=FleetTiming)
    failures_per_hour: float = 0.0
    restart_s: float = 180.0
    cores: SharedCores | None = None

    def __post_init__(self) -> None:
        if self.engines < 1 or self.reward_servers < 1:
            raise PlanError(f"{self.engines} engines and {self.reward_servers} reward processes: each should be at least 1")


class StepFigures(NamedTuple):
    """One simulated step: its seconds, the groups that came back in it, and their mean seconds of generation and in all (nan without)."""

    seconds: float
    graded: int
    rollout_s: float
    turnaround_s: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Means over the simulated steps after the first ones. Seconds, versions, tokens.

    Attributes:
        step_s: from the end of one step to the end of the next; ``train_s``, ``wait_s``: training and waiting for groups in it.
        age_bound: of the buffer (``actors.staleness.max_age``).
        overlap_efficiency: max(generation, training) / step, as ``async/overlap_efficiency``; 1 is the limit.
        running: samples an engine has on average; ``rollout_s``: generation of a group; ``turnaround_s``: from its submission to its
            verdicts.
        submitted, trained, dropped, in_flight: groups over the whole simulation; the first is the sum of the others.
        aggregated: engines for which one was simulated (1: every one was).
    """

    step_s: float
    train_s: float
    wait_s: float
    age_mean: float
    age_max: int
    age_bound: int
    overlap_efficiency: float
    idle_learner: float
    idle_generators: float
    running: float
    rollout_s: float
    turnaround_s: float
    trained_tokens_per_s: float
    generated_tokens_per_s: float
    submitted: int
    trained: int
    dropped: dict[str, int]
    in_flight: int
    steps: int
    aggregated: float = 1.0
    by_step: tuple[StepFigures, ...] = ()

    def figures(self) -> dict[str, Any]:
        """For JSON, without the single steps."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "by_step"}
