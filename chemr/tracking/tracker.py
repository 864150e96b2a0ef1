"""The one place where a run's numbers are recorded: first ``metrics.jsonl``, then the sinks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from actors import clock
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.metrics_log import MetricsLog
from chemr.tracking.prometheus_sink import PrometheusSink
from chemr.tracking.wandb_sink import WandbSink

log = logging.getLogger(__name__)


class Tracker:
    """Records of one run. Only the driver has one; actors hand their numbers to it.

    Whatever a sink does, training goes on: the first failure is one warning, after which the sink is left alone.
    """

    def __init__(
        self, run_dir: Path, config: TrackingConfig, resolved_config: Mapping[str, Any], state: Mapping[str, Any] | None = None
    ) -> None:
        """
        Args:
            run_dir: the run's directory; ``metrics.jsonl`` and ``wandb/`` are written there.
            config: where records go.
            resolved_config: the run's whole configuration, shown by the sinks.
            state: what :meth:`state` returned in the process that is being continued; None or empty for a new run.
        """
        state = state or {}
        self._log = MetricsLog(run_dir / "metrics.jsonl")
        last = self._log.last()
        before = max(float(state.get("elapsed_s", 0.0)), float(last["elapsed_s"]) if last else 0.0)
        self._started = clock.monotonic() - before
        self._wandb: WandbSink | None = None
        self._wandb_id: str | None = state.get("wandb_run_id")
        if config.wandb != WandbMode.off:
            self._wandb = WandbSink.start(run_dir, config, resolved_config, self._wandb_id)
            self._wandb_id = self._wandb.run_id if self._wandb is not None else self._wandb_id
        self._prometheus: PrometheusSink | None = None
        if config.prometheus_port is not None:
            self._prometheus = PrometheusSink.start(config.run_name or run_dir.resolve().name, config)

    def log(self, step: int, metrics: Mapping[str, float | str]) -> None:
        """Record ``metrics`` at an optimiser step (counted over all stages). Text is for labels such as ``stage``.

        Raises:
            ValueError: a metric is neither a number nor text, or is named like a field that every record has.
        """
        if not metrics:
            return
        elapsed_s, wall = clock.monotonic() - self._started, clock.wall()
        self._log.append(step, wall, elapsed_s, metrics)
        if self._prometheus is not None:
            self._prometheus.log(step, wall, metrics)
        if self._wandb is not None:
            self._wandb.log(step, elapsed_s, metrics)

    def summary(self, content: Mapping[str, Any]) -> None:
        """Show the run's results in the sinks. The numbers of nested mappings are shown under ``outer/inner``."""
        if self._wandb is not None:
            self._wandb.summary(flatten(content))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold for a resumed run to go on in the same records."""
        return {"wandb_run_id": self._wandb_id, "elapsed_s": clock.monotonic() - self._started}

    def rewind(self, step: int) -> None:
        """After going back to a checkpoint: forget what was recorded of later steps, since they will happen again.

        W&B cannot forget; it then shows both passes over those steps.
        """
        dropped = self._log.rewind(step)
        if dropped:
            log.info("%s: %d records after step %d were dropped", self._log.path, dropped, step)

    def finish(self, exit_code: int = 0) -> None:
        """Close the file and the sinks. May be called twice."""
        self._log.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code)
            self._wandb = None
        if self._prometheus is not None:
            self._prometheus.finish()
            self._prometheus = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish(exit_code=0 if error is None else 1)


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, float | str]:
    """Numbers and text of nested mappings by slash-joined names; anything else (lists, None) is left out."""
    flat: dict[str, float | str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, (bool, int, float, str)):
            flat[f"{prefix}{name}"] = value
    return flat
