"""Checkpoints that are whole or absent.

A checkpoint is written into ``step-N.partial``, flushed, and moved to ``step-N``; a reader never sees half of one, and an interrupted
write leaves the previous checkpoint valid. ``state.json`` is written last and carries the SHA-256 of every other file, so that a
damaged checkpoint is recognised and the one before it is used.
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

STATE_FILE = "state.json"
_STEP_DIRECTORY = re.compile(r"step-(\d+)")


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
    """The ``checkpoints/`` folder of one run."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"run.keep_checkpoints={keep}: at least 1 checkpoint must be kept to be able to resume")
        self._directory = directory
        self._keep = keep
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self, step: int) -> Path:
        """An empty folder to write step N's parts into; invisible to readers until :meth:`commit`."""
        partial = self._directory / f"step-{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def commit(self, step: int, state: dict[str, Any]) -> Checkpoint:
        """Seal what was written since :meth:`begin` and make it the newest checkpoint."""
        partial, final = self._directory / f"step-{step}.partial", self._directory / f"step-{step}"
        sealed = {"step": step, "files": {str(path.relative_to(partial)): _sha256(path) for path in _files(partial)}, "state": state}
        with (partial / STATE_FILE).open("w", encoding="utf-8") as file:
            json.dump(sealed, file)
            file.flush()
            os.fsync(file.fileno())
        if final.exists():  # the same step again, after a resume or at a stage's end: the new one replaces it whole
            retired = self._directory / f"step-{step}.retired"
            shutil.rmtree(retired, ignore_errors=True)
            final.rename(retired)
            partial.rename(final)
            shutil.rmtree(retired)
        else:
            partial.rename(final)
        _sync_directory(self._directory)
        for old in self._steps()[: -self._keep]:
            shutil.rmtree(self._directory / f"step-{old}")
        return Checkpoint(step, final, state)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and a line for each newer one that had to be passed over, saying why."""
        complaints: list[str] = []
        for retired in self._directory.glob("step-*.retired"):  # killed between the two renames of commit()
            original = retired.with_suffix("")
            if original.exists():
                shutil.rmtree(retired)
            else:
                retired.rename(original)
        for step in reversed(self._steps()):
            path = self._directory / f"step-{step}"
            try:
                sealed = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
                damaged = [name for name, digest in sealed["files"].items() if _sha256(path / name) != digest]
            except (OSError, ValueError, KeyError) as error:
                complaints.append(f"{path}: unreadable ({error}); using the checkpoint before it")
                continue
            if damaged:
                complaints.append(f"{path}: content changed since it was written: {', '.join(damaged)}; using the checkpoint before it")
                continue
            return Checkpoint(step, path, sealed["state"]), complaints
        return None, complaints

    def _steps(self) -> list[int]:
        found = (_STEP_DIRECTORY.fullmatch(entry.name) for entry in self._directory.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in found if match)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
