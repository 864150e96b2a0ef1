"""The temporary folder of a private Ray cluster: its owner's alone, short enough for sockets, and swept once its driver is gone.

Ray makes its own folder and everything in it readable and writable for everybody (0777), so it gets a folder inside one that nobody else
can enter. The driver holds a lock in it for as long as it lives, however it ends: whoever gets the lock knows that the driver is gone, also
where several containers share the folder and pids mean nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

NAME = re.compile(r"chemr-[a-z0-9_]{8}")
LOCK = "lock"
SESSION = "ray"
SOCKET_BYTES = 107  # of a path of a Unix socket
# The longest that Ray makes below the base, with a pid of seven digits and the suffix of a name that is taken.
LONGEST_BELOW = f"/chemr-12345678/{SESSION}/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store.1"
LONGEST_BASE = SOCKET_BYTES - len(LONGEST_BELOW)
SHORT_BASES = ("/tmp", "/var/tmp", "/dev/shm")


class NoPrivateFolderError(OSError):
    """There is no place for the folder on this machine; the message says why and what to do."""


def choose_base(wanted: Path) -> Path:
    """``wanted``, or another folder where sockets would not fit there or others could interfere.

    Raises:
        NoPrivateFolderError: no folder will do.
    """
    complaint = unsuitable(wanted)
    if complaint is None:
        return wanted
    for base in map(Path, SHORT_BASES):
        if unsuitable(base) is None:
            return base
    raise NoPrivateFolderError(
        f"{complaint}, and {', '.join(SHORT_BASES)} will not do either; set TMPDIR to a folder of your own, of at most {LONGEST_BASE} bytes"
    )


def unsuitable(base: Path) -> str | None:
    """Why a private folder cannot be in ``base``; None if it can."""
    length = len(os.fsencode(base))
    if length > LONGEST_BASE:
        return f"TMPDIR={base} has {length} bytes and at most {LONGEST_BASE} leave room for the paths of sockets ({SOCKET_BYTES} bytes)"
    try:
        mode = base.stat().st_mode
    except OSError as error:
        return f"{base} cannot be used ({error.strerror})"
    if not stat.S_ISDIR(mode) or not os.access(base, os.W_OK | os.X_OK):
        return f"{base} is no folder that can be written"
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return f"everybody may rename what is in {base} (chmod +t {base})"
    return None


class PrivateFolder:
    """Made and locked at once; ``session`` is for Ray. Raises NoPrivateFolderError."""

    def __init__(self, pool_id: str) -> None:
        wanted = Path(tempfile.gettempdir())
        base = choose_base(wanted)
        if base != wanted:
            log.warning("the temporary folder of Ray is in %s, since %s", base, unsuitable(wanted))
        try:
            self.path = Path(tempfile.mkdtemp(prefix="chemr-", dir=base))
            self.session = self.path / SESSION
            aside = self.path / f"{LOCK}.new"
            self._lock = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._lock, json.dumps({"pool_id": pool_id}).encode())
            aside.rename(self.path / LOCK)  # not before it is locked: a lock that is free means that its driver is gone
        except OSError as error:
            raise NoPrivateFolderError(
                f"no temporary folder could be made in {base}: {error.strerror}; make room, or set TMPDIR"
            ) from error

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def pool_of(folder: Path) -> str | None:
    """The id in the lock of a private folder of this user; None for whatever is none."""
    if NAME.fullmatch(folder.name) is None or not is_own_folder(folder):
        return None
    with contextlib.suppress(OSError, ValueError), _open_lock(folder) as descriptor:
        content: Any = json.loads(os.read(descriptor, 1024))
        if isinstance(content, dict) and isinstance(content.get("pool_id"), str):
            return str(content["pool_id"])
    return None


def abandoned() -> Iterator[tuple[Path, str]]:
    """Private folders of this user whose drivers are gone, each with its pool's id, and locked while it is in the caller's hands."""
    for base in {Path(tempfile.gettempdir()), *map(Path, SHORT_BASES)}:
        with contextlib.suppress(OSError):
            for folder in [entry for entry in base.iterdir() if NAME.fullmatch(entry.name)]:
                pool_id = pool_of(folder)
                if pool_id is None:
                    continue
                with contextlib.suppress(OSError), _open_lock(folder) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its driver lives
                    yield folder, pool_id


def is_own_folder(folder: Path) -> bool:
    """Whether it is a real folder, no link, that belongs to this user."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


@contextlib.contextmanager
def _open_lock(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
