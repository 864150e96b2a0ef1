"""What is wrong with a manifest, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """``path`` is the field inside the object, e.g. ``spec.rayClusterSpec.workerGroupSpecs[0].replicas``."""

    source: str
    owner: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.owner}: {self.path}: {self.message}"


def owner_of(document: Object) -> str:
    """``RayJob/chemr``."""
    metadata = document.get("metadata")
    return f"{document.get('kind')}/{metadata.get('name') if isinstance(metadata, dict) else None}"


def mapping(value: Any) -> Object:
    """The value if it is a mapping, else an empty one: rules read objects whose shape another check complains about."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def get(value: Any, path: str) -> Any:
    """The value at a dotted path of mappings, or None."""
    for step in path.split("."):
        value = mapping(value).get(step)
    return value
