"""A run's own folder: whether its name is free, nobody else is in it, and there is room for what the run writes."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from chemr.doctor.finding import Check
from chemr.doctor.storage import ELSEWHERE, check_semantics, nearest
from chemr.run_directory import LOCK, name_taken, owner

if TYPE_CHECKING:
    from chemr.config import RunConfig

LEAST_ROOM_BYTES = 64 << 20  # logs, metrics and a card, whatever the model


def check_run_folder(run: RunConfig, *, may_be_busy: bool = False) -> list[Check]:
    """Changes nothing that lasts. ``may_be_busy``: do not ask whether another process holds the folder."""
    name = "run folder"
    path = run.path
    try:
        existing = nearest(path)
        if not existing.is_dir():
            return [Check(name, False, f"run.root={run.root}: {existing} is a file, and a folder was expected", ELSEWHERE)]
        for folder in (path, *path.parents):
            if folder.is_symlink() and not folder.exists():
                return [Check(name, False, f"run.root={run.root}: {folder} is a link to nothing ({os.readlink(folder)})", ELSEWHERE)]
        taken = name_taken(path, run.resume)
        if taken is not None:
            return [Check(name, False, taken)]
        if not may_be_busy and _held(path / LOCK):
            return [Check(name, False, f"{path} is in use by {owner(path)}", "wait for it to end, or use another run.name")]
    except (OSError, ValueError) as error:  # ValueError: a byte 0 in a path
        return [Check(name, False, f"run.root={run.root}: {getattr(error, 'strerror', None) or error}", ELSEWHERE)]
    tried = check_semantics(path)
    return [Check(name, True, f"{path} can be written"), tried] if tried.ok else [tried]


def check_room(path: Path, needed_bytes: int) -> Check:
    """Room on the disk of a run for its checkpoints and one that is being written."""
    needed = needed_bytes + LEAST_ROOM_BYTES
    existing = nearest(path)
    free = shutil.disk_usage(existing).free
    remedy = f"free some, {ELSEWHERE}, or lower run.keep_checkpoints"
    return Check("disk", free >= needed, f"{existing} has {_mib(free)} free, checkpoints and model take about {_mib(needed)}", remedy)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"


def _held(lock: Path) -> bool:
    """Whether somebody holds a run's lock."""
    if not lock.is_file() or not os.access(lock, os.R_OK):
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
