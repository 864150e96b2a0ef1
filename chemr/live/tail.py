"""Follows a file of JSON lines (``metrics.jsonl``, ``notes.jsonl``): every line is read once, when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 1 << 20


class LinesTail:
    """The records that were appended since the last call. A half-written last line waits until it is whole.

    A run that goes back to a checkpoint puts a shorter file in the place of the old one; then :attr:`generation` counts on and reading
    begins again with the new file. The open file is held, so that its inode cannot be given to another one meanwhile.
    """

    def __init__(self, path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """``wanted``: whether an object is one of the file's records."""
        self.path = path
        self._wanted = wanted
        self.generation = 0
        self.damaged = 0  # lines that are no records; they are left out
        self._file: IO[bytes] | None = None
        self._offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """New records, oldest first; none while there is no file. Raises OSError when it cannot be read."""
        if not self._open_newest():
            return
        assert self._file is not None
        rest = b""
        self._file.seek(self._offset)
        while chunk := self._file.read(CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._offset += len(line) + 1
                record = self._record(line)
                if record is not None:
                    yield record
                elif line.strip():
                    self.damaged += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_newest(self) -> bool:
        """Whether there is a file; after this the file that is now at the path is the open one."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        if self._file is not None:
            held = os.fstat(self._file.fileno())
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) and there.st_size >= self._offset:
                return True
            self.close()
            self.generation += 1
            self.damaged = 0
        self._file, self._offset = self.path.open("rb"), 0
        return True

    def _record(self, line: bytes) -> dict[str, Any] | None:
        try:
            record = json.loads(line)
        except ValueError:  # also a line that is not UTF-8
            return None
        return record if isinstance(record, dict) and self._wanted(record) else None


def is_metrics(record: dict[str, Any]) -> bool:
    return isinstance(record.get("step"), int)
