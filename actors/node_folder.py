"""A run's folder in one node's shared memory: who uses it, and that nothing of it outlives the last of them.

Driver and generators *join* the folder: each holds a shared lock on a file in it, which the kernel lets go of however they end. Whoever
leaves last removes the folder. Where all were killed at once nobody is left to do it; the next one that joins on this node, of whatever
run, removes every folder whose lock is free.

Shared memory has names outside folders, too: vLLM's processes talk through segments directly in ``/dev/shm``. They begin with the names of
the run's folder and of the engine (:func:`segment_prefix`) and are removed with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path

ROOT = Path("/dev/shm")
PREFIX = "chemr-"
USERS = "users"  # the file that carries the locks
_JOIN_TRIES = 100
_SEGMENT = re.compile(rf"({PREFIX}[0-9a-f]{{8}})-.+")


class NodeFolder:
    """The folder ``path``, joined: it is there, mode 0700, and stays until :meth:`leave` or the end of this process.

    Raises:
        OSError: it cannot be made (no room for another entry, a read-only file system, somebody else's folder of this name).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = _joined(path)

    def leave(self) -> None:
        """Removes the folder unless somebody else uses it. Safe to call twice."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            if _alone(lock):
                remove_node_folder(self.path)
        finally:
            os.close(lock)


def sweep_node(root: Path = ROOT) -> list[Path]:
    """Removes the folders under ``root`` that nobody uses any more, and segments whose folder is gone; returns what was removed.

    Only what belongs to this user is touched, of folders only those with the lock file of a :class:`NodeFolder`; no link is followed.
    """
    removed = []
    for path in sorted(root.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            if path.is_file():
                if (segment := _SEGMENT.match(path.name)) and not (root / segment[1]).exists():
                    path.unlink()
                    removed.append(path)
                continue
            lock = os.open(path / USERS, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _alone(lock):
                    remove_node_folder(path)
                    removed.append(path)
            finally:
                os.close(lock)
    return removed


def remove_node_folder(path: Path) -> None:
    """The folder, and the segments of all engines in it."""
    for engine_dir in path.iterdir() if path.is_dir() else ():
        if engine_dir.is_dir() and not engine_dir.is_symlink():
            remove_engine(engine_dir)
    shutil.rmtree(path, ignore_errors=True)
    _remove_segments(path.parent, f"{path.name}-")


def remove_engine(engine_dir: Path) -> None:
    """What an engine leaves that was killed: its folder, which must be in a run's folder, and its segments."""
    # On the CPU a tensor-parallel group's segment has the name of the file in which the group met.
    meetings = [meeting.name for meeting in engine_dir.glob("vllm_dist_*")]
    shutil.rmtree(engine_dir, ignore_errors=True)
    for prefix in (segment_prefix(engine_dir), *(f"{meeting}-" for meeting in meetings)):
        _remove_segments(engine_dir.parent.parent, prefix)


def segment_prefix(engine_dir: Path) -> str:
    """What the names of the engine's shared-memory segments begin with."""
    return f"{engine_dir.parent.name}-{engine_dir.name}-"


def _remove_segments(root: Path, prefix: str) -> None:
    for segment in root.iterdir() if root.is_dir() else ():
        if segment.name.startswith(prefix):
            with contextlib.suppress(OSError):  # gone meanwhile, or a folder
                segment.unlink()


def _joined(path: Path) -> int:
    """A descriptor that holds a shared lock on the folder's users file. A sweeper that came in between is outlasted."""
    for _ in range(_JOIN_TRIES):
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_uid != os.getuid():
            raise PermissionError(f"{path} is another user's folder")
        try:
            lock = os.open(path / USERS, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path / USERS).st_ino == os.fstat(lock).st_ino:
                return lock
        os.close(lock)
    raise OSError(f"{path} is removed again and again by somebody else")


def _alone(lock: int) -> bool:
    """Whether nobody else holds the lock; then it is held alone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
