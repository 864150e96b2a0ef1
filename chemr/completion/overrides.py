"""``NAME=VALUE`` words completed from the dataclasses that the configuration is made of: names level by level, values by their types."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from actors.generator_config import DEVICES, DTYPES
from actors.pool_config import TRANSPORTS
from chemr.completion.words import Words, either, folders, is_run, paths, task_names

# Of texts and lists of texts: what the types do not say. The suites' module reads molecules with RDKit, too much for a TAB.
SUITES = ("chemllmbench", "chebi20", "tomg", "uspto", "chemdfm", "pubchem")
SOURCES = (
    "chemllmbench_names",
    "chemicals_names",
    "pubchem_iupac",
    "moleculenet",
    "chebi20",
    "pubchem_captions",
    "openmolins",
    "suzuki_selection",
    "rxn_yields",
    "uspto50k",
    "uspto15k",
    "uspto480k",
)


def run_names(prefix: str, **_: object) -> list[str]:
    root = Path("runs")
    return sorted(folder.name for folder in root.iterdir() if is_run(folder)) if root.is_dir() else []


TEXTS: Mapping[str, Words] = {
    "run.name": run_names,
    "run.root": folders,
    "run.start_from": folders,
    "policy.path": folders,
    "data.dir": folders,
    "data.cache_dir": folders,
    "data.tasks": lambda prefix, **_: task_names(),
    "data.published.sources": either(*SOURCES),
    "data.published.suites": either(*SUITES),
    "pool.address": either("auto"),
    "pool.weights.transport": either(*TRANSPORTS),
    "generator.device": either(*DEVICES),
    "generator.dtype": either(*DTYPES),
    "rewards.opsin": either("auto", "always", "never"),
    "distill.traces": paths,
    "eval.suite": either("starter", *SUITES),
    "eval.tasks": lambda prefix, **_: task_names(),
    "control.tls_certificate": paths,
    "control.tls_key": paths,
    "control.tls_client_ca": paths,
    "mining.pool.model": folders,
    "mining.pool.engine.device": either(*DEVICES),
    "mining.pool.engine.dtype": either(*DTYPES),
    "mining.cluster.embedding_model": folders,
}
PER_TASK = ("grpo.shaping.tasks", "grpo.curriculum.floors", "grpo.curriculum.caps", "grpo.curriculum.unlock")  # mappings by task


def complete(word: str, schemas: Mapping[str, type[Any]], own: Mapping[str, Words], config_dir: Path | None = None) -> list[str]:
    """Whole words that begin with ``word``.

    Args:
        schemas: prefix of names (``""`` or ``"cluster."``) -> the dataclass whose fields hang there.
        own: further names -> the function that offers their values.
    """
    bare = word.lstrip("+~")
    marks = word[: len(word) - len(bare)]
    name, equals, begun = bare.partition("=")
    if equals:
        offers = own[name](begun, config_dir=config_dir) if name in own else _field_values(name, begun, schemas)
        return [f"{marks}{name}={value}" for value in offers if value.startswith(begun)]
    return [marks + offer for offer in _names(bare, schemas, own)]


def _names(begun: str, schemas: Mapping[str, type[Any]], own: Iterable[str]) -> list[str]:
    """Names up to their next dot, or with their ``=``. One that is alone and has fields is opened: the shell would add a blank to it."""
    offers = [f"{name}=" for name in own if name.startswith(begun)]
    for where, schema in schemas.items():
        if begun.startswith(where):
            offers += [where + name for name in _fields_below(begun.removeprefix(where), schema, where)]
        elif where.startswith(begun):
            offers.append(where)
    if len(offers) == 1 and offers[0].endswith(".") and offers[0] != begun:
        return _names(offers[0], schemas, ())
    return offers


def _fields_below(begun: str, schema: type[Any], where: str) -> list[str]:
    path, dot, last = begun.rpartition(".")
    holder = _walk(path, schema)
    if holder is None:
        return []
    if isinstance(holder, dict):
        return [f"{path}.{task}=" for task in task_names() if task.startswith(last)] if where + path in PER_TASK else []
    found = []
    for item in fields(holder):
        inside = getattr(holder, item.name)
        opens = is_dataclass(inside) or (isinstance(inside, dict) and f"{where}{path}{dot}{item.name}" in PER_TASK)
        if item.name.startswith(last):
            found.append(f"{path}{dot}{item.name}" + ("." if opens else "="))
    return found


def _walk(path: str, schema: type[Any]) -> Any:
    """The default value at a dotted path if it is a dataclass or a mapping, else None."""
    value: Any = schema()
    for name in path.split(".") if path else ():
        value = getattr(value, name, None)
    return value if is_dataclass(value) or isinstance(value, dict) else None


def _field_values(name: str, begun: str, schemas: Mapping[str, type[Any]]) -> Iterable[str]:
    for where, schema in schemas.items():
        if not name.startswith(where):
            continue
        path, _, last = name.removeprefix(where).rpartition(".")
        holder = _walk(path, schema)
        if is_dataclass(holder) and last in {item.name for item in fields(holder)}:
            return _of_type(typing.get_type_hints(type(holder))[last], begun, TEXTS.get(name))
    return ()


def _of_type(hint: Any, begun: str, texts: Words | None) -> list[str]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        offers = [offer for kind in inner if kind is not type(None) for offer in _of_type(kind, begun, texts)]
        return [*offers, "null"] if type(None) in inner else offers
    if origin is list:
        return _in_brackets(begun, lambda item: _of_type(inner[0], item, texts))
    if hint is bool:
        return ["true", "false"]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [str(member.value) for member in hint]
    return list(texts(begun)) if hint is str and texts is not None else []


def _in_brackets(begun: str, items: typing.Callable[[str], list[str]]) -> list[str]:
    """``[a,b,c``: one more item; the closing bracket, which only its writer can know of, is left to them."""
    if not begun.startswith("["):
        return ["["] if not begun and items("") else []
    before, comma, item = begun[1:].rpartition(",")
    named = before.split(",")
    return [f"[{before}{comma}{offer}" for offer in items(item) if offer.startswith(item) and offer not in named]
