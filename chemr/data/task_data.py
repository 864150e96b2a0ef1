"""The rows of a run, and how they are kept on disk: built once, checked at every start, rebuilt when anything they depend on has changed.

A build lives in a folder named after its fingerprint, as one JSONL file per split and a manifest with their checksums. It is written aside
and moved into place under a lock, so that concurrent runs build once and never read half a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.data.example import Example

SPLITS = ("train", "validation", "test")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class TaskData:
    """Rows of all tasks, mixed. No molecule is in two of the three lists."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]


def cached(folder: Path, build: Callable[[], TaskData], describe: Callable[[TaskData], Mapping[str, Any]]) -> TaskData:
    """What ``build`` makes, from ``folder`` when it is there and whole.

    Args:
        folder: named after everything the rows depend on.
        describe: fields of the manifest beside row counts, checksums and sources.
    """
    data = _read(folder)
    if data is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.parent / f"{folder.name}.lock"):
            data = _read(folder)  # another process may have built it while this one waited
            if data is None:
                data = build()
                _write(folder, data, describe(data))
    return data


def _read(folder: Path) -> TaskData | None:
    """The build in ``folder``; ``None`` when there is none, or it is not what its manifest says."""
    try:
        checksums = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        contents = {split: (folder / f"{split}.jsonl").read_bytes() for split in SPLITS}
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError):
        return None
    if any(hashlib.sha256(contents[split]).hexdigest() != checksums.get(split) for split in SPLITS):
        return None
    # Not splitlines(): names and captions may hold the line breaks that Unicode has beside "\n", which JSON does not escape.
    return TaskData(**{split: [Example.from_json(line) for line in contents[split].decode().split("\n") if line] for split in SPLITS})


def _write(folder: Path, data: TaskData, description: Mapping[str, Any]) -> None:
    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    rows = {split: getattr(data, split) for split in SPLITS}
    checksums = {split: _write_rows(aside / f"{split}.jsonl", rows[split]) for split in SPLITS}
    manifest = {
        **description,
        "rows": {split: len(rows[split]) for split in SPLITS},
        "sha256": checksums,
        "sources": sorted({(example.source.split(";")[0], example.licence) for split in SPLITS for example in rows[split]}),
    }
    (aside / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # a build that failed its check
    aside.rename(folder)


def _write_rows(path: Path, examples: list[Example]) -> str:
    content = "".join(example.to_json() + "\n" for example in examples).encode()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go of it when that process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
