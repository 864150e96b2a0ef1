"""YAML files that are named as experiments are: in a folder of the user's, then among the shipped ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def find_conf_file(kind: str, name: str, folders: Sequence[Path]) -> Path | None:
    """``name`` if it ends like a YAML file and is one, else ``<kind>/<name>.yaml`` of the first folder that has it."""
    named = Path(name).suffix in (".yaml", ".yml")
    places = [Path(name)] if named else [folder / kind / f"{name}.yaml" for folder in folders]
    return next((place for place in places if place.is_file()), None)


def conf_file_names(kind: str, folders: Sequence[Path]) -> list[str]:
    """What :func:`find_conf_file` finds by name, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / kind).glob("*.yaml")})
