"""``notes.jsonl``: what a run told a person, kept with the time at which it did: restarts, lost actors, alerts, refusals.

Steps that a restart undoes are forgotten in ``metrics.jsonl``; what happened is not, so notes are never taken back. A note has ``time``
(Unix seconds), ``kind`` (``note``; ``warning`` for what the driver's own log warned of; ``error`` for what ended the run) and ``text``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chemr.whole_file import drop_torn_line

NOTES = "notes.jsonl"
NOTE, WARNING, ERROR = "note", "warning", "error"
MAX_CHARS = 2000  # of a note; an actor's last words may be a traceback
_LOGGERS = ("actors", "chemr", "learner", "rewards")


class RunNotes:
    """The append-only file of one run. A file that cannot be written (a full disk) costs notes, never the run."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, text: str, kind: str = NOTE) -> None:
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, "text": text[:MAX_CHARS]}, ensure_ascii=False)
        with suppress(OSError, ValueError):  # a full disk; a file that is closed while a thread still warns
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class _Warnings(logging.Handler):
    """The driver's warnings as notes."""

    def __init__(self, notes: RunNotes) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.write(record.getMessage(), WARNING)


@contextmanager
def run_notes(directory: Path) -> Iterator[RunNotes]:
    """The notes of the run in ``directory``; while they are open, what the project's loggers warn of in this process is noted, too."""
    notes = RunNotes(directory / NOTES)
    handler = _Warnings(notes)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield notes
    except Exception as error:
        notes.write(f"the run ended: {type(error).__name__}: {error}", ERROR)
        raise
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        notes.close()


def read_notes(directory: Path) -> list[dict[str, Any]]:
    """The notes of a run, oldest first; none where there is no file. Lines that are not notes (a torn last one) are left out."""
    path = directory / NOTES
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            note = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(note, dict) and is_note(note):
            found.append(note)
    return found


def is_note(record: dict[str, Any]) -> bool:
    return isinstance(record.get("time"), int | float) and isinstance(record.get("text"), str)
