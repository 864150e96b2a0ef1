"""Files that a reader finds whole: with the old content or the new, never half of it; and files of lines, whose last a kill may cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # errno of an OSError for want of room


def write_whole(path: Path, content: str | bytes) -> None:
    """Write aside (text in UTF-8), flush, move into place. Raises OSError, e.g. for a full disk; the old file is untouched then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def drop_torn_line(path: Path) -> None:
    """Remove a last line without its end, which a kill cut in the middle."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
