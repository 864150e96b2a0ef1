"""What TAB offers for an argument, as functions that argcomplete calls. Light: parsers name them when they are built.

Each takes what has been typed of the word (``prefix``) and, by keyword, what argcomplete knows besides, and returns whole words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Words = Callable[..., Iterable[str]]


def paths(prefix: str, *, wanted: Callable[[Path], bool] = lambda path: True, **_: object) -> list[str]:
    """Files that are ``wanted`` and all folders, the latter with a slash at the end; hidden ones only when asked for."""
    folder, slash, begun = prefix.rpartition("/")
    place = Path(f"{folder}{slash}" or ".").expanduser()
    try:
        entries = sorted(place.iterdir())
    except OSError:
        return []
    found = [entry for entry in entries if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))]
    return [f"{folder}{slash}{entry.name}" + ("/" if entry.is_dir() else "") for entry in found if entry.is_dir() or wanted(entry)]


def folders(prefix: str, **_: object) -> list[str]:
    return paths(prefix, wanted=lambda path: False)


def run_folders(prefix: str, *, root: Path = Path("runs"), **_: object) -> list[str]:
    """Folders of runs and the folders on the way; before anything is typed those below ``root``."""
    offered = folders(prefix or (f"{root}/" if root.is_dir() else ""))
    return [offer.rstrip("/") if is_run(Path(offer).expanduser()) else offer for offer in offered]


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "trajectories").is_dir()


def settings_words(names: Callable[[], Iterable[str]]) -> Words:
    """``NAME=NUMBER`` arguments: the names, each with its ``=``."""
    return lambda prefix, **_: [f"{name}=" for name in names() if f"{name}=".startswith(prefix)]


def suite_names() -> Iterable[str]:
    from chemr.completion.overrides import SUITES

    return SUITES


def task_names() -> Iterable[str]:
    from chemr.tasks import TASKS

    return TASKS


def conf_names(kind: str) -> Words:
    """Names of the YAML files in ``conf/<kind>`` and in the same folder of --config-dir."""

    def words(prefix: str, *, config_dir: Path | None = None, **_: object) -> list[str]:
        from chemr.conf_files import conf_file_names
        from chemr.config import conf_directory

        return conf_file_names(kind, [*([config_dir] if config_dir is not None else []), conf_directory()])

    return words


def several(words: Words) -> Words:
    """``a,b,c`` of what ``words`` offers for one; what was named is not offered again."""

    def listed(prefix: str, **context: object) -> list[str]:
        before, comma, begun = prefix.rpartition(",")
        named = before.split(",")
        return [f"{before}{comma}{word}" for word in words(begun, **context) if word.startswith(begun) and word not in named]

    return listed


def either(*known: str) -> Words:
    return lambda prefix, **_: known


def override_words(schemas: Mapping[str, Callable[[], type[Any]]], own: Mapping[str, Words]) -> Words:
    """``NAME=VALUE`` words.

    Args:
        schemas: where the fields of a dataclass hang (``""``, ``"cluster."``) -> how to come by it; a function, for imports that take time.
        own: other names -> what their values can be.
    """

    def words(prefix: str, parsed_args: Any = None, **_: object) -> list[str]:
        from chemr.completion.overrides import complete

        config_dir = getattr(parsed_args, "config_dir", None)
        return complete(prefix, {where: schema() for where, schema in schemas.items()}, own, config_dir)

    return words


def field_words(schema: Callable[[], type[Any]]) -> Words:
    """``NAME=VALUE`` of the fields of one dataclass."""
    return override_words({"": schema}, {})


def run_schema() -> type[Any]:
    from chemr.config import ChemrConfig

    return ChemrConfig
