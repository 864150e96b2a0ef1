"""TensorBoard event files in ``tensorboard/`` of the run directory: scalars, histograms, completions as text.

tensorboardX's own ``SummaryWriter`` has a queue and a thread whose failure would be a silence; its file writer is used alone. TensorBoard
holds scalars as 32-bit floats: ``metrics.jsonl`` has the numbers.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chemr.tracking.alerts import Alert
from chemr.tracking.sink import Folder, Record

log = logging.getLogger(__name__)
FOLDER = "tensorboard"


class TensorboardSink:
    """An event file for each process of the run, and another after each record that could not be written."""

    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files = 0
        self._writer: Any = self._begin_file()

    def _begin_file(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter

        self._files += 1
        return EventsWriter(str(self._folder / "events"), f".{os.getpid()}.{self._files}")

    @classmethod
    def start(cls, run_dir: Path, shown_config: Mapping[str, Any]) -> TensorboardSink | None:
        """Begin an event file; None, after a warning that says why, when there can be none."""
        try:
            sink = cls(run_dir / FOLDER)
            sink._text("config", "    " + json.dumps(shown_config, indent=2, default=str).replace("\n", "\n    "), 0)
        except (ImportError, OSError) as error:
            log.warning("TensorBoard is not used: %s", error)
            return None
        return sink

    def record(self, record: Record) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = {name: value for name, value in record.metrics.items() if isinstance(value, float)}
        numbers["elapsed_s"] = record.elapsed_s
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(Summary(value=values), record.step, record.wall)

    def distributions(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        from tensorboardX.summary import histogram

        for name, numbers in values.items():
            self._write(histogram(name, list(numbers), "auto"), step)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        from chemr.tracking.completions import as_markdown, cells

        self._text("completions", as_markdown([cells(step, row) for row in rows]), step)

    def rewind(self, step: int) -> None:
        """TensorBoard leaves out what the files before say of later steps."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._put(Event(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def summary(self, values: Mapping[str, float | str]) -> None:
        self._text("summary", "\n".join(f"    {name}: {value}" for name, value in values.items()), 0)

    def alert(self, step: int, alert: Alert) -> None:
        self._text("alerts", f"**{alert.kind}**: {alert.text}", step)

    def data(self, description: Mapping[str, Any]) -> None:
        """Artifacts are W&B's."""

    def folder(self, folder: Folder) -> None:
        """Artifacts are W&B's."""

    def finish(self, exit_code: int) -> None:
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        """The file stays as it is."""

    def _text(self, tag: str, text: str, step: int) -> None:
        from tensorboardX.summary import text as text_summary

        self._write(text_summary(tag, text), step)

    def _write(self, summary: Any, step: int, wall: float | None = None) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._put(Event(wall_time=wall or time.time(), step=step, summary=summary))

    def _put(self, event: Any) -> None:
        """A record that is written in part makes the rest of its file unreadable, so the next one begins another file."""
        if self._writer is None:
            self._writer = self._begin_file()
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError:
            self._writer = None
            raise
