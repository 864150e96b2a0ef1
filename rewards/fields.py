"""Typed access to the JSON-like fields of a row. What is missing or of the wrong type is the row's fault, so it is a bad reference."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rewards.errors import BadReferenceError

OPSIN_FIELD = "_opsin"
"""SMILES that OPSIN reads from the answer, put into ``inputs`` by the pool. Fields that begin with ``_`` are the pool's, never a row's."""
CLAIMS_FIELD = "_claims"
"""Functional groups that the reasoning claims, put there by the pool when the grounded term is on."""
GROUNDING_FIELD = "_grounding"
"""Weight of the grounded term, beside the claims."""


def text_field(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadReferenceError(f"field {name!r} should be a non-empty string, found {value!r}; fields present: {sorted(fields)}")
    return value


def optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    """The text, or None when the row has no such field at all: an open question has no ``answer``."""
    return text_field(fields, name) if fields.get(name) is not None else None


def texts_field(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) and item for item in value):
        raise BadReferenceError(f"field {name!r} should be a non-empty list of strings, found {value!r}")
    return tuple(value)


def counts_field(fields: Mapping[str, Any], name: str) -> dict[str, int]:
    """A mapping of names to integers of at least 1."""
    value = fields.get(name)
    if not isinstance(value, Mapping) or not value:
        raise BadReferenceError(f"field {name!r} should be a non-empty mapping of names to counts, found {value!r}")
    for key, count in value.items():
        if not isinstance(key, str) or isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise BadReferenceError(f"field {name!r}: {key!r} should have an integer count of at least 1, found {count!r}")
    return dict(value)


def optional_size(fields: Mapping[str, Any], name: str) -> float | None:
    """A positive finite number, or None when the row has no such field at all."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < sys.float_info.max:
        raise BadReferenceError(f"field {name!r} should be a positive finite number, found {value!r}")
    return float(value)


def choice_field(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = text_field(fields, name)
    if value not in choices:
        raise BadReferenceError(f"field {name!r} should be one of {', '.join(choices)}, found {value!r}")
    return value
