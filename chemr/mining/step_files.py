"""The files between the steps: JSON lines under a header that says what they were made from.

A file is written aside and moved into place, so it is whole or absent. A step whose file was made from the same inputs, settings and code
version is not repeated; one whose inputs changed is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.mining.errors import MiningInputError
from chemr.whole_file import write_whole

FORMAT = 1  # of all files; raise it when what a step writes changes


@dataclass(frozen=True, slots=True)
class StepFile:
    """What a step left: its header, and its rows."""

    path: Path
    header: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def digest(self) -> str:
        """Of everything the next step sees."""
        return str(self.header["digest"])


def made_from(step: str, *parts: Any) -> str:
    """32 hex digits of a step's inputs: digests of files, settings (JSON-like), versions."""
    text = json.dumps([FORMAT, step, *parts], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_rows(path: Path, step: str, source: str, rows: Iterable[Mapping[str, Any]], **facts: Any) -> StepFile:
    """Write a step's file; ``source`` is its :func:`made_from`, ``facts`` go into the header for people and the report."""
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    body = "".join(line + "\n" for line in lines)
    digest = hashlib.blake2b(body.encode("utf-8", errors="replace"), digest_size=16).hexdigest()
    header = {"step": step, "made_from": source, "digest": digest, "rows": len(lines), **facts}
    text = json.dumps({"header": header}, ensure_ascii=False, sort_keys=True) + "\n" + body
    write_whole(path, text.encode("utf-8", errors="replace"))
    return read_rows(path)


def read_rows(path: Path) -> StepFile:
    """Raises MiningInputError when the file is missing, broken or not one of ours."""
    try:
        first, _, body = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        raise MiningInputError(
            f"{path} does not exist; run the step that writes it first (`chemr protocols all` runs them in order)"
        ) from None
    rows: list[Mapping[str, Any]] = []
    number = 1
    try:
        header = json.loads(first)["header"]
        for number, line in enumerate(body.split("\n"), start=2):  # noqa: B007 - names the line in the message
            if line:
                rows.append(json.loads(line))
        if header["rows"] != len(rows):
            raise ValueError(f"{len(rows)} rows under a header that says {header['rows']}")
    except (ValueError, KeyError, TypeError) as error:
        raise MiningInputError(
            f"{path}, line {number}: is not what a step of mining writes ({error}); remove it and run its step again"
        ) from None
    return StepFile(path, header, rows)


def up_to_date(path: Path, source: str) -> StepFile | None:
    """The file, if it was made from ``source``; None when it has to be made (again)."""
    if not path.is_file():
        return None
    try:
        found = read_rows(path)
    except MiningInputError:
        return None  # half of something, by another hand: it is made again
    return found if found.header.get("made_from") == source else None
