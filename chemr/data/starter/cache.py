"""The starter data on disk: built on first use, and again when configuration, row-making code, RDKit or the table of names change."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

from chemr.data.starter.config import StarterConfig
from chemr.data.task_data import TaskData, cached

# Row-making code outside this package.
_SCORER_MODULES = tuple(f"rewards.{name}" for name in ("functional_groups", "molecule", "properties", "property_change", "similarity"))


def load_starter(cache_dir: Path, config: StarterConfig) -> TaskData:
    """The starter data of a configuration, from the cache or built now (up to a minute on one core).

    Raises:
        ValueError: the configuration is out of range.
        MissingTableError: a build is needed and the package ``chemicals`` is not installed.
    """
    config.validate()
    return cached(Path(cache_dir) / "starter" / fingerprint(config), lambda: _build(config), lambda _: _description(config))


def fingerprint(config: StarterConfig) -> str:
    """Sixteen hex digits that change with everything the rows depend on."""
    parts = [json.dumps(asdict(config), sort_keys=True)]
    parts += [f"{package} {importlib.metadata.version(package)}" for package in ("rdkit", "chemicals")]
    sources = sorted(Path(__file__).parent.glob("*.py"))
    for module in _SCORER_MODULES:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            sources.append(Path(spec.origin))
    parts += [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build(config: StarterConfig) -> TaskData:
    from chemr.data.starter.build import build  # RDKit is not imported for data that are in the cache

    return TaskData(**{split.value: examples for split, examples in build(config).items()})


def _description(config: StarterConfig) -> dict[str, object]:
    versions = {package: importlib.metadata.version(package) for package in ("rdkit", "chemicals")}
    return {"config": asdict(config), "versions": versions}
