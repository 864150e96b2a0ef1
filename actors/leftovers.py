"""What a run that was killed leaves behind, and how the next start removes it.

Every actor of a pool has an environment variable with the pool's random id, which its processes inherit, so they are found by what they
are, never by name, even those that started after the last note was written. Nobody else has it: the driver's own children (W&B's service)
are not the pool's. A process that renames itself may overwrite its environment (vLLM's EngineCore), so descendants count too. Ray's own
processes are known by the log files that they hold open in the pool's private folder.

A note in a run directory is somebody's claim: only folders and processes are touched that are the pool's by what they are themselves.
Linux only (``/proc``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from actors.node_folder import ROOT, remove_node_folder
from actors.private_folder import NAME, SHORT_BASES, abandoned, is_own_folder, pool_of

log = logging.getLogger(__name__)

POOL_ID_VARIABLE = "CHEMR_POOL_ID"
NOTE = "pool.json"
RAY_PROGRAMS = ("raylet", "gcs_server")
RAY_SCRIPTS = ("/ray/_private/", "/ray/autoscaler/", "/ray/dashboard/")


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
        """None without a note, and, after a warning, of a file that is none."""
        path = run_dir / NOTE
        try:
            fields = json.loads(path.read_text())
            note = cls(**{**fields, "directories": tuple(map(str, fields["directories"]))})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is no note of a pool and is left alone (%s); delete it", path, " ".join(str(error).split()))
            return None
        return note

    def driver_alive(self) -> bool:
        return start_ticks(self.driver_pid) == self.driver_started


def start_ticks(pid: int) -> int | None:
    """When a live process started, in clock ticks since the machine did. A time of day would change whenever somebody sets the clock.

    None when there is no such process, and when it is dead and only nobody has waited for it yet (a zombie: in a container without an
    init process, or below a launcher that does something else, it may stay one for ever).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # the name before it may hold anything
    except OSError:
        return None
    # Fields 3 and 22 of proc(5), the first after the name being field 3.
    return None if fields[0] in (b"Z", b"X", b"x") else int(fields[19])


class RunDirectoryBusyError(RuntimeError):
    """Another live driver has its pool in this run directory."""


def processes_of(pool_id: str) -> list[psutil.Process]:
    """Live processes of this user that carry the pool's id in their environment, and all that descend from them; never this one.

    The environment of other users' processes cannot be read, but by root, who is no other user here.
    """
    if not pool_id:
        return []
    wanted = f"{POOL_ID_VARIABLE}={pool_id}".encode()
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(OSError, psutil.Error):  # gone meanwhile, or somebody else's
            if process.uids().effective != os.geteuid():
                continue
            if wanted in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found |= {member.pid: member for member in (process, *process.children(recursive=True))}
    return [process for process in found.values() if _alive(process)]


def agents_of(folder: Path, since: int = 0) -> list[psutil.Process]:
    """This user's processes of Ray that started at ``since`` (clock ticks) or later and that were told of ``folder`` or hold a file of it
    open; whoever reads a log there is none of them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):  # gone meanwhile, or somebody else's
            if process.pid == os.getpid() or process.uids().effective != os.geteuid() or not _is_rays(process):
                continue
            told = any(f"{folder}/" in argument for argument in process.cmdline()[1:])
            descriptors = Path(f"/proc/{process.pid}/fd").iterdir()
            involved = told or any(os.readlink(descriptor).startswith(f"{folder}/") for descriptor in descriptors)
            if involved and (start_ticks(process.pid) or -1) >= since:
                found.append(process)
    return found


def _is_rays(process: psutil.Process) -> bool:
    """Its programs, the scripts of its package, and what renames itself to ``ray::...``."""
    command = process.cmdline()
    if "".join(command[:1]).startswith("ray::") or process.name() in RAY_PROGRAMS:
        return True
    return any(argument.endswith(".py") and any(part in argument for part in RAY_SCRIPTS) for argument in command[1:4])


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


def end_failed_start(folder: Path) -> None:
    """End what a start of Ray in ``folder`` that did not come up has left, and wait for programs that have ended already."""
    end_processes("", patience_s=0.0, known=agents_of(folder))
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # still running, or waited for meanwhile
            if child.status() == psutil.STATUS_ZOMBIE and child.name() in RAY_PROGRAMS:
                child.wait(timeout=0)


def _alive(process: psutil.Process) -> bool:
    """Whether this very process (not another one with its pid) still runs."""
    return process.is_running() and start_ticks(process.pid) is not None


def remove_directories(directories: Iterable[str]) -> None:
    for directory in map(Path, directories):
        if directory.parent == ROOT:
            remove_node_folder(directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def folder_of_pool(directory: str, pool_id: str) -> Path | None:
    """The folder that a note names, if it is one of that pool: this user's, no link, and by its name, and by its lock or its place."""
    folder = Path(directory)
    if NAME.fullmatch(folder.name) is None or os.path.normpath(directory) != directory or not is_own_folder(folder):
        return None
    if folder == ROOT / f"chemr-{pool_id[:8]}" or pool_of(folder) == pool_id:
        return folder
    # Of a version that had no lock: Ray's own folder, where temporary files are.
    temporary = folder.parent in {Path(tempfile.gettempdir()), *map(Path, SHORT_BASES)}
    if temporary and all(entry.name.startswith(("session_", "ray_", "prom_")) for entry in folder.iterdir()):
        return folder
    return None


def sweep(run_dir: Path) -> list[str]:
    """Remove what a dead driver left according to the note in ``run_dir``, and the private folders of all dead drivers of this user;
    returns the processes that had to be killed.

    Raises RunDirectoryBusyError when the note's driver is alive.
    """
    killed = [*_sweep_note(run_dir)]
    for folder, pool_id in abandoned():
        killed += end_processes(pool_id, patience_s=0.0, known=agents_of(folder))
        remove_directories([str(folder)])
    return killed


def _sweep_note(run_dir: Path) -> list[str]:
    note = PoolNote.read(run_dir)
    if note is None:
        return []
    if note.driver_alive():
        raise RunDirectoryBusyError(
            f"{run_dir} is in use by the live driver {note.driver_pid}; wait for it, end it, or give this run another directory"
        )
    folders = []
    for directory in note.directories:
        folder = folder_of_pool(directory, note.pool_id)
        if folder is not None:
            folders.append(folder)
        elif os.path.lexists(directory):
            log.warning("%s names %s, which is no folder of that run's pool: it is left alone", run_dir / NOTE, directory)
    agents = [process for folder in folders for process in agents_of(folder, note.driver_started)]
    killed = end_processes(note.pool_id, patience_s=0.0, known=agents)
    remove_directories(map(str, folders))
    (run_dir / NOTE).unlink(missing_ok=True)
    return killed
