"""Checkpoints that are whole or absent.

A checkpoint is written into ``step-N.partial``, flushed to the disk, and moved to ``step-N``; a reader never sees half of one, and an
interrupted write leaves the previous checkpoint valid. ``state.json`` is written last and carries the SHA-256 of every file and of itself,
so that a damaged checkpoint is recognised and the one before it is used; the damaged one is moved aside to ``step-N.damaged``, since it
must neither count as one of those that are kept nor come back when the run has gone another way since.

The learner's ranks flush and hash what they write, where they write it. The driver seals only what it finds as they say: a folder that is
not shared by their nodes would otherwise be sealed without a single file. Everything here reads or writes whole checkpoints: an event loop
calls it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.whole_file import DISK_FULL
from learner.sealed_files import SealedFile, sha256_of

log = logging.getLogger(__name__)

STATE_FILE = "state.json"
LEARNER = "learner"  # the learner's part of a checkpoint
SEEN_WITHIN_S = 60.0  # NFS may show a file of another node so much later (acdirmax)
READERS = 4  # files that are hashed at once
_STEP_DIRECTORY = re.compile(r"step-(\d+)")
_PARTIAL, _RETIRED, _DAMAGED = ".partial", ".retired", ".damaged"
# Of a connection that broke, which is no storage's. A file server that is gone says ETIMEDOUT, a file system in user space ECONNABORTED.
_NETWORK_ERRNOS = (errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE)
_NO_ROOM_BYTES = 1 << 20  # a writer that reports no errno (torch) has failed for want of room when so little is left


class CheckpointError(RuntimeError):
    """No usable checkpoint where one is needed."""


class CheckpointNotWhole(CheckpointError):
    """What the learner's ranks wrote is not what the driver's node sees; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint on disk: ``state`` is the driver's part, ``path/learner`` the learner's."""

    step: int
    path: Path
    state: dict[str, Any]

    @property
    def learner(self) -> Path:
        return self.path / LEARNER


class CheckpointStore:
    """The ``checkpoints/`` folder of one run. Only the holder of the run's lock may call anything but :meth:`peek`."""

    def __init__(self, directory: Path, keep: int = 2, seen_within_s: float = SEEN_WITHIN_S) -> None:
        """``seen_within_s``: how long files of other nodes may take to be seen on this one."""
        if keep < 1:
            raise ValueError(f"run.keep_checkpoints={keep}: at least 1 checkpoint must be kept to be able to resume")
        self.directory = directory
        self._keep = keep
        self._seen_within_s = seen_within_s
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self, step: int) -> Path:
        """An empty folder to write step N's parts into; invisible to readers until :meth:`commit`."""
        partial = self._path(step, _PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def commit(self, step: int, state: dict[str, Any], files: Sequence[SealedFile]) -> Checkpoint:
        """Seal what was written since :meth:`begin` and make it the newest checkpoint.

        Args:
            files: all of them, as their writers vouch for them, flushed to the disk; names are relative to what :meth:`begin` returned.

        Raises:
            CheckpointNotWhole: a file is not there as its writer says.
            OSError: e.g. a full disk.
            The checkpoint before is untouched then, and :meth:`abandon` removes the rest.
        """
        partial, final = self._path(step, _PARTIAL), self._path(step)
        self._require(partial, files)
        sealed = {"step": step, "files": {file.name: file.sha256 for file in files}}
        sealed = json.loads(json.dumps(sealed | {"state": state}))  # as a reader will find it
        with (partial / STATE_FILE).open("w", encoding="utf-8") as file:
            json.dump(sealed | {"sha256": _seal(sealed)}, file)
            file.flush()
            os.fsync(file.fileno())
        for folder in (*(path for path in sorted(partial.rglob("*")) if path.is_dir()), partial):
            _sync_directory(folder)
        retired = self._path(step, _RETIRED)
        if final.exists():  # the same step again, after a resume or at a stage's end: the new one replaces it whole
            shutil.rmtree(retired, ignore_errors=True)
            final.rename(retired)
        try:
            partial.rename(final)
        except OSError:
            if retired.exists():
                retired.rename(final)
            raise
        _sync_directory(self.directory)
        try:
            self._tidy(retired)
        except OSError as error:  # the new one is there; what was to go is tried again after the next
            log.warning("an old checkpoint of %s could not be removed: %s", self.directory, error)
        return Checkpoint(step, final, state)

    def _require(self, partial: Path, files: Sequence[SealedFile]) -> None:
        """Raises CheckpointNotWhole."""
        deadline = time.monotonic() + self._seen_within_s
        while missing := [file for file in files if _size(partial / file.name) != file.size]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        if missing or not files:
            what = "no file was written"
            if missing:
                first, found = missing[0], _size(partial / missing[0].name)
                here = "is not there" if found is None else f"has {found} bytes"
                what = f"{len(missing)} of {len(files)} files are not as they were written: {first.name} of {first.size} bytes {here}"
            raise CheckpointNotWhole(
                f"{partial} cannot be sealed on {socket.gethostname()}: {what}. Is {self.directory} on storage that the nodes of the "
                "driver and of all learner ranks share? Set run.root to a folder that is the same on all of them"
            )

    def abandon(self, step: int) -> bool:
        """Remove what was written of a checkpoint that cannot be finished, so that its room is free again.

        Returns whether there is one to go back to, as far as names say; storage that does not answer just now proves nothing.
        """
        shutil.rmtree(self._path(step, _PARTIAL), ignore_errors=True)
        try:
            return bool(self._steps())
        except OSError:
            return True

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and a line for each newer one that had to be passed over, saying why.

        What a killed writer left is put in order first; damaged checkpoints are moved aside. Raises OSError where storage does not answer:
        that says nothing against a checkpoint.
        """
        for retired in self.directory.glob(f"step-*{_RETIRED}"):  # killed between the two renames of commit()
            original = retired.with_suffix("")
            if original.exists():
                shutil.rmtree(retired)
            else:
                retired.rename(original)
        for partial in self.directory.glob(f"step-*{_PARTIAL}"):  # killed while writing
            shutil.rmtree(partial, ignore_errors=True)
        complaints: list[str] = []
        for step in reversed(self._steps()):
            checkpoint, complaint = self._read(step, self._path(step))
            if checkpoint is not None:
                return checkpoint, complaints
            aside = self._path(step, _DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            self._path(step).rename(aside)
            complaints.append(f"{complaint}; moved to {aside.name}, using the checkpoint before it")
        return None, complaints

    def peek(self) -> tuple[Checkpoint | None, list[str]]:
        """As :meth:`newest`, for those who do not own the run (``chemr export`` beside a live one): nothing is moved or removed."""
        complaints: list[str] = []
        for step in reversed(self._steps()):
            try:
                checkpoint, complaint = self._read(step, self._path(step))
            except OSError as error:
                checkpoint, complaint = None, f"{self._path(step)}: unreadable ({error})"
            if checkpoint is not None:
                return checkpoint, complaints
            complaints.append(f"{complaint}; using the checkpoint before it")
        return None, complaints

    def _read(self, step: int, path: Path) -> tuple[Checkpoint | None, str]:
        """The checkpoint in ``path``, or why it cannot be used. Raises OSError for anything but a file that is not there."""
        changed = f"{path}: content changed since it was written: "
        try:
            sealed = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
            files, state, seal = sealed["files"], sealed["state"], sealed.pop("sha256", None)
            if seal not in (None, _seal(sealed)):  # none: written by a version that did not seal it
                return None, changed + STATE_FILE  # nor do the names and digests in it mean anything
            if not isinstance(files, dict) or not isinstance(state, dict):
                return None, f"{path}: unreadable ({STATE_FILE} is no checkpoint's)"
            damaged = _changed(path, files)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{path}: unreadable ({error})"
        if damaged:
            return None, changed + ", ".join(damaged)
        if not files:  # chemr 0.1 sealed what the driver's node saw, also when that was nothing
            return None, f"{path}: holds no learner state, since its folder was not shared with the learner's node when it was written"
        return Checkpoint(step, path, state), ""

    def _tidy(self, retired: Path) -> None:
        if retired.exists():
            shutil.rmtree(retired)
        self._prune()

    def _prune(self) -> None:
        """Keep the newest few, and of the damaged ones those that are not older: somebody may want to look at them."""
        steps = self._steps()
        for old in steps[: -self._keep]:
            shutil.rmtree(self._path(old))
        for damaged in self.directory.glob(f"step-*{_DAMAGED}"):
            match = _STEP_DIRECTORY.fullmatch(damaged.with_suffix("").name)
            if match is not None and int(match.group(1)) < steps[-self._keep :][0]:
                shutil.rmtree(damaged)

    def _path(self, step: int, suffix: str = "") -> Path:
        return self.directory / f"step-{step}{suffix}"

    def _steps(self) -> list[int]:
        found = (_STEP_DIRECTORY.fullmatch(entry.name) for entry in self.directory.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in found if match)


def newest_state(directory: Path) -> dict[str, Any] | None:
    """The driver's part of the newest checkpoint in a ``checkpoints/`` folder, as it stands there: to look at before a start, without
    reading what may be terabytes. None when there is none that can be read."""
    found = [(int(match[1]), path) for path in directory.glob("step-*") if (match := _STEP_DIRECTORY.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((path / STATE_FILE).read_bytes())["state"]
            return state if isinstance(state, dict) else None
    return None


def storage_failure(error: BaseException | None, directory: Path) -> str:
    """Why ``directory`` could not be written, if it was the storage (an actor's, too); else empty. Ask before anything is cleaned up."""
    if isinstance(error, CheckpointNotWhole):
        return str(error)
    with contextlib.suppress(OSError):  # storage that is gone says nothing of its room
        if shutil.disk_usage(directory).free < _NO_ROOM_BYTES:
            return f"the disk of {directory} is full; make room"
    while error is not None:
        if isinstance(error, OSError) and error.errno not in (None, *_NETWORK_ERRNOS):
            if error.errno in DISK_FULL:
                return f"the disk of {directory} is full ({error.strerror}); make room"
            return f"{directory} cannot be written ({error}); see to its storage"
        error = getattr(error, "cause", None) or error.__cause__  # Ray keeps what an actor raised in ``cause``
    return ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _changed(folder: Path, digests: dict[str, str]) -> list[str]:
    """Names of the files that are not what they were. Raises OSError for one that is not there."""
    with ThreadPoolExecutor(READERS) as readers:
        found: Iterable[str] = readers.map(lambda name: sha256_of(folder / name), digests)
        return [name for (name, digest), now in zip(digests.items(), found, strict=True) if now != digest]


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of JSON content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
