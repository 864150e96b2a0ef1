"""One run, one directory: who may write there, and what a second start with the same name means."""

from __future__ import annotations

import fcntl
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from chemr.checkpoints import CheckpointStore
from chemr.finished_run import CONFIG, SUMMARY
from chemr.whole_file import write_whole


class Resume(StrEnum):
    """What to do when the run directory already holds a run."""

    never = "never"  # stop with a message: a name is not reused by accident
    auto = "auto"  # continue from the newest checkpoint, or start when there is none


class RunDirectoryError(RuntimeError):
    """The directory cannot be used for this run; the message says what to do."""


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
            RunDirectoryError: another process is running it, or it holds a run and ``resume`` is ``never``.
        """
        used = (path / "config.yaml").exists()
        if used and resume is Resume.never:
            raise RunDirectoryError(
                f"{path} already holds a run. Continue it with run.resume=auto, or give the new one another name: run.name=..."
            )
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "run.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise RunDirectoryError(f"{path} is in use by process {owner}; wait for it to end, or use another run.name") from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return cls(path, lock, keep_checkpoints)

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
