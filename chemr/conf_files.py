"""YAML files that are named as experiments are: in a folder of the user's, then among the shipped ones; and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from chemr.config_overrides import EXPERIMENT, Fields

if TYPE_CHECKING:
    from yaml.nodes import Node

PACKAGE = "# @package _global_"  # what puts the keys of an experiment's file at the root of the configuration
BESIDE_FIELDS = ("defaults",)  # the one key of an experiment's file that is no field


class ConfFileError(ValueError):
    """A YAML file of the user's that cannot be used; the message names file, line, what was found, and the remedy."""


def find_conf_file(kind: str, name: str, folders: Sequence[Path]) -> Path | None:
    """``name`` if it ends like a YAML file and is one, else ``<kind>/<name>.yaml`` of the first folder that has it."""
    named = Path(name).suffix in (".yaml", ".yml")
    places = [Path(name)] if named else [folder / kind / f"{name}.yaml" for folder in folders]
    return next((place for place in places if place.is_file()), None)


def conf_file_names(kind: str, folders: Sequence[Path]) -> list[str]:
    """What :func:`find_conf_file` finds by name, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / kind).glob("*.yaml")})


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of the user's. Raises ConfFileError."""
    try:
        return yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise ConfFileError(yaml_problem(error, path)) from error


def yaml_problem(error: yaml.YAMLError, path: Path | None = None) -> str:
    """PyYAML's complaint in one line: file, line, column and what is wrong there. ``path``: the file, where it is known."""
    mark = getattr(error, "problem_mark", None)
    what = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None)))) or " ".join(str(error).split())
    if mark is None:
        return f"{path or 'a configuration file'} is not YAML: {what}"
    return f"{path or mark.name}:{mark.line + 1}:{mark.column + 1}: not YAML: {what}"


def check_experiment(name: str, folders: Sequence[Path], known: Fields) -> None:
    """Reads the user's own file of an experiment, and those that its ``defaults`` name, before Hydra does.

    Hydra would say of a wrong key or a broken line neither file nor line, and would make texts into numbers.

    Args:
        folders: of the user's; a shipped experiment is as it should be.

    Raises:
        ConfFileError: for the first file with something wrong in it.
    """
    waiting, seen = [Path(EXPERIMENT) / f"{name}.yaml"], set()
    while waiting:
        place = waiting.pop()
        file = next((folder / place for folder in folders if (folder / place).is_file()), None)
        if file is None or file in seen:
            continue
        seen.add(file)
        waiting += [place.parent / other for other in _check_file(file, known)]


def _check_file(path: Path, known: Fields) -> list[str]:
    """Returns the files that its ``defaults`` name, relative to its folder. Raises ConfFileError."""
    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfFileError(yaml_problem(error, path)) from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfFileError(f"{path}: expected fields and their values, e.g. `run: {{name: mine}}`; found {root.value!r:.60}")
    header = re.match(r"\s*(?:#.*\n\s*)*?#\s*@package\s+(\S+)", text)
    if header is None or header[1] not in ("_global_", ""):
        raise ConfFileError(f"{path}: the first line must be `{PACKAGE}`: without it no key is one of the configuration's")
    for key, value in root.value:
        if key.value not in BESIDE_FIELDS:
            _check_node(path, key, value, "", known)
    content = next((value for key, value in root.value if key.value == "defaults"), None)
    return list(_named_files(yaml.SafeLoader("").construct_document(content))) if isinstance(content, yaml.SequenceNode) else []


def _check_node(path: Path, key: Node, value: Node, above: str, known: Fields) -> None:
    name = f"{above}{key.value}"
    place = f"{path}:{key.start_mark.line + 1}"
    if not known.knows(name):
        raise ConfFileError(f"{place}: {known.unknown(name)}")
    if isinstance(value, yaml.MappingNode):
        for inside, content in value.value:
            _check_node(path, inside, content, f"{name}.", known)
    elif known.is_section(name):
        raise ConfFileError(f"{place}: {name} is a section of fields, and was given the value {value.value!r:.60}")
    elif name in known.names and known.is_text(name):
        for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            _check_text(f"{path}:{item.start_mark.line + 1}", name, item)


def _check_text(place: str, name: str, item: Node) -> None:
    """A text that YAML reads as something else must stand in quotes: ``1e5``, ``on``, ``007``, ``12:30``."""
    if not isinstance(item, yaml.ScalarNode) or item.style is not None or "${" in item.value:
        return
    from omegaconf import OmegaConf

    read = OmegaConf.to_container(OmegaConf.create(f"- {item.value}" if item.value else "[null]"))
    found = read[0] if isinstance(read, list) else None
    if found is not None and str(found) != item.value:
        raise ConfFileError(f"{place}: {name} is a text, and YAML reads {item.value} as {found}; put it in quotes: {item.value!r}")


def _named_files(defaults: Any) -> Iterator[str]:
    for entry in defaults if isinstance(defaults, list) else ():
        for group, name in entry.items() if isinstance(entry, dict) else [("", entry)]:
            if isinstance(name, str) and name != "_self_" and not str(group).startswith("override "):
                absolute = f"../{group or ''}/{name}" if str(group).startswith("/") else f"..{name}" if name.startswith("/") else None
                yield f"{absolute or (f'{group}/{name}' if group else name)}.yaml"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfFileError(f"{path} is not a text file in UTF-8 (byte {error.start}); a YAML file was expected") from error
    except OSError as error:
        raise ConfFileError(f"{path} cannot be read: {error.strerror}") from error
