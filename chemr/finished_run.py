"""What a run's directory says of it without opening the run: whether it is finished, and what it was made with."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from chemr.exit_status import UsageError

CONFIG, SUMMARY, MODEL = "config.yaml", "summary.json", "model"


def has_finished(directory: Path, stages: Iterable[str] | None = None) -> bool:
    """Whether a run has its model and a summary of all its stages; None = those that its own ``config.yaml`` names.

    Raises UsageError, ConfFileError for a file that is damaged.
    """
    summary = directory / SUMMARY
    if not summary.is_file() or not (directory / MODEL).is_dir():
        return False
    if stages is None:
        stored = stored_config(directory)
        if stored is None:
            return False
        stages = stored["stages"]
    try:
        content = json.loads(summary.read_bytes())
    except ValueError as error:
        raise UsageError(f"{summary} is damaged ({error}); move it away, and run.resume=auto writes it again") from error
    return set(map(str, stages)) <= set(content.get("stages", {}) if isinstance(content, dict) else ())


def stored_config(directory: Path) -> dict[str, Any] | None:
    """The whole configuration that a run was last started with; None for a directory that holds no run. Raises ConfFileError."""
    from chemr.conf_files import read_yaml  # not for whoever completes a word on TAB

    path = directory / CONFIG
    if not path.is_file():
        return None
    content = read_yaml(path)
    return content if isinstance(content, dict) else None


def leaves(config: Mapping[str, Any], mappings: Collection[str] = (), prefix: str = "") -> dict[str, Any]:
    """Every field of a configuration by its dotted name. ``mappings``: fields whose entries the user has named; they stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in mappings:
            found |= leaves(value, mappings, f"{name}.")
        else:
            found[name] = value
    return found


def differing_fields(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], mappings: Collection[str] = (), beside: Collection[str] = ()
) -> list[tuple[str, Any, Any]]:
    """(dotted name, stored, wanted) of every field that differs. One that only one of them has is of another version of chemr, and is none.

    Args:
        mappings: see :func:`leaves`.
        beside: fields and sections that do not count.
    """
    old, new = leaves(stored, mappings), leaves(wanted, mappings)
    counted = (name for name in sorted(old.keys() & new.keys()) if not any(f"{name}.".startswith(f"{one}.") for one in beside))
    return [(name, old[name], new[name]) for name in counted if old[name] != new[name]]
