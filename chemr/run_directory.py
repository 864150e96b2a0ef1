"""One run, one directory: who may write there, and what a second start with the same name means."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from actors.clock import monotonic
from chemr.checkpoints import CheckpointStore
from chemr.finished_run import CONFIG, SUMMARY
from chemr.whole_file import write_whole

LOCK = "run.lock"  # holds "PID HOST" of the process that has it, or had it last


class Resume(StrEnum):
    """What to do when the run directory already holds a run."""

    never = "never"  # stop with a message: a name is not reused by accident
    auto = "auto"  # continue from the newest checkpoint, or start when there is none


class RunDirectoryError(RuntimeError):
    """The directory cannot be used for this run; the message says what to do."""


class RunDirectoryInUse(RunDirectoryError):
    """Another process holds the run; it may be about to end."""


def name_taken(path: Path, resume: Resume) -> str | None:
    """What to do when the directory holds a run that is not to be continued; None when it may be used."""
    if resume is Resume.never and (path / "config.yaml").exists():
        return f"{path} already holds a run. Continue it with run.resume=auto, or give the new one another name: run.name=..."
    return None


class RunDirectory:
    """``runs/<name>`` with its files. Holding the object holds the run's lock; the kernel frees it when the process dies."""

    def __init__(self, path: Path, lock: IO[str], keep_checkpoints: int) -> None:
        self.path = path
        self._lock = lock
        self.checkpoints = CheckpointStore(path / "checkpoints", keep_checkpoints)
        for name in ("trajectories", "logs"):
            (path / name).mkdir(exist_ok=True)

    @classmethod
    def open(cls, path: Path, resume: Resume, keep_checkpoints: int) -> RunDirectory:
        """Create or reopen a run's directory.

        Raises:
            RunDirectoryInUse: another process is running it.
            RunDirectoryError: it holds a run and ``resume`` is ``never``, or the storage does not allow it.
        """
        taken = name_taken(path, resume)
        if taken is not None:
            raise RunDirectoryError(taken)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be made or written ({error.strerror}); choose another run.root") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise RunDirectoryInUse(f"{path} is in use by {owner(path)}; wait for it to end, or use another run.name") from None
        except OSError as error:
            lock.close()
            raise RunDirectoryError(
                f"{path / LOCK} cannot be locked ({error.strerror}), and without a lock two drivers could write into one run; use storage "
                "with file locks (NFS: version 4, or a lock daemon)"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()} {socket.gethostname()}")
        lock.flush()
        return cls(path, lock, keep_checkpoints)

    @classmethod
    async def wait_for(cls, path: Path, resume: Resume, keep_checkpoints: int, wait_s: float, say: Callable[[str], None]) -> RunDirectory:
        """:meth:`open`, but one that is in use is waited for: a file server frees the lock of a lost node only after a while (NFS 4: its
        lease, 90 s), and a pod that is being ended still holds its own. Raises as :meth:`open`."""
        deadline = monotonic() + wait_s
        told = False
        while True:
            try:
                return cls.open(path, resume, keep_checkpoints)
            except RunDirectoryInUse as error:
                if monotonic() >= deadline:
                    raise RunDirectoryInUse(f"{error} (run.lock_wait_s={wait_s:g} s are over)") from None
                if not told:
                    say(f"{path} is in use by {owner(path)}; waiting up to {wait_s:g} s for it to end or to be given up (run.lock_wait_s)")
                    told = True
            await asyncio.sleep(min(1.0, wait_s))

    @property
    def initial_model(self) -> Path:
        """The model the first stage starts from, when it is made from scratch."""
        return self.path / "initial-model"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def write_json(self, name: str, content: Any) -> Path:
        """Write a small JSON file so that a reader sees the old content or the new, never half."""
        target = self.path / name
        aside = target.with_suffix(target.suffix + ".partial")
        aside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        aside.replace(target)
        return target

    def read_json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def retire_summary(self, name: str) -> str:
        """A finished run goes on: it has no results until it is finished again. Returns the file that keeps the old ones."""
        kept = self.path / f"summary-{name}.json"
        (self.path / SUMMARY).replace(kept)
        return kept.name

    def write_config(self, resolved: str) -> None:
        """What holds from now on. A reader, and a run that goes on, find the old content or the new."""
        write_whole(self.path / CONFIG, resolved)

    def close(self) -> None:
        self._lock.close()


def owner(path: Path) -> str:
    """Whom the lock names; version 0.1 wrote the pid alone."""
    pid, _, host = (path / LOCK).read_text(encoding="utf-8", errors="replace").strip().partition(" ")
    return f"process {pid or '(unknown)'}" + (f" on {host}" if host else "")
