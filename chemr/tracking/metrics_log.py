"""``metrics.jsonl``: one JSON object a line, appended as things happen; what every report is made from.

A record has ``step`` (optimiser steps over all stages), ``time`` (Unix seconds), ``elapsed_s`` (seconds the run has been running, pauses
between a kill and a resume left out), ``stage`` where one is in progress, and metrics. Several records may share a step. A number that
is not finite is written as ``null`` and named in ``nonfinite``, because JSON has no NaN.

Storage that fails (a full disk, EIO, a stale handle) does not stop a run: records wait in memory, and follow in their order when it works
again.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chemr.whole_file import DISK_FULL, drop_torn_line

log = logging.getLogger(__name__)
RESERVED = frozenset({"step", "time", "elapsed_s", "nonfinite"})
WAITING_BYTES = 64 << 20  # of records that storage does not take; more are dropped, the newest first


class MetricsLogError(RuntimeError):
    """The file holds something that this class did not write."""


class MetricsLog:
    """The append-only file of one run. One writer at a time: the run directory's lock sees to it."""

    def __init__(self, path: Path) -> None:
        """Open for appending. A last line that a kill cut in the middle is removed."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        drop_torn_line(path)
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()  # begins with the rest of a line that was written in part
        self._failure = ""  # of the last try to write

    def append(self, step: int, time: float, elapsed_s: float, metrics: Mapping[str, float | str]) -> None:
        """Write one record in one piece.

        Raises:
            ValueError: as :func:`as_values` does.
        """
        values = as_values(metrics)
        nonfinite = sorted(name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value))
        record: dict[str, Any] = {"step": int(step), "time": round(time, 3), "elapsed_s": round(elapsed_s, 3), **values}
        for name in nonfinite:
            record[name] = None
        if nonfinite:
            record["nonfinite"] = nonfinite
        line = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()
        if len(self._waiting) + len(line) <= WAITING_BYTES:
            self._waiting += line
        self._write_waiting()

    def rewind(self, step: int) -> int:
        """Forget the records of later steps than ``step``; returns how many there were. The old file stays until the new one is whole."""
        return self._rewrite(lambda record: bool(record["step"] <= step))

    def close(self) -> None:
        if self._file.closed:
            return
        if self._waiting:
            self._write_waiting()
        if self._waiting:
            log.warning("%s lacks its last records: %s", self.path, self._failure)
        self._file.close()

    def _write_waiting(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            full = error.errno in DISK_FULL
            failure = "its disk is full; make room" if full else f"{error.strerror}; see to its storage"
            if not self._failure:
                log.warning("%s cannot be written: %s. Training goes on and records wait in memory", self.path, failure)
            self._failure = failure
            if error.errno == errno.ESTALE:  # a file server came back with another handle for the same file
                with suppress(OSError):
                    self._file, stale = self.path.open("ab", buffering=0), self._file
                    stale.close()
        else:
            self._failure = ""

    def _rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
        self._write_waiting()
        if self._waiting:
            raise OSError(errno.EIO, f"{self.path} cannot be written, so the run cannot go back to a checkpoint: {self._failure}")
        self._file.close()
        aside = self.path.with_suffix(".jsonl.partial")
        dropped = 0
        with aside.open("w", encoding="utf-8") as file:
            for record in read_metrics(self.path):
                if keep(record):
                    file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
                else:
                    dropped += 1
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)
        self._file = self.path.open("ab", buffering=0)
        return dropped


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a ``metrics.jsonl``, oldest first. A torn last line (a run being killed, or being written) is left out.

    Raises:
        MetricsLogError: a line inside the file is not a record.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise MetricsLogError(
                    f"{path}:{number} is not JSON ({error}); delete that line, or the file if it is not chemr's"
                ) from None
            if not isinstance(record, dict) or not isinstance(record.get("step"), int):
                raise MetricsLogError(f"{path}:{number} is not a metrics record: an object with an integer 'step' was expected")
            yield record


def as_values(metrics: Mapping[str, Any]) -> dict[str, float | str]:
    """Metrics as Python's own numbers and text.

    Raises:
        ValueError: a metric has a name that the record itself uses, or a value that is neither a number nor text.
    """
    taken = RESERVED & metrics.keys()
    if taken:
        raise ValueError(f"a metric cannot be named {', '.join(sorted(taken))}: every record has its own field of that name")
    return {name: value if isinstance(value, str) else _number(name, value) for name, value in metrics.items()}


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name} = {value!r} is neither a number nor text") from None
