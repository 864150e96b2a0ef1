"""What a writer vouches for: name, size and SHA-256 of a file, taken once it has reached the disk.

Whoever wrote a file seals it, where it was written and beside whatever else it does; others compare.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SealedFile:
    """``name`` is relative to the folder that is vouched for, with ``/`` between its parts; ``size`` in bytes."""

    name: str
    size: int
    sha256: str

    def under(self, folder: str) -> SealedFile:
        """The same file as seen from the parent of ``folder``."""
        return SealedFile(f"{folder}/{self.name}", self.size, self.sha256)


def seal(path: Path, name: str) -> SealedFile:
    """Flushes the file to the disk and reads it once. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SealedFile(name, file.tell(), digest)


def seal_folder(folder: Path) -> list[SealedFile]:
    """Every file below ``folder``. Raises OSError."""
    return [seal(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()]


def sha256_of(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
