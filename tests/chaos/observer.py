"""A run seen from outside: what it recorded, which processes it has, what it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from actors.leftovers import PoolNote

PIDS = "pids.json"  # what the driver writes into the chaos folder
UPTO = "upto"  # what the harness writes there: the last step that may be trained before the next fault


@dataclass
class Observer:
    """Poll it a few times a second.

    Attributes:
        records: every record that ``metrics.jsonl`` ever held, also of steps that were taken back by a restore.
        step: the furthest GRPO step seen; step_times: time.monotonic() at which each record of a step was seen.
        pools: notes of all pools the run has had.
        seen: every process that ``pids.json`` ever named, by pid and start time.
    """

    run_dir: Path
    chaos_dir: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    step_times: list[float] = field(default_factory=list)
    pools: dict[str, PoolNote] = field(default_factory=dict)
    seen: set[psutil.Process] = field(default_factory=set)
    _lines: set[str] = field(default_factory=set)
    _stamp: tuple[int, int] = (0, 0)
    _steps_before: int | None = None

    def poll(self) -> None:
        """Take notice of what happened since the last call."""
        note = PoolNote.read(self.run_dir)
        if note is not None:
            self.pools[note.pool_id] = note
        self._remember_processes()
        for record in self._new_records():
            if record.get("stage") == "grpo" and "train/loss" in record:
                if self._steps_before is None:  # of the stages before GRPO
                    self._steps_before = int(record["step"]) - 1
                self.step = max(self.step, int(record["step"]) - self._steps_before)
                self.step_times.append(time.monotonic())

    def pids(self) -> dict[str, int]:
        """Processes by role, as the driver last wrote them."""
        path = self.chaos_dir / PIDS
        return json.loads(path.read_text()) if path.is_file() else {}

    def process(self, pid: int) -> psutil.Process | None:
        """The run's process with this pid, if it still lives: never a stranger that was given the pid since."""
        return next((process for process in self.seen if process.pid == pid and _lives(process)), None)

    def _remember_processes(self) -> None:
        for pid in self.pids().values():
            if self.process(pid) is None and psutil.pid_exists(pid):
                self.seen.add(psutil.Process(pid))

    def _new_records(self) -> list[dict[str, Any]]:
        path = self.run_dir / "metrics.jsonl"
        if not path.is_file():
            return []
        status = path.stat()
        if (status.st_ino, status.st_size) == self._stamp:
            return []
        self._stamp = (status.st_ino, status.st_size)
        # Going back to a checkpoint rewrites the file: the lines that stay are known by their text.
        fresh = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n") and line not in self._lines]
        self._lines |= set(fresh)
        records = [json.loads(line) for line in fresh]
        self.records += records
        return records

    def leftovers(self, not_the_runs: Callable[[psutil.Process], bool] = lambda process: False) -> list[str]:
        """Processes, folders and shared memory of this run that are still there; ``not_the_runs`` knows processes that carry its marker
        and are somebody else's to end."""
        left = [f"process {process.pid} ({_title(process)})" for process in self.seen if _lives(process)]
        marker = f"={self.chaos_dir}".encode()
        for process in psutil.process_iter():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                continue  # gone meanwhile
            if marker in environment and process not in self.seen and _lives(process) and not not_the_runs(process):
                left.append(f"process {process.pid} ({_title(process)})")
        folders = {folder for note in self.pools.values() for folder in note.directories}
        left += [f"folder {folder}" for folder in sorted(folders) if Path(folder).exists()]
        left += [f"shared memory {entry}" for pool in self.pools for entry in Path("/dev/shm").glob(f"*{pool[:8]}*")]
        left += [f"note {self.run_dir / 'pool.json'}"] if (self.run_dir / "pool.json").exists() else []
        return left


def write_whole(path: Path, text: str) -> None:
    aside = path.with_suffix(".partial")
    aside.write_text(text)
    aside.replace(path)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:80] or process.name()
    except psutil.NoSuchProcess:
        return "gone"
