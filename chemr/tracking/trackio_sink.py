"""trackio: records and histograms in its local database (``$TRACKIO_DIR``), or wherever its own environment variables send them.

trackio catches its failures itself and goes on; ``trackio show`` is its dashboard.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from chemr.tracking.alerts import Alert
from chemr.tracking.config import TrackingConfig
from chemr.tracking.sink import Folder, Record

log = logging.getLogger(__name__)


class TrackioSink:
    """One trackio run; a run of the same name in the same project is continued."""

    failures: tuple[type[Exception], ...] = (OSError, sqlite3.Error, RuntimeError)

    def __init__(self, run: Any) -> None:
        self._run = run

    @classmethod
    def start(cls, name: str, config: TrackingConfig, shown_config: Mapping[str, Any]) -> TrackioSink | None:
        """None, after a warning that says why, when trackio cannot be used here."""
        try:
            import trackio

            run = trackio.init(
                project=config.project,
                name=name,
                group=config.group,
                config=dict(shown_config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        except (ImportError, ValueError, OSError, RuntimeError, sqlite3.Error) as error:
            log.warning("trackio is not used: %s", error)
            return None
        return cls(run)

    def record(self, record: Record) -> None:
        self._run.log({**record.metrics, "elapsed_s": record.elapsed_s}, step=record.step)

    def distributions(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        import trackio

        self._run.log({name: trackio.Histogram(list(numbers)) for name, numbers in values.items()}, step=step)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Left out: trackio's tables need pandas. ``trajectories/`` has them all."""

    def rewind(self, step: int) -> None:
        """trackio cannot forget: both passes over the steps are shown."""

    def summary(self, values: Mapping[str, float | str]) -> None:
        """trackio has no summary; ``summary.json`` is the run's."""

    def alert(self, step: int, alert: Alert) -> None:
        """The record says it (``alert/<kind>``); trackio's own would print it a second time."""

    def data(self, description: Mapping[str, Any]) -> None:
        """Artifacts are W&B's."""

    def folder(self, folder: Folder) -> None:
        """Artifacts are W&B's."""

    def finish(self, exit_code: int) -> None:
        self._run.finish()

    def abandon(self) -> None:
        """Its database stays as it is."""
