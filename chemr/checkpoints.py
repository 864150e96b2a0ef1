"""Checkpoints that are whole or absent.

A checkpoint is written into ``step-N.partial``, flushed to the disk, and moved to ``step-N``; a reader never sees half of one, and an
interrupted write leaves the previous checkpoint valid. ``state.json`` is written last and carries the SHA-256 of every file and of itself,
so that a damaged checkpoint is recognised and the one before it is used; the damaged one is moved aside to ``step-N.damaged``, since it
must neither count as one of those that are kept nor come back when the run has gone another way since.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.whole_file import DISK_FULL

STATE_FILE = "state.json"
_STEP_DIRECTORY = re.compile(r"step-(\d+)")
_PARTIAL, _RETIRED, _DAMAGED = ".partial", ".retired", ".damaged"
_NO_ROOM_BYTES = 1 << 20  # a writer that reports no errno (torch) has failed for want of room when so little is left


class CheckpointError(RuntimeError):
    """No usable checkpoint where one is needed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint on disk: ``state`` is the driver's part, ``path/learner`` the learner's."""

    step: int
    path: Path
    state: dict[str, Any]

    @property
    def learner(self) -> Path:
        return self.path / "learner"


class CheckpointStore:
    """The ``checkpoints/`` folder of one run. Only the holder of the run's lock may call anything but :meth:`peek`."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"run.keep_checkpoints={keep}: at least 1 checkpoint must be kept to be able to resume")
        self.directory = directory
        self._keep = keep
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self, step: int) -> Path:
        """An empty folder to write step N's parts into; invisible to readers until :meth:`commit`."""
        partial = self._path(step, _PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def commit(self, step: int, state: dict[str, Any]) -> Checkpoint:
        """Seal what was written since :meth:`begin` and make it the newest checkpoint.

        Raises OSError, e.g. for a full disk; the checkpoint before is untouched then, and :meth:`abandon` removes the rest.
        """
        partial, final = self._path(step, _PARTIAL), self._path(step)
        # Flushed one by one while they are hashed: the seal must not reach the disk before what it vouches for.
        sealed = {"step": step, "files": {str(path.relative_to(partial)): _sha256(path, flush=True) for path in _files(partial)}}
        sealed = json.loads(json.dumps(sealed | {"state": state}))  # as a reader will find it
        with (partial / STATE_FILE).open("w", encoding="utf-8") as file:
            json.dump(sealed | {"sha256": _seal(sealed)}, file)
            file.flush()
            os.fsync(file.fileno())
        for folder in (*(path for path in sorted(partial.rglob("*")) if path.is_dir()), partial):
            _sync_directory(folder)
        if final.exists():  # the same step again, after a resume or at a stage's end: the new one replaces it whole
            retired = self._path(step, _RETIRED)
            shutil.rmtree(retired, ignore_errors=True)
            final.rename(retired)
            partial.rename(final)
            shutil.rmtree(retired)
        else:
            partial.rename(final)
        _sync_directory(self.directory)
        self._prune()
        return Checkpoint(step, final, state)

    def abandon(self, step: int) -> None:
        """Remove what was written of a checkpoint that cannot be finished, so that its room is free again."""
        shutil.rmtree(self._path(step, _PARTIAL), ignore_errors=True)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and a line for each newer one that had to be passed over, saying why.

        What a killed writer left is put in order first; damaged checkpoints are moved aside.
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
            checkpoint, complaint = self._read(step, self._path(step))
            if checkpoint is not None:
                return checkpoint, complaints
            complaints.append(f"{complaint}; using the checkpoint before it")
        return None, complaints

    def _read(self, step: int, path: Path) -> tuple[Checkpoint | None, str]:
        """The checkpoint in ``path``, or why it cannot be used."""
        try:
            sealed = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
            damaged = [name for name, digest in sealed["files"].items() if _sha256(path / name) != digest]
            state, seal = sealed["state"], sealed.pop("sha256", None)
        except (OSError, ValueError, KeyError) as error:
            return None, f"{path}: unreadable ({error})"
        if seal not in (None, _seal(sealed)):  # none: written by a version that did not seal it
            damaged.append(STATE_FILE)
        if damaged:
            return None, f"{path}: content changed since it was written: {', '.join(damaged)}"
        return Checkpoint(step, path, state), ""

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


def is_disk_full(error: BaseException | None, directory: Path) -> bool:
    """Whether writing into ``directory`` failed for want of room, also inside an actor. Ask before anything is cleaned up."""
    if shutil.disk_usage(directory).free < _NO_ROOM_BYTES:
        return True
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        error = getattr(error, "cause", None) or error.__cause__  # Ray keeps what an actor raised in ``cause``
    return False


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of JSON content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path, flush: bool = False) -> str:
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
