"""What a run that was killed leaves behind, and how the next start removes it.

Every process of a private cluster inherits an environment variable with the pool's random id, so its processes are found by what they
are, never by name, even those that started after the last note was written. A process that renames itself may overwrite its environment
(vLLM's EngineCore, Ray's agents), so descendants count too. Ray's agents outlive their parent for some seconds: they are known by the log
files they hold open. Linux only (``/proc``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from actors.node_folder import ROOT, remove_node_folder

POOL_ID_VARIABLE = "CHEMR_POOL_ID"
NOTE = "pool.json"


@dataclass(frozen=True, slots=True)
class PoolNote:
    """Kept in the run directory while a pool is up: whose it is, and what to remove when its driver is gone."""

    pool_id: str
    driver_pid: int
    driver_started: int  # clock_ticks: a pid alone may have been given to somebody else
    directories: tuple[str, ...]

    def write(self, run_dir: Path) -> None:
        """Atomically, so that a crash leaves a whole note or none."""
        run_dir.mkdir(parents=True, exist_ok=True)
        aside = run_dir / f"{NOTE}.tmp"
        aside.write_text(json.dumps(asdict(self)))
        os.replace(aside, run_dir / NOTE)

    @classmethod
    def read(cls, run_dir: Path) -> PoolNote | None:
        path = run_dir / NOTE
        if not path.is_file():
            return None
        fields = json.loads(path.read_text())
        return cls(**{**fields, "directories": tuple(fields["directories"])})

    def driver_alive(self) -> bool:
        return start_ticks(self.driver_pid) == self.driver_started


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None when there is no such process. A time of day would change
    whenever somebody sets the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # the name before it may hold anything
    except OSError:
        return None
    return int(fields[19])  # field 22 of proc(5), the first after the name being field 3


class RunDirectoryBusyError(RuntimeError):
    """Another live driver has its pool in this run directory."""


def processes_of(pool_id: str) -> list[psutil.Process]:
    """Live processes of this user that carry the pool's id in their environment, and all that descend from them; never this one."""
    wanted = f"{POOL_ID_VARIABLE}={pool_id}".encode()
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(OSError, psutil.Error):  # gone meanwhile, or somebody else's
            if wanted in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found |= {member.pid: member for member in (process, *process.children(recursive=True))}
    return [process for process in found.values() if _alive(process)]


def agents_of(directories: Iterable[str]) -> list[psutil.Process]:
    """Ray's own helper processes that hold a file of one of these folders open (a person who reads a log there is none of them)."""
    inside = tuple(f"{directory.rstrip('/')}/" for directory in directories)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):  # gone meanwhile, or somebody else's
            if "".join(process.cmdline()[:1]).startswith("ray::"):
                descriptors = Path(f"/proc/{process.pid}/fd").iterdir()
                if any(os.readlink(descriptor).startswith(inside) for descriptor in descriptors):
                    found.append(process)
    return found


def end_processes(pool_id: str, patience_s: float, known: Sequence[psutil.Process] = ()) -> list[str]:
    """Wait up to ``patience_s`` for the pool's processes to end by themselves, then kill what is left. Returns what was killed.

    ``known`` are processes that were seen earlier and could have become orphans since.
    """
    deadline = time.monotonic() + patience_s
    while (left := [*{*processes_of(pool_id), *filter(_alive, known)}]) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            killed.append(f"{process.pid} {process.name()}")
            process.kill()  # psutil checks pid and start time, so nobody else can be hit
    psutil.wait_procs(left, timeout=5.0)
    return killed


def _alive(process: psutil.Process) -> bool:
    """Whether this very process (not another one with its pid) still runs."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def remove_directories(directories: Iterable[str]) -> None:
    for directory in map(Path, directories):
        if directory.parent == ROOT:
            remove_node_folder(directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def sweep(run_dir: Path) -> list[str]:
    """Remove what a dead driver left according to the note in ``run_dir``; returns the processes that had to be killed.

    Raises RunDirectoryBusyError when the note's driver is alive.
    """
    note = PoolNote.read(run_dir)
    if note is None:
        return []
    if note.driver_alive():
        raise RunDirectoryBusyError(
            f"{run_dir} is in use by the live driver {note.driver_pid}; wait for it, end it, or give this run another directory"
        )
    killed = end_processes(note.pool_id, patience_s=0.0, known=agents_of(note.directories))
    remove_directories(note.directories)
    (run_dir / NOTE).unlink(missing_ok=True)
    return killed
