"""The one place where a run's numbers are recorded: first ``metrics.jsonl``, then copies for the sinks.

A stage hands records, samples and distributions to the :class:`Tracker` and goes on at once: every sink is behind a thread and a
bounded queue (:mod:`chemr.tracking.mirror`).
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from actors import clock
from chemr.code_version import code_version
from chemr.data.task_data import TaskData
from chemr.tracking.alerts import RunWatch
from chemr.tracking.config import ArtifactMode, TrackingConfig, WandbMode
from chemr.tracking.data_description import describe
from chemr.tracking.metrics_log import MetricsLog, as_values, read_metrics
from chemr.tracking.mirror import Mirror
from chemr.tracking.prometheus_sink import PrometheusSink
from chemr.tracking.sink import Folder, Record, Sink
from chemr.tracking.tensorboard_sink import TensorboardSink
from chemr.tracking.trackio_sink import TrackioSink
from chemr.tracking.wandb_sink import WandbSink

log = logging.getLogger(__name__)
WANDB_DATA_DIR = "WANDB_DATA_DIR"  # where wandb keeps the files of tables and artifacts until they are sent
Row = TypeVar("Row")


class Tracker:
    """Records of one run. Only the driver has one; actors hand their numbers to it.

    Whatever a sink does, training goes on (:mod:`chemr.tracking.mirror`).
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrackingConfig,
        resolved_config: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
        note: Callable[[str], None] = log.warning,
    ) -> None:
        """
        Args:
            run_dir: the run's directory; ``metrics.jsonl``, ``wandb/`` and ``tensorboard/`` are written there.
            config: where records go.
            resolved_config: the run's whole configuration, shown by the sinks.
            state: what :meth:`state` returned in the process that is being continued; None or empty for a new run.
            note: tells a person of alerts.
        """
        state = state or {}
        self._config = config
        self._selection: Mapping[str, Any] = resolved_config.get("data", {})
        self._note = note
        self._log = MetricsLog(run_dir / "metrics.jsonl")
        before = max(float(state.get("elapsed_s", 0.0)), self._read_back())
        self._started = clock.monotonic() - before
        self._samples = int(state.get("samples", 0))  # told so far
        self._wandb_id: str | None = state.get("wandb_run_id")
        self._data_dir_set = False
        self._mirrors: list[Mirror] = []
        self._dropped: dict[str, int] = {}  # as last recorded
        self._start_mirrors(run_dir, resolved_config)
        self._interrupted = False
        self._prometheus: PrometheusSink | None = None
        if config.prometheus_port is not None:
            self._prometheus = PrometheusSink.start(config.run_name or run_dir.resolve().name, config)

    def _start_mirrors(self, run_dir: Path, resolved_config: Mapping[str, Any]) -> None:
        config = self._config
        if config.wandb is WandbMode.off and not config.tensorboard and not config.trackio:
            return
        shown = {**resolved_config, "code": code_version()}
        starts: dict[str, Callable[[], Sink | None]] = {}
        if config.wandb is not WandbMode.off:
            resumed = self._wandb_id is not None
            self._wandb_id = self._wandb_id or secrets.token_hex(4)
            if WANDB_DATA_DIR not in os.environ:  # or a run directory would not hold all of an offline run
                os.environ[WANDB_DATA_DIR] = str(run_dir.resolve() / "wandb" / "data")
                self._data_dir_set = True
            starts["wandb"] = functools.partial(WandbSink.start, run_dir, config, shown, self._wandb_id, resumed)
        if config.tensorboard:
            starts["tensorboard"] = functools.partial(TensorboardSink.start, run_dir, shown)
        if config.trackio:
            starts["trackio"] = functools.partial(TrackioSink.start, config.run_name or run_dir.resolve().name, config, shown)
        self._mirrors = [Mirror(name, start, config.queue) for name, start in starts.items()]

    def log(self, step: int, metrics: Mapping[str, float | str]) -> None:
        """Record ``metrics`` at an optimiser step (counted over all stages). Text is for labels such as ``stage``.

        What begins to go wrong with this record (``alert/...``) and what sinks have dropped (``tracking/dropped/...``) is added to it.

        Raises:
            ValueError: a metric is neither a number nor text, or is named like a field that every record has.
        """
        if not metrics:
            return
        values = as_values(metrics) | self._drops()
        begun = self._watch.observe(values)
        values |= {alert.metric: 1.0 for alert in begun}
        record = Record(int(step), round(clock.wall(), 3), round(clock.monotonic() - self._started, 3), values)
        self._log.append(*record)
        if self._prometheus is not None:
            self._prometheus.log(record.step, record.wall, values)
        self._send("record", record)
        for alert in begun:
            self._note(f"alert {alert.kind}: {alert.text}")
            self._send("alert", record.step, alert)

    def distributions(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Values of single samples, for histograms in the sinks that have them; an empty one is left out."""
        values = {name: [float(value) for value in numbers] for name, numbers in values.items() if len(numbers)}
        if values:
            self._send("distributions", step, values)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that the trajectory log has just written; some of them, evenly, are shown by the sinks that have tables or text."""
        if not self._mirrors:
            return
        chosen = spread(rows, min(self._config.samples_per_step, self._config.samples_per_run - self._samples))
        if chosen:
            self._samples += len(chosen)
            self._send("samples", step, chosen)

    def data(self, data: TaskData) -> None:
        """The rows that the run reads; they are counted and hashed in the sink's thread."""
        if self._config.artifacts.data:
            for mirror in self._mirrors:
                if mirror.name == "wandb":
                    mirror.send(lambda sink: sink.data(describe(data, self._selection)))

    def folder(self, kind: str, path: Path, step: int, metadata: Mapping[str, Any] | None = None) -> None:
        """A folder that is whole: ``kind`` is "model" or "checkpoint"."""
        mode = self._config.artifacts.model if kind == "model" else self._config.artifacts.checkpoints
        if mode is not ArtifactMode.off:
            self._send("folder", Folder(kind, path, step, metadata or {}))

    def summary(self, content: Mapping[str, Any]) -> None:
        """Show the run's results in the sinks. The numbers of nested mappings are shown under ``outer/inner``."""
        self._send("summary", flatten(content))

    def interrupted(self) -> None:
        """The run stops here to go on in another process: whoever watches it has to see that it does."""
        self._interrupted = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold for a resumed run to go on in the same records. Alerts are found again in ``metrics.jsonl``."""
        return {"wandb_run_id": self._wandb_id, "elapsed_s": clock.monotonic() - self._started, "samples": self._samples}

    def rewind(self, step: int) -> None:
        """After going back to a checkpoint: forget what was recorded of later steps, since they will happen again.

        W&B and trackio cannot forget; they then show both passes over those steps.
        """
        dropped = self._log.rewind(step)
        self._read_back()
        self._send("rewind", step)
        if dropped:
            log.info("%s: %d records after step %d were dropped", self._log.path, dropped, step)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every sink has seen what was logged; whether all did within the time (each may take it)."""
        return all([mirror.flush(timeout_s) for mirror in self._mirrors])

    def finish(self, exit_code: int = 0) -> None:
        """Close the file and the sinks, within a minute for each. May be called twice."""
        self._log.close()
        for mirror in self._mirrors:
            mirror.finish(exit_code)
        self._mirrors = []
        if self._data_dir_set:
            os.environ.pop(WANDB_DATA_DIR, None)
            self._data_dir_set = False
        if self._prometheus is not None:
            self._prometheus.finish(ended=exit_code == 0 and not self._interrupted)
            self._prometheus = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish(exit_code=0 if error is None else 1)

    def _send(self, method: str, *arguments: Any) -> None:
        for mirror in self._mirrors:
            mirror.send(methodcaller(method, *arguments))

    def _read_back(self) -> float:
        """Find in the file which alerts have been told; returns the newest record's ``elapsed_s``, 0 without one."""
        self._watch = RunWatch(self._config.alerts)
        elapsed_s = 0.0
        for record in read_metrics(self._log.path):
            self._watch.observe(record)
            elapsed_s = float(record["elapsed_s"])
        return elapsed_s

    def _drops(self) -> dict[str, float | str]:
        """tracking/dropped/<sink>, in all, where it has changed."""
        now = {mirror.name: mirror.dropped for mirror in self._mirrors}
        new = {f"tracking/dropped/{name}": float(count) for name, count in now.items() if count != self._dropped.get(name, 0)}
        self._dropped = now
        return dict(new)


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` of the rows, evenly over them, in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[index * len(rows) // most] for index in range(max(0, most))]


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, float | str]:
    """Numbers and text of nested mappings by slash-joined names; anything else (lists, None) is left out."""
    flat: dict[str, float | str] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, (bool, int, float, str)):
            flat[f"{prefix}{name}"] = value
    return flat
