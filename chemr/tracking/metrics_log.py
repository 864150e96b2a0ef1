"""``metrics.jsonl``: one JSON object a line, appended as things happen; what every report is made from.

A record has ``step`` (optimiser steps over all stages), ``time`` (Unix seconds), ``elapsed_s`` (seconds the run has been running, pauses
between a kill and a resume left out), ``stage`` where one is in progress, and metrics. Several records may share a step. A number that
is not finite is written as ``null`` and named in ``nonfinite``, because JSON has no NaN.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chemr.whole_file import drop_torn_line

RESERVED = frozenset({"step", "time", "elapsed_s", "nonfinite"})


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
        self._file = path.open("a", encoding="utf-8")

    def append(self, step: int, time: float, elapsed_s: float, metrics: Mapping[str, float | str]) -> None:
        """Write one record in one piece.

        Raises:
            ValueError: a metric has a name that the record itself uses, or a value that is neither a number nor text.
        """
        taken = RESERVED & metrics.keys()
        if taken:
            raise ValueError(f"a metric cannot be named {', '.join(sorted(taken))}: every record has its own field of that name")
        values = {name: value if isinstance(value, str) else _number(name, value) for name, value in metrics.items()}
        nonfinite = sorted(name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value))
        record: dict[str, Any] = {"step": int(step), "time": round(time, 3), "elapsed_s": round(elapsed_s, 3), **values}
        for name in nonfinite:
            record[name] = None
        if nonfinite:
            record["nonfinite"] = nonfinite
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> int:
        """Forget the records of later steps than ``step``; returns how many there were. The old file stays until the new one is whole."""
        return self._rewrite(lambda record: bool(record["step"] <= step))

    def last(self) -> dict[str, Any] | None:
        """The newest record, or None in an empty log."""
        record = None
        for record in read_metrics(self.path):  # noqa: B007
            pass
        return record

    def close(self) -> None:
        self._file.close()

    def _rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
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
        self._file = self.path.open("a", encoding="utf-8")
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


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name} = {value!r} is neither a number nor text") from None
