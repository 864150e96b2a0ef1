"""What a run shows of itself and lets others ask of it: plain data and one protocol, without gRPC."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """What a run is doing, as ``v1/control.proto`` explains."""

    running = "running"
    pausing = "pausing"
    paused = "paused"
    waiting = "waiting"
    draining = "draining"
    ended = "ended"


@dataclass(frozen=True, slots=True)
class Slots:
    """Of the trajectory buffer."""

    capacity: int
    free: int
    generating: int
    ready: int
    taken: int


@dataclass(frozen=True, slots=True)
class Ages:
    """Of what was trained on, in weight versions: the highest so far, and what is possible at most."""

    oldest_seen: int
    bound: int


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """submitted = trained + dropped + in flight; ``error`` is the difference."""

    submitted: int
    trained: int
    dropped: dict[str, int]
    in_flight: int
    error: int


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A generator or a reward worker. ``state``: starting, serving, behind, draining, quarantined or lost. ``load``, ``limit``: samples."""

    name: str
    kind: str
    state: str
    load: int = 0
    restarts: int = 0
    pid: int | None = None
    version: int | None = None
    limit: int | None = None
    last_progress_s: float | None = None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One look at a run; the fields are explained in ``v1/control.proto``."""

    run: str
    phase: Phase
    reason: str = ""
    stage: str = ""
    step: int = 0
    stage_step: int = 0
    stage_steps: int = 0
    version: int = 0
    checkpoint: str = ""
    uptime_s: float = 0.0
    quiet_s: float = 0.0
    slots: Slots | None = None
    ages: Ages | None = None
    ledger: LedgerCounts | None = None
    members: list[MemberStatus] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)
    curriculum: dict[str, float] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)


class InvalidRequestError(ValueError):
    """Something was asked for that no run could do; the message says what is possible."""


class NotNowError(RuntimeError):
    """Something was asked for that this run cannot do at this moment; the message says why."""


class Controllable(Protocol):
    """A run as the service sees it. Called in the run's own event loop.

    The coroutines return when the thing is done; a caller that goes away cancels its wait only. All may raise NotNowError.
    """

    def status(self) -> RunStatus: ...

    def healthy(self) -> bool:
        """Whether it makes progress, or is about to stand still on request: what probes are told."""

    async def pause(self) -> int:
        """Returns the step at which the run stands still."""

    def resume(self) -> bool:
        """Returns whether it was paused, or about to be."""

    async def checkpoint(self) -> str:
        """Returns the folder of a checkpoint that was begun after the call."""

    async def drain(self, evicted: bool) -> str:
        """Returns the folder of the run's last checkpoint. ``evicted``: nobody wished the run to end, it is to be started again."""

    def set_curriculum_floor(self, task: str, floor: float) -> dict[str, float]:
        """Returns the tasks' shares of the prompts. Raises InvalidRequestError."""

    def scale(self, kind: str, count: int) -> None:
        """Begins the change. Raises InvalidRequestError."""
