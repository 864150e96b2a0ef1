"""Traces for distillation out of a file: what ``chemr protocols select`` wrote, or anything in its form.

JSON lines with ``uid`` (of a training row), ``task`` and ``completion``; a first line ``{"header": …}`` is skipped, further fields are
ignored. A row may have several traces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chemr.data.example import Example


class TraceFileError(ValueError):
    """A line that cannot be trained on: the file, the line, what was found and expected."""


def read_traces(
    path: Path, examples: Sequence[Example], reserved: Sequence[Example] = (), *, skip_unknown: bool = False
) -> list[tuple[Example, str]]:
    """(example, completion) of every line, in file order.

    Args:
        examples: the rows that supervised stages may train on.
        reserved: rows kept for GRPO, for a message that says so.
        skip_unknown: leave out traces of other rows instead of raising.

    Raises:
        TraceFileError: the file is missing or empty, or a line is broken, names a row that is not among ``examples`` or another task.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceFileError(f"distill.traces={path} cannot be read: {error}") from None
    known = {example.uid: example for example in examples}
    kept_back = {example.uid for example in reserved} - known.keys()
    traces: list[tuple[Example, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _row(path, number, line)
        if number == 1 and "header" in row:
            continue
        uid, task, completion = (_text(path, number, row, name) for name in ("uid", "task", "completion"))
        if skip_unknown and uid not in known:
            continue
        if uid in kept_back:
            raise TraceFileError(
                f"{path}, line {number}: row {uid!r} is kept for GRPO by data.grpo_share; mine with the data.grpo_share of this run"
            )
        example = known.get(uid)
        if example is None:
            raise TraceFileError(
                f"{path}, line {number}: the data of this run have no training row {uid!r}; use the data.* settings of the mining"
            )
        if example.task != task:
            raise TraceFileError(f"{path}, line {number}: row {uid!r} is of task {example.task}, not {task}")
        traces.append((example, completion))
    if not traces:
        raise TraceFileError(f"distill.traces={path} holds no traces")
    return traces


def _row(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TraceFileError(f"{path}, line {number}: is not JSON ({error})") from None
    if not isinstance(row, Mapping):
        raise TraceFileError(f"{path}, line {number}: found {line[:60]!r}, expected an object with uid, task and completion")
    return row


def _text(path: Path, number: int, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise TraceFileError(f"{path}, line {number}: field {name!r} should be a text, found {value!r}")
    return value
