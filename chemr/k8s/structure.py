"""Structural schemas as the API server applies them: unknown fields, types, enums, ranges, patterns, required fields, then CEL rules.

Only the fields that an object has are visited, so a check takes milliseconds on schemas of megabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chemr.k8s.cel_rules import broken_rules
from chemr.nearest_name import did_you_mean

Problem = tuple[str, str]  # path, message
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}


def problems(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[Problem]:
    """Everything in which ``value`` differs from an OpenAPI v3 structural schema."""
    if schema.get("x-kubernetes-int-or-string"):
        yield from _int_or_string(schema, value, path)
        return
    kind = schema.get("type")
    if value is None and schema.get("nullable"):
        return
    if kind is not None and not _is(value, kind):
        yield path, f"found {_shown(value)}, expected {_article(kind)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield (
            path,
            f"found {value!r}, expected one of {', '.join(map(str, schema['enum']))}{did_you_mean(str(value), map(str, schema['enum']))}",
        )
    yield from _limits(schema, value, path)
    if isinstance(value, dict):
        yield from _object(schema, value, path)
    elif isinstance(value, list):
        yield from _array(schema, value, path)
    yield from ((path, message) for message in broken_rules(schema, value))


def join(path: str, key: str) -> str:
    """Path of a field; keys that are not plain names stand in brackets."""
    plain = re.fullmatch(r"[A-Za-z_$][-A-Za-z0-9_$]*", key)
    return (f"{path}.{key}" if path else key) if plain else f"{path}[{key!r}]"


def _object(schema: dict[str, Any], value: dict[Any, Any], path: str) -> Iterator[Problem]:
    known: dict[str, Any] = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or others is True or (not known and others is None)
    if schema.get("x-kubernetes-embedded-resource"):
        known = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}} | known
    for key, entry in value.items():
        if not isinstance(key, str):
            yield path, f"found the key {key!r}, which is {_shown(key)}; keys are text (quote it)"
        elif key in known:
            if entry is None and not known[key].get("nullable"):
                continue  # as if it were not there; required fields are looked at below
            yield from problems(known[key], entry, join(path, key))
        elif isinstance(others, dict):
            if entry is not None or others.get("nullable"):
                yield from problems(others, entry, join(path, key))
        elif not free:
            yield join(path, key), f"unknown field{did_you_mean(key, known)}"
    for key in schema.get("required") or []:
        if value.get(key) is None and "default" not in known.get(key, {}):
            yield join(path, key), "required, and missing"
    limits = (("minProperties", min), ("maxProperties", max))
    for name, choose in limits:
        if name in schema and choose(len(value), schema[name]) != schema[name]:
            yield path, f"has {len(value)} entries, expected at {'least' if choose is min else 'most'} {schema[name]}"


def _array(schema: dict[str, Any], value: list[Any], path: str) -> Iterator[Problem]:
    if len(value) < schema.get("minItems", 0):
        yield path, f"has {len(value)} elements, expected at least {schema['minItems']}"
    if len(value) > schema.get("maxItems", len(value)):
        yield path, f"has {len(value)} elements, expected at most {schema['maxItems']}"
    for i, element in enumerate(value):
        yield from problems(schema.get("items") or {}, element, f"{path}[{i}]")
    if keys := schema.get("x-kubernetes-list-map-keys"):
        seen = set()
        defaults = (schema.get("items") or {}).get("properties") or {}
        for i, element in enumerate(value):
            if isinstance(element, dict):
                key = tuple(str(element.get(name, defaults.get(name, {}).get("default"))) for name in keys)
                if key in seen:
                    yield f"{path}[{i}]", f"a second element with {', '.join(f'{n}={v}' for n, v in zip(keys, key, strict=True))}"
                seen.add(key)


def _limits(schema: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield path, f"found {value!r}, which does not match {schema['pattern']}"
        if len(value) < schema.get("minLength", 0):
            yield path, f"has {len(value)} characters, expected at least {schema['minLength']}"
        if len(value) > schema.get("maxLength", len(value)):
            yield path, f"has {len(value)} characters, expected at most {schema['maxLength']}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = RANGES.get(schema.get("format", ""), (value, value))
        least, most = max(least, schema.get("minimum", least)), min(most, schema.get("maximum", most))
        if not least <= value <= most:
            yield path, f"found {value}, expected from {least} to {most}" if least != most else f"found {value}, outside its range"


def _int_or_string(schema: dict[str, Any], value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, (int, str, float)):
        yield path, f"found {_shown(value)}, expected a number or text"
    elif "pattern" in schema and not re.search(schema["pattern"], str(value)):
        yield path, f"found {value!r}, which is not an amount such as 2, 500m or 4Gi"
    else:
        yield from ((path, message) for message in broken_rules(schema, value))


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind])


def _shown(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    text = repr(value)
    return f"{names.get(type(value), type(value).__name__)} ({text if len(text) < 60 else text[:57] + '...'})"


def _article(kind: str) -> str:
    return {
        "object": "a mapping",
        "array": "a list",
        "string": "text (quote it)",
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
    }[kind]
