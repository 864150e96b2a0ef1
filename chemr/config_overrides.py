"""What a person may type as ``field=value``: names that exist, values that Hydra's grammar reads, texts that stay the texts they were.

Hydra would take a new key under any name (``+grpo.stepps=7``), reads ``1e5`` as a number where a name is wanted, and names neither the
override nor the remedy when its grammar ends at a ``=``.
"""

from __future__ import annotations

import functools
import re
import shlex
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from chemr.nearest_name import did_you_mean

EXPERIMENT = "experiment"  # the one name that is no field: which file of conf/experiment is read
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z/][A-Za-z0-9._/-]*", re.IGNORECASE | re.ASCII)  # a text to Hydra, unquoted
_UNREADABLE = re.compile(r"[^A-Za-z0-9_/\-\\+.$%*@?|:\s]", re.ASCII)  # outside quotes
_ALL_FIELDS = "`chemr train --cfg job` prints all fields"


class OverrideError(ValueError):
    """An override that cannot be followed; the message names it, what was found, and what to type instead."""


@dataclass(frozen=True)
class Fields:
    """The fields of a dataclass of settings by their dotted names, which begin with ``prefix`` (e.g. ``cluster.``)."""

    schema: type[Any]
    prefix: str = ""

    @functools.cached_property
    def names(self) -> list[str]:
        return field_names(self.schema, self.prefix)

    @functools.cached_property
    def mappings(self) -> list[str]:
        """The fields that hold entries under names of the user's own."""
        return [name for name in self.names if isinstance(self._default(name), dict)]

    def is_section(self, name: str) -> bool:
        return any(field.startswith(f"{name}.") for field in self.names)

    def mapping_of(self, name: str) -> str | None:
        """The mapping that a name is, or is an entry of."""
        return next((field for field in self.mappings if name == field or name.startswith(f"{field}.")), None)

    def knows(self, name: str) -> bool:
        element = re.fullmatch(r"(.+)\.\d+", name)  # of a list
        return name in self.names or self.is_section(name) or bool(self.mapping_of(name)) or bool(element and element[1] in self.names)

    def is_text(self, name: str) -> bool:
        """Whether the field holds a text, or a list of texts."""
        hint = self._type_of(name)
        return str in (hint, *typing.get_args(hint))

    def may_be_null(self, name: str) -> bool:
        return type(None) in typing.get_args(self._type_of(name))

    def unknown(self, name: str) -> str:
        """The message for a name that is no field: with the nearest that is one."""
        return f"unknown field {name!r}" + (did_you_mean(name, self.names, cutoff=0.5) or f"; {_ALL_FIELDS}")

    def unknown_key(self, content: Mapping[Any, Any], name: str = "") -> str | None:
        """The dotted name of the first key of nested mappings, which stand at ``name``, that is no field."""
        for inside, _ in leaves(content, f"{name}." if name else self.prefix):
            if not self.knows(inside):
                return inside
        return None

    def _default(self, name: str) -> Any:
        return functools.reduce(getattr, name.removeprefix(self.prefix).split("."), self.schema())

    def _type_of(self, name: str) -> Any:
        path, _, last = name.removeprefix(self.prefix).rpartition(".")
        holder = self._default(path) if path else self.schema()
        return typing.get_type_hints(type(holder)).get(last) if is_dataclass(holder) else None


def hydra_arguments(overrides: Sequence[str], known: Fields) -> list[str]:
    """The overrides as Hydra has to be given them, so that each means what was typed.

    Raises:
        OverrideError: for the first that sets no field, or whose value cannot be read.
    """
    return [_argument(override, known) for override in overrides]


def override_values(overrides: Sequence[str], known: Fields) -> dict[str, Any]:
    """The same grammar and checks for settings that Hydra does not compose: nested mappings, without the prefix of ``known``.

    Raises:
        OverrideError: as :func:`hydra_arguments`.
    """
    content: dict[str, Any] = {}
    for argument in hydra_arguments(overrides, known):
        name, _, value = argument.lstrip("+").partition("=")
        *sections, last = name.removeprefix(known.prefix).split(".")
        section = functools.reduce(lambda inside, part: inside.setdefault(part, {}), sections, content)
        section[last] = _merged(section.get(last), _parsed(name, value))
    return content


def _merged(old: Any, new: Any) -> Any:
    """What two overrides of one field make: mappings are merged, as Hydra merges them; of anything else the later one counts."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


def field_names(schema: type[Any], prefix: str = "") -> list[str]:
    """Every dotted field of a dataclass, after ``prefix``."""
    names: list[str] = []
    instance = schema()
    for item in fields(schema):
        value = getattr(instance, item.name)
        names += field_names(type(value), f"{prefix}{item.name}.") if is_dataclass(value) else [prefix + item.name]
    return names


def quoted(value: str) -> str:
    """A text as a value of a Hydra override, quoted if its grammar needs that."""
    if _PLAIN.fullmatch(value):
        return value
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)  # backslashes count only before a quote
    trailing = len(value) - len(value.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def as_typed(argument: str) -> str:
    """An argument as one types it in a shell; in double quotes where that is enough, since it may hold single ones for Hydra."""
    return f'"{argument}"' if "'" in argument and not re.search(r'["$`\\!]', argument) else shlex.quote(argument)


def leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in nested mappings that is none itself; an empty one counts as a value."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _argument(override: str, known: Fields) -> str:
    marks, name, equals, value = re.fullmatch(r"([+~]*)([^=]*)(=?)(.*)", override, re.DOTALL).groups()  # type: ignore[union-attr]
    if "~" in marks:
        remedy = f"{EXPERIMENT}=null leaves the experiment out" if name == EXPERIMENT else f"set it, e.g. {name}=null where it may be unset"
        raise OverrideError(f"{override}: a field cannot be removed; {remedy}")
    if not equals:
        raise OverrideError(f"{override!r} is not an override of the form field=value")
    if re.match(r"hydra\b", name):
        raise OverrideError(
            f"{override}: chemr is not run by Hydra's launcher, so hydra.* would do nothing; your own files are found with --config-dir"
        )
    if name == EXPERIMENT and not known.prefix:
        return f"{name}={value}"
    if not _NAME.fullmatch(name) or not known.knows(name):
        raise OverrideError(known.unknown(name))
    parsed = _parsed(name, value)
    mapping = known.mapping_of(name)
    if mapping is not None:
        return _new_entry(mapping, name, value)
    if known.is_section(name):
        _check_section(override, name, parsed, known)
    elif known.is_text(name):
        return f"{name}={_kept_text(override, name, value, parsed, known)}"
    return f"{name}={value}"


def _parsed(name: str, value: str) -> Any:
    """What Hydra reads. Raises OverrideError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    typed = f"{name}={value}"
    try:
        override = OverridesParser.create().parse_override(typed)
        if not override.is_sweep_override():
            return override.value()
    except HydraException as error:
        raise OverrideError(f"{typed}: {_unread(value, error)}; type it as {as_typed(f'{name}={_requoted(value)}')}") from error
    listed = as_typed(f"{name}=[{value}]")
    raise OverrideError(f"{typed} names several values; type a list as {listed}, a text as {as_typed(f'{name}={quoted(value)}')}")


def _unread(value: str, error: Exception) -> str:
    """Which character of a value ended Hydra's reading."""
    body = value[1:-1] if value[:1] + value[-1:] in ("[]", "''", '""') else value
    place = _UNREADABLE.search(body.replace(",", " ") if body is not value and value[0] == "[" else body)
    if place is None:
        return f"the value {value!r} cannot be read ({str(error).splitlines()[0]})"
    return f"the value holds {place[0]!r}, which has a meaning of its own outside quotes"


def _requoted(value: str) -> str:
    if value[:1] + value[-1:] == "[]":
        return f"[{','.join(_requoted(item.strip()) for item in value[1:-1].split(','))}]"
    inside = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return quoted(inside)


def _new_entry(mapping: str, name: str, value: str) -> str:
    """Hydra takes new entries of a mapping only with "++" and only under its own name: ``a.floors.x=1`` becomes ``++a.floors={x: 1}``."""
    for key in reversed(name.removeprefix(mapping).split(".")[1:]):
        value = f"{{{key}: {value}}}"
    return f"++{mapping}={value}"


def _kept_text(override: str, name: str, value: str, parsed: Any, known: Fields) -> str:
    """The value with quotes where Hydra would otherwise make a text into a number: ``run.name=1e5`` is not ``100000.0``."""
    if parsed is None and not known.may_be_null(name):
        typed = as_typed(f"{name}='null'")
        raise OverrideError(f"{override}: {name} is a text and cannot be null; if that is the text, type {typed}")
    if isinstance(parsed, bool | int | float):
        return quoted(value.strip())
    if isinstance(parsed, list):
        _check_texts(override, name, parsed)
    return value


def _check_texts(override: str, name: str, items: Iterable[Any]) -> None:
    for item in items:
        if isinstance(item, bool | int | float):
            raise OverrideError(f"{override}: {name} takes texts, and one is read as the number {item}; put it in single quotes")


def _check_section(override: str, name: str, parsed: Any, known: Fields) -> None:
    if not isinstance(parsed, Mapping):
        inside = next(field for field in known.names if field.startswith(f"{name}."))
        raise OverrideError(f"{override}: {name} is a section of fields; set one of them, e.g. {inside}=...")
    unknown = known.unknown_key(parsed, name)
    if unknown is not None:
        raise OverrideError(f"{override}: {known.unknown(unknown)}")
    for inside, value in leaves(parsed, f"{name}."):
        if inside in known.names and known.is_text(inside):
            _check_texts(override, inside, value if isinstance(value, list) else [value])
