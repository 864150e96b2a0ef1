"""``protocols/<task>.yaml`` and ``protocols/shared.yaml``: the result of mining that people read and edit.

A chemist changes a title, what a step must establish, the order, adds or removes steps, and synthesises again. What is wrong with an
edited file is named by file, field and expectation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chemr.mining.errors import MiningInputError
from chemr.mining.trace_text import MAX_TITLE_CHARS
from chemr.tasks import TASKS

SHARED = "shared"
MAX_STEPS = 20

_HEAD = (
    "# How to reason about {task}, mined from a teacher's verified traces (docs/mining.md).\n"
    "# Edit it freely, then run `chemr protocols synthesise` again: only changed tasks are asked for again.\n"
)
_SHARED_HEAD = "# Hints that several tasks share. A step with `shared: NAME` and no `establish` of its own uses the text given here.\n"


@dataclass(frozen=True, slots=True)
class SharedHint:
    """What several tasks' steps establish."""

    title: str
    establish: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProtocolStep:
    """One step of a protocol.

    Attributes:
        title: as it stands in traces.
        establish: what the step must find; empty = the shared hint's text.
        shared: name of a shared hint, or None.
        also_called: other titles that count as this one.
        statistics: how often and where it occurred (for people).
        sources: uids of rows in whose traces it occurred (for people).
    """

    title: str
    establish: str = ""
    shared: str | None = None
    also_called: tuple[str, ...] = ()
    statistics: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    def hint(self, hints: Mapping[str, SharedHint]) -> str:
        """What a teacher is told that the step must establish."""
        return self.establish or (hints[self.shared].establish if self.shared else "") or self.title


@dataclass(frozen=True, slots=True)
class Protocol:
    """The steps of one task, in order."""

    task: str
    steps: tuple[ProtocolStep, ...]
    mined_from: Mapping[str, Any] = field(default_factory=dict)


def protocol_text(protocol: Protocol) -> str:
    """The YAML of a protocol."""
    steps = []
    for number, step in enumerate(protocol.steps, start=1):
        entry: dict[str, Any] = {"number": number, "title": step.title, "establish": step.establish}
        if step.shared:
            entry["shared"] = step.shared
        entry["also_called"] = list(step.also_called)
        entry["statistics"] = dict(step.statistics)
        entry["sources"] = list(step.sources)
        steps.append(entry)
    return _HEAD.format(task=TASKS[protocol.task].title) + _dump(
        {"task": protocol.task, "mined_from": dict(protocol.mined_from), "steps": steps}
    )


def shared_text(hints: Mapping[str, SharedHint]) -> str:
    """The YAML of the shared hints."""
    entries = {name: {"title": hint.title, "establish": hint.establish, "tasks": list(hint.tasks)} for name, hint in hints.items()}
    return _SHARED_HEAD + _dump({"hints": entries})


def _dump(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def read_protocols(folder: Path) -> tuple[dict[str, Protocol], dict[str, SharedHint]]:
    """All protocols of a folder by task, and the shared hints by name.

    Raises:
        MiningInputError: a file cannot be read or breaks a rule; the message names the file, the field and what was expected.
    """
    hints: dict[str, SharedHint] = {}
    shared = folder / f"{SHARED}.yaml"
    if shared.is_file():
        hints = _shared(shared)
    protocols: dict[str, Protocol] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.stem == SHARED or path.stem.endswith(".mined"):
            continue
        protocol = _protocol(path, hints)
        if protocol.task != path.stem:
            raise _wrong(path, "task", protocol.task, f"{path.stem}, as the file is called")
        protocols[protocol.task] = protocol
    if not protocols:
        raise MiningInputError(f"{folder} holds no protocol (<task>.yaml); run `chemr protocols merge` first, or write one")
    return protocols, hints


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _wrong(path: Path, name: str, found: Any, expected: str) -> MiningInputError:
    return MiningInputError(f"{path}: {name}: found {str(found)[:120]!r}, expected {expected}")


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MiningInputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise _wrong(path, "the file", content, "a mapping with the fields task and steps")
    return content


def _shared(path: Path) -> dict[str, SharedHint]:
    hints = _load(path).get("hints")
    if not isinstance(hints, Mapping):
        raise _wrong(path, "hints", hints, "a mapping of names to hints")
    found: dict[str, SharedHint] = {}
    for name, entry in hints.items():
        where = f"hints.{name}"
        if not isinstance(entry, Mapping):
            raise _wrong(path, where, entry, "a mapping with the fields title and establish")
        _only(path, where, entry, ("title", "establish", "tasks"))
        found[str(name)] = SharedHint(
            _title(path, f"{where}.title", entry.get("title")),
            _text(path, f"{where}.establish", entry.get("establish")),
            _texts(path, f"{where}.tasks", entry.get("tasks")),
        )
    return found


def _protocol(path: Path, hints: Mapping[str, SharedHint]) -> Protocol:
    content = _load(path)
    _only(path, "the file", content, ("task", "mined_from", "steps"))
    task = content.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise _wrong(path, "task", task, f"one of {', '.join(sorted(TASKS))}")
    entries = content.get("steps")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not 1 <= len(entries) <= MAX_STEPS:
        raise _wrong(path, "steps", entries, f"a list of 1 to {MAX_STEPS} steps")
    steps = tuple(_step(path, f"steps[{number}]", entry, hints) for number, entry in enumerate(entries, start=1))
    seen: dict[str, int] = {}
    for number, step in enumerate(steps, start=1):
        folded = step.title.casefold()
        if folded in seen:
            raise _wrong(path, f"steps[{number}].title", step.title, f"another title than that of step {seen[folded]}")
        seen[folded] = number
    mined_from = content.get("mined_from") or {}
    if not isinstance(mined_from, Mapping):
        raise _wrong(path, "mined_from", mined_from, "a mapping")
    return Protocol(task, steps, mined_from)


def _step(path: Path, where: str, entry: Any, hints: Mapping[str, SharedHint]) -> ProtocolStep:
    if not isinstance(entry, Mapping):
        raise _wrong(path, where, entry, "a mapping with the fields title and establish")
    _only(path, where, entry, ("number", "title", "establish", "shared", "also_called", "statistics", "sources"))
    shared = entry.get("shared")
    if shared is not None and shared not in hints:
        raise _wrong(path, f"{where}.shared", shared, f"a name in {SHARED}.yaml ({', '.join(hints) or 'which has none'}), or no such field")
    statistics = entry.get("statistics") or {}
    if not isinstance(statistics, Mapping):
        raise _wrong(path, f"{where}.statistics", statistics, "a mapping, or no such field")
    return ProtocolStep(
        title=_title(path, f"{where}.title", entry.get("title")),
        establish=_text(path, f"{where}.establish", entry.get("establish")),
        shared=shared,
        also_called=_texts(path, f"{where}.also_called", entry.get("also_called")),
        statistics=statistics,
        sources=_texts(path, f"{where}.sources", entry.get("sources")),
    )


def _only(path: Path, where: str, entry: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in entry:
        if name not in known:
            raise _wrong(path, f"{where}: field", name, f"one of {', '.join(known)}")


def _title(path: Path, where: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= MAX_TITLE_CHARS or "*" in value or "\n" in value:
        raise _wrong(path, where, value, f"1 to {MAX_TITLE_CHARS} characters on one line, without '*'")
    return value.strip()


def _text(path: Path, where: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(path, where, value, "a text (put it in quotes)")
    return " ".join(value.split())


def _texts(path: Path, where: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise _wrong(path, where, value, "a list of texts")
    return tuple(value)
