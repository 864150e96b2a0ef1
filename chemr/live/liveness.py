"""Whether a run goes on, as far as its folder and the processes of this machine tell."""

from __future__ import annotations

import socket
import time
from enum import StrEnum
from pathlib import Path

from actors.control.address import ControlNote
from actors.leftovers import start_ticks
from chemr.finished_run import CONFIG, has_finished

QUIET_S = 120.0  # a run of another machine without a control service is taken for ended after so long without a record


class Life(StrEnum):
    not_begun = "not begun"
    running = "running"
    finished = "finished"
    stopped = "stopped"  # drained, interrupted or killed: run.resume=auto goes on


class Watcher:
    """Looks at one run's folder again and again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen = False  # its driver, or the note of its control service: then both gone is the end

    def look(self, last_record: float) -> Life:
        """``last_record``: Unix seconds of the newest record; 0 when there is none."""
        if not (self._directory / CONFIG).is_file():
            return Life.not_begun
        alive = self._driver_alive()
        if alive is None:
            alive = _owner_alive(self._directory / "run.lock")
            self._seen = self._seen or alive
            alive = alive or (not self._seen and time.time() - last_record < QUIET_S)
        if alive:
            return Life.running
        try:
            return Life.finished if has_finished(self._directory) else Life.stopped
        except (OSError, ValueError, KeyError):  # a summary or a configuration that is no use
            return Life.stopped

    def _driver_alive(self) -> bool | None:
        """What the control note says; None when there is none, or its driver is on another machine."""
        try:
            note = ControlNote.read(self._directory)
        except (OSError, ValueError):
            return None
        if note is None:
            return None
        self._seen = True
        alive = note.driver_alive()
        return True if alive is None else alive  # on another machine: while there is a note, the run has not ended in order


def _owner_alive(lock: Path) -> bool:
    """Whether the process that wrote its number and host into the run's lock is there, on this machine."""
    try:
        pid, _, host = lock.read_text(encoding="utf-8").strip().partition(" ")
    except (OSError, ValueError):
        return False
    here = host in ("", socket.gethostname())  # version 0.1 wrote no host
    return here and pid.isascii() and pid.isdigit() and start_ticks(int(pid)) is not None
