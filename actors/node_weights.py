"""The files of weights on a node: one version is kept once, for all generators there.

A file is named by the digest of the version in it. Whoever needs a version that is not there takes the *filling* lock and brings it; the
others wait for the file. A generator whose engine reads a file holds a shared lock on it. What nobody reads is written again for the next
version, since fresh pages cost as much as the copy: they have to be allocated, zeroed and mapped. So a node holds one file, and two while
an engine still loads the one and another generator brings the next.

All locks are flock's: a process that is killed lets go of them, and leaves at worst a file that the next one writes again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from actors.weight_file import WeightFile
from actors.weights import ByteArray, TensorSlot, bucket_starts

MOST_FILES = 2
_LOCK, _FILLING = "lock", "filling"


class SharedMemoryFullError(OSError):
    """There is no room for the weights on this node; the message says how much is there and what helps."""


class Lease:
    """A version that is whole, for an engine to read. It stays as it is until :meth:`release` or the end of this process."""

    def __init__(self, descriptor: int, file: WeightFile) -> None:
        self.file = file
        self._descriptor = descriptor

    def release(self) -> None:
        """Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # by itself, closing would not do: a map holds the descriptor too
            os.close(descriptor)


class Filling:
    """A file to be filled with a version: ``data`` is uint8 [bytes of the layout]. Ends with :meth:`finish` or :meth:`abandon`."""

    def __init__(
        self, weights: NodeWeights, lock: int, descriptor: int, data: ByteArray, digest: str, layout: Sequence[TensorSlot]
    ) -> None:
        self.data = data
        self._weights, self._lock, self._descriptor = weights, lock, descriptor
        self._digest, self._layout = digest, layout

    def finish(self) -> Lease:
        """The bytes are those of the version: give it its name."""
        path = self._weights.folder / self._digest
        os.rename(self._weights.folder / _FILLING, path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        os.close(self._lock)
        return Lease(self._descriptor, WeightFile(str(path), os.fstat(self._descriptor).st_ino, tuple(self._layout)))

    def abandon(self, spoilt: bool = False) -> None:
        """Somebody else may fill it. ``spoilt``: somebody may still write to this memory, so the file is not used again."""
        if spoilt:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._weights.folder / _FILLING)
            self._weights.forget()
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        os.close(self._lock)


class NodeWeights:
    """One generator's view of the files in ``folder``, which it makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inode, self._data = -1, np.empty(0, np.uint8)  # the file this process has written last, mapped

    def ready(self, digest: str, layout: Sequence[TensorSlot]) -> Lease | None:
        """The version, if it is there and whole."""
        path = self.folder / digest
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if os.stat(path).st_ino == found.st_ino and found.st_size == _size(layout):
                return Lease(descriptor, WeightFile(str(path), found.st_ino, tuple(layout)))
        except (BlockingIOError, FileNotFoundError):  # it is about to be written again, or has been already
            pass
        os.close(descriptor)
        return None

    def begin(self, digest: str, layout: Sequence[TensorSlot]) -> Filling | None:
        """A file for the version. None: somebody else is bringing one, or engines still read all that there may be; ask again.

        Raises:
            SharedMemoryFullError: there is no room.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self.folder / digest).exists() and (lease := self.ready(digest, layout)) is not None:
                lease.release()
                raise BlockingIOError  # it came while we asked
            descriptor = self._file(_size(layout))
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        return Filling(self, lock, descriptor, self._mapped(descriptor)[: bucket_starts(layout)[-1]], digest, layout)

    def forget(self) -> None:
        """Gives the mapped memory back."""
        self._inode, self._data = -1, np.empty(0, np.uint8)

    def _file(self, nbytes: int) -> int:
        """A descriptor, locked for itself alone, of the file named filling. Raises BlockingIOError when all are read."""
        free, read = [], 0
        for path in self._files():
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                read += 1
                continue
            free.append((path, descriptor))
        # That which this process has mapped already, else any of the right size; the rest is memory that nobody needs.
        free.sort(key=lambda entry: (os.fstat(entry[1]).st_size != nbytes, os.fstat(entry[1]).st_ino != self._inode))
        chosen = None
        for path, descriptor in free:
            if chosen is None and os.fstat(descriptor).st_size == nbytes:
                os.rename(path, self.folder / _FILLING)
                chosen = descriptor
            else:
                path.unlink()
                os.close(descriptor)
        if chosen is not None:
            return chosen
        if read >= MOST_FILES:
            raise BlockingIOError
        return self._new(nbytes)

    def _files(self) -> Iterator[Path]:
        yield from (path for path in sorted(self.folder.iterdir()) if path.name != _LOCK)

    def _new(self, nbytes: int) -> int:
        path = self.folder / _FILLING
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.posix_fallocate(descriptor, 0, nbytes)  # now, not with SIGBUS at the first write
        except OSError as error:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            if error.errno != errno.ENOSPC:
                raise
            free = shutil.disk_usage(self.folder).free
            raise SharedMemoryFullError(
                errno.ENOSPC,
                f"a version of the weights has {nbytes >> 20} MiB and {self.folder.parent.parent} of this node has {free >> 20} MiB free: "
                "it holds Ray's object store and one version for all generators of the node (two for a moment); enlarge it "
                "(cluster.groups.*.shm_gb, docker run --shm-size), or lower the object store (object_store_gb, pool.object_store_mb)",
            ) from error
        return descriptor

    def _mapped(self, descriptor: int) -> ByteArray:
        found = os.fstat(descriptor)
        if found.st_ino != self._inode:
            self.forget()
            self._data = np.frombuffer(mmap.mmap(descriptor, found.st_size), dtype=np.uint8)
            self._inode = found.st_ino
        return self._data


def _size(layout: Sequence[TensorSlot]) -> int:
    return max(1, bucket_starts(layout)[-1])
