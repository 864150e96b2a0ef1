"""What sinks are given. A sink copies the record stream elsewhere, in a thread of its own (:mod:`chemr.tracking.mirror`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from chemr.tracking.alerts import Alert


class Record(NamedTuple):
    """One line of ``metrics.jsonl``, with numbers that are not finite as they are."""

    step: int
    wall: float  # Unix seconds
    elapsed_s: float
    metrics: Mapping[str, float | str]


class Folder(NamedTuple):
    """A folder that a run wrote: its exported model or a checkpoint."""

    kind: str  # "model" | "checkpoint"
    path: Path
    step: int
    metadata: Mapping[str, Any]


class Sink(Protocol):
    """Methods may take their time and may raise anything: it is counted and told, and the next call comes. After many :attr:`failures` in
    a row only :meth:`abandon` is called."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised when the outside world fails: a full disk, a server, a process that was killed."""

    def record(self, record: Record) -> None: ...

    def distributions(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Values of single samples, by the name of their histogram."""

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of :class:`chemr.trajectory_log.TrajectoryLog`."""

    def alert(self, step: int, alert: Alert) -> None: ...

    def data(self, description: Mapping[str, Any]) -> None:
        """The rows that the run reads (:func:`chemr.tracking.data_description.describe`)."""

    def folder(self, folder: Folder) -> None: ...

    def rewind(self, step: int) -> None:
        """The run went back to ``step``; later steps will come again."""

    def summary(self, values: Mapping[str, float | str]) -> None: ...

    def finish(self, exit_code: int) -> None: ...

    def abandon(self) -> None:
        """End what belongs to a sink that has failed; raises nothing."""
