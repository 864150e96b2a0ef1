"""Written reasoning traces from a file in a teacher's place: mined (docs/mining.md), harvested (docs/self-distillation.md), or others'.

A JSON object a line: ``uid`` of an example of the training data, its ``task``, and the ``completion`` (``<think>`` … ``</answer>``). Other
fields are left alone. What a trace says is verified by the reward workers like any teacher's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chemr.config import ConfigError
from chemr.data.example import Example

FIELDS: Mapping[str, type] = {"uid": str, "task": str, "completion": str}
_EXPECTED: Mapping[type, str] = {str: "a non-empty string", int: "an integer", float: "a number"}


class TraceFileError(ConfigError):
    """A file of traces cannot be used; the message names file, line and field, and what was expected."""


def read_traces(path: Path, examples: Iterable[Example], *, skip_unknown: bool = False) -> list[tuple[Example, str]]:
    """The traces of a file with the examples they answer, in its order; a completion that an example has already is left out.

    Args:
        examples: the training rows of the run, also those kept for GRPO: a harvest is of them.
        skip_unknown: leave out traces of other rows instead of raising.

    Raises:
        TraceFileError: a line is no such object; its example is not among ``examples`` or is of another task; there is no trace at all.
    """
    by_uid = {example.uid: example for example in examples}
    traces: dict[tuple[str, str], tuple[Example, str]] = {}
    for number, line in read_objects(path, FIELDS):
        example = by_uid.get(line["uid"])
        if example is None and skip_unknown:
            continue
        if example is None:
            raise TraceFileError(
                f"{path}:{number}: uid {line['uid']!r} is no example of this run's training data; expected one of its {len(by_uid)} rows. "
                "Set data.* as in the run that wrote the file (data.tasks may name more tasks, not fewer)"
            )
        if example.task != line["task"]:
            raise TraceFileError(f"{path}:{number}: field 'task' is {line['task']!r}, but example {example.uid!r} is of {example.task!r}")
        traces.setdefault((example.uid, line["completion"]), (example, line["completion"]))
    if not traces:
        raise TraceFileError(f"{path} holds no trace; expected one JSON object a line with {', '.join(FIELDS)}")
    return list(traces.values())


def read_objects(path: Path, fields: Mapping[str, type]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and content of each line that is not blank; ``fields`` are there and of their type (str: not empty, float: finite).

    Raises:
        TraceFileError: naming file, line, field and expectation.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read ({error.strerror}); expected a file with one JSON object a line") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as error:  # of broken UTF-8 too
            raise TraceFileError(f"{path}:{number}: not JSON ({error}); expected one object with {', '.join(fields)}") from error
        if not isinstance(line, dict):
            raise TraceFileError(f"{path}:{number}: found {type(line).__name__}; expected one object with {', '.join(fields)}")
        if number == 1 and "header" in line:  # of a file that mining wrote
            continue
        for name, kind in fields.items():
            if name not in line:
                raise TraceFileError(f"{path}:{number}: field {name!r} is missing; expected {_EXPECTED[kind]}; found: {', '.join(line)}")
            if not _is_a(kind, line[name]):
                raise TraceFileError(f"{path}:{number}: field {name!r} is {line[name]!r:.80}; expected {_EXPECTED[kind]}")
        yield number, line


def _is_a(kind: type, value: object) -> bool:
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, int)
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
