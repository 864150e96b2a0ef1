"""The reference of all settings, from the dataclasses that define them: names, types, defaults, and what their docstrings say."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from field_docs import field_docs, summary

from chemr.config import ChemrConfig, load
from chemr.k8s.cluster_config import ClusterConfig

ROOT = Path(__file__).resolve().parents[2]
_NOTHING = object()


def configuration_markdown() -> str:
    """One section a dataclass, ``run`` to ``mining``, then ``cluster``; nested settings have sections of their own."""
    starter, _ = load(["experiment=starter"])
    shown: dict[type, tuple[str, Any]] = {}
    parts = ["## The top level", _table(ChemrConfig(), starter, ""), *_choices(ChemrConfig)]
    for field in fields(ChemrConfig):
        default = getattr(ChemrConfig(), field.name)
        if is_dataclass(default):
            parts += _section(default, getattr(starter, field.name), field.name, 2, shown)
    parts.append(
        "## `cluster`, of `chemr k8s render`\n\nThese are no settings of a run; [kubernetes.md](kubernetes.md) says how they are used."
    )
    parts += _section(ClusterConfig(), _NOTHING, "cluster", 3, shown)
    return "\n\n".join(part for part in parts if part) + "\n"


def documented_fields() -> Iterator[tuple[str, str]]:
    """Dotted name of every single setting, and what is said about it."""
    for prefix, instance in (("", ChemrConfig()), ("cluster.", ClusterConfig())):
        yield from _documented(instance, prefix)


def _documented(instance: Any, prefix: str) -> Iterator[tuple[str, str]]:
    docs = field_docs(type(instance))
    for field in fields(instance):
        value = getattr(instance, field.name)
        if is_dataclass(value):
            yield from _documented(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", docs.get(field.name, "")
            entry = _entry_class(type(instance), field.name)
            if entry is not None:
                yield from _documented(entry(), f"{prefix}{field.name}.NAME.")


def _section(instance: Any, starter: Any, name: str, level: int, shown: dict[type, tuple[str, Any]]) -> list[str]:
    cls = type(instance)
    head = f"{'#' * level} `{name}`"
    if cls in shown and shown[cls][1] == instance:
        other = shown[cls][0]
        same = f"As [`{other}`](#{_slug(other)})" + _differences(instance, starter)
        return [head, same]
    shown.setdefault(cls, (name, instance))
    module = cls.__module__.replace(".", "/") + ".py"
    parts = [head, f"{_links(summary(cls))} Defined in [`{module}`](../{module}).", _table(instance, starter, f"{name}."), *_choices(cls)]
    for field in fields(instance):
        value = getattr(instance, field.name)
        nested = _NOTHING if starter is _NOTHING else getattr(starter, field.name)
        if is_dataclass(value):
            parts += _section(value, nested, f"{name}.{field.name}", min(level + 1, 4), shown)
        entry = _entry_class(cls, field.name)
        if entry is not None:
            parts += _section(entry(), _NOTHING, f"{name}.{field.name}.NAME", min(level + 1, 4), shown)
    return parts


def _differences(instance: Any, starter: Any) -> str:
    if starter is _NOTHING or starter == instance:
        return "."
    values = {field.name: getattr(starter, field.name) for field in fields(instance)}
    changed = [f"`{name}={_value(value)}`" for name, value in values.items() if value != getattr(instance, name)]
    return f"; the starter sets {', '.join(changed)}."


def _table(instance: Any, starter: Any, prefix: str) -> str:
    docs, hints = field_docs(type(instance)), typing.get_type_hints(type(instance))
    rows = []
    for field in fields(instance):
        value = getattr(instance, field.name)
        if is_dataclass(value):
            continue
        default = f"`{_value(value)}`" if field.default is not MISSING or field.default_factory is not MISSING else "–"
        if starter is not _NOTHING and getattr(starter, field.name) != value:
            default += f"; starter: {_starter_value(getattr(starter, field.name))}"
        rows.append(f"| `{prefix}{field.name}` | {_type(hints[field.name])} | {default} | {_cell(docs.get(field.name, ''))} |")
    if not rows:
        return ""
    return "\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *rows])


def _choices(cls: type) -> list[str]:
    """A list for every enumeration whose members are explained."""
    lines = []
    for name, hint in typing.get_type_hints(cls).items():
        for one in (hint, *typing.get_args(hint)):
            if isinstance(one, type) and issubclass(one, Enum):
                docs = field_docs(one)
                said = [f"  * `{member.name}`: {_links(docs[member.name])}" for member in one if member.name in docs]
                if said:
                    lines.append(f"* `{name}`: {_links(summary(one))}\n" + "\n".join(said))
    return ["\n".join(lines)] if lines else []


def _entry_class(cls: type, name: str) -> type | None:
    """The dataclass of the entries of a mapping whose keys are the user's."""
    for one in typing.get_args(typing.get_type_hints(cls)[name]):
        if is_dataclass(one) and isinstance(one, type):
            return one
    return None


def _type(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (list, tuple, dict):
        inner = ", ".join(_type(argument) for argument in arguments)
        return f"{typing.get_origin(hint).__name__} of {inner}"
    if arguments:
        return " or ".join("null" if argument is type(None) else _type(argument) for argument in arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.name}`" for member in hint)
    return str(hint.__name__)


def _value(value: Any) -> str:
    """As on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return str(value).replace(str(ROOT) + "/", "")


def _starter_value(value: Any) -> str:
    text = _value(value)
    return f"`{text}`" if len(text) <= 40 else f"{len(value)} of them"


def _cell(text: str) -> str:
    return _links(text).replace("|", r"\|")


def _links(text: str) -> str:
    text = re.sub(r"(?<!\[)\bdocs/([\w-]+)\.md", r"[docs/\1.md](\1.md)", text)
    return re.sub(r"(?<![\[/\w])((?:chemr|actors|learner|rewards)/[\w/]+\.py)", r"[\1](../\1)", text)


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]", "", name.lower())
