"""The run directory: room, and whether the file system keeps what checkpoints and locks rely on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chemr.doctor.finding import GIB, Check
from chemr.whole_file import write_whole

MIN_DISK_BYTES = 2 * GIB
MAX_CLOCK_SKEW_SECONDS = 5.0
ELSEWHERE = "choose another place with run.root=DIR"


def check_disk(run_root: Path) -> Check:
    existing = nearest(run_root)
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Check("run directory", False, f"{existing} is not writable", ELSEWHERE)
    remedy = f"{MIN_DISK_BYTES / GIB:.0f} GiB are wanted for checkpoints; free some, or {ELSEWHERE}"
    return Check("run directory", free >= MIN_DISK_BYTES, f"{os.path.realpath(run_root)}: writable, {free / GIB:.0f} GiB free", remedy)


def check_semantics(run_root: Path) -> Check:
    """Tries what a run does there: replace a file and a folder in one move, flush both, hold a lock that nobody else gets.

    Object stores behind FUSE and some network file systems lack one of these; checkpoints would then be found half-written.
    """
    name = "run storage"
    try:
        with _scratch(run_root) as folder:
            lacking = [what for what, holds in _semantics(folder).items() if not holds]
    except OSError as error:
        return Check(name, False, f"{nearest(run_root)}: {error}", f"give the run a POSIX file system: {ELSEWHERE}")
    found = f"does not {', not '.join(lacking)}" if lacking else "moves, flushes and locks as checkpoints need it"
    return Check(name, not lacking, found, f"this is no POSIX file system (an object store behind FUSE?): {ELSEWHERE}")


def check_clock(run_root: Path) -> Check:
    """A file server stamps files by its own clock; one that is off makes leftovers look young and fresh notes look old."""
    try:
        with _scratch(run_root) as folder:
            file = folder / "now"
            before = time.time()
            file.write_text("now")
            skew = max(before - file.stat().st_mtime, file.stat().st_mtime - time.time(), 0.0)
    except OSError as error:
        return Check("storage clock", True, f"not compared: {error.strerror}")
    remedy = "let the file server and this machine follow one time server (chrony, NTP)"
    return Check("storage clock", skew <= MAX_CLOCK_SKEW_SECONDS, f"{skew:.1f} s from this machine's", remedy)


def nearest(run_root: Path) -> Path:
    """The folder itself or the nearest one above it that exists."""
    real = Path(os.path.realpath(run_root))  # which takes a circle of links as it is
    return next(folder for folder in (real, *real.parents) if folder.exists())


@contextlib.contextmanager
def _scratch(run_root: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".chemr-doctor-", dir=nearest(run_root)) as folder:
        yield Path(folder)


def _semantics(folder: Path) -> dict[str, bool]:
    """What has to hold -> whether it does. Raises OSError where an operation is refused."""
    file = folder / "state"
    write_whole(file, "old")
    with file.open() as reader:
        write_whole(file, "new")
        moved = file.read_text() == "new" and reader.read() == "old"
    (folder / "step.partial").mkdir()
    (folder / "step.partial" / "weights").write_bytes(b"1")
    os.rename(folder / "step.partial", folder / "step")
    moved_folder = (folder / "step" / "weights").read_bytes() == b"1" and not (folder / "step.partial").exists()
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return {
        "replace a file in one move": moved,
        "move a folder in one step": moved_folder,
        "keep others out of a lock": _locks(folder / "lock"),
    }


def _locks(file: Path) -> bool:
    with file.open("w") as first, file.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
