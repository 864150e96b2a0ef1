"""What is compared: arms of an experiment, described in ``conf/arms/<name>.yaml`` or a file of the user's.

An arm is the experiment with some fields set otherwise. It may go on from another arm's finished run of the same seed, so that the stages
they share are trained once; what they share is then exactly equal, which makes their comparison sharper, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.conf_files import ConfFileError, conf_file_names, find_conf_file, read_yaml

FIELDS = frozenset({"title", "from", "set"})
RESERVED = ("run.name=", "run.root=", "run.seed=", "run.resume=", "run.start_from=")


class ArmsError(ValueError):
    """A description of arms that cannot be followed; the message names file, field and expectation."""


@dataclass(frozen=True, slots=True)
class Arm:
    """``overrides``: Hydra overrides on top of the experiment's; ``base``: the arm it goes on from, empty for none."""

    name: str
    title: str
    overrides: tuple[str, ...]
    base: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arms by name, each after the one it goes on from. Differences are taken to ``reference``."""

    name: str
    arms: Mapping[str, Arm]
    reference: str


def load_comparison(name: str, folders: list[Path]) -> Comparison:
    """The comparison in ``name`` if that is a file, else in ``arms/<name>.yaml`` of the first folder that has it.

    Raises:
        ArmsError: there is none, or it cannot be followed.
    """
    path = find_conf_file("arms", name, folders)
    if path is None:
        known = ", ".join(conf_file_names("arms", folders))
        raise ArmsError(f"arms={name}: no such description; known: {known}, or give the path of a .yaml file")
    try:
        content = read_yaml(path)
    except ConfFileError as error:
        raise ArmsError(str(error)) from error
    if not isinstance(content, dict) or content.keys() != {"arms", "reference"} or not isinstance(content["arms"], dict):
        raise ArmsError(f"{path}: expected the fields 'reference' and 'arms' (a mapping of arms by name)")
    arms = {str(name): _arm(path, str(name), fields) for name, fields in content["arms"].items()}
    reference = content["reference"]
    if reference not in arms:
        raise ArmsError(f"{path}: reference {reference!r} is none of the arms {', '.join(arms)}")
    return Comparison(path.stem, _in_order(path, arms), reference)


def _arm(path: Path, name: str, fields: Any) -> Arm:
    if not isinstance(fields, dict) or not fields.keys() <= FIELDS or "set" not in fields:
        raise ArmsError(f"{path}: arm {name!r} should have 'set' and may have 'title' and 'from'; found {fields!r}")
    overrides = fields["set"]
    if not isinstance(overrides, list) or not all(isinstance(one, str) and "=" in one for one in overrides):
        raise ArmsError(f"{path}: arm {name!r}: 'set' should be a list of overrides like 'grpo.steps=10'; found {overrides!r}")
    taken = [one for one in overrides if one.startswith(RESERVED)]
    if taken:
        raise ArmsError(f"{path}: arm {name!r} sets {taken[0]!r}, which the comparison itself decides")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ArmsError(f"{path}: arm {name!r} becomes part of a folder's name: use letters, digits, - and _")
    return Arm(name, str(fields.get("title", name)), tuple(overrides), str(fields.get("from", "")))


def _in_order(path: Path, arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Every arm after its base; otherwise as in the file."""
    ordered: dict[str, Arm] = {}
    waiting = dict(arms)
    while waiting:
        ready = [arm for arm in waiting.values() if not arm.base or arm.base in ordered]
        if not ready:
            stuck = ", ".join(f"{arm.name} from {arm.base}" for arm in waiting.values())
            raise ArmsError(f"{path}: these arms go on from one that is not there, or in a circle: {stuck}")
        for arm in ready:
            ordered[arm.name] = waiting.pop(arm.name)
    return ordered
