"""The starter data on disk: built once, checked at every start, rebuilt when anything it depends on has changed.

A build lives in a folder named after its fingerprint (configuration, the code that makes rows, the versions of RDKit and of the table), as
one JSONL file per split and a manifest with their checksums. It is written aside and moved into place under a lock, so that concurrent
runs build once and never read half a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from chemr.data.example import Example
from chemr.data.starter.config import StarterConfig

_MANIFEST = "manifest.json"
_SPLITS = ("train", "validation", "test")
# Row-making code outside this package.
_SCORER_MODULES = ("rewards.functional_groups", "rewards.molecule", "rewards.properties", "rewards.similarity")


@dataclass(frozen=True, slots=True)
class StarterData:
    """Rows of all tasks, mixed. No molecule is in two of the three lists."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]


def load_starter(cache_dir: Path, config: StarterConfig) -> StarterData:
    """The starter data of a configuration, from the cache or built now (up to a minute on one core).

    Raises:
        ValueError: the configuration is out of range.
        MissingTableError: a build is needed and the package ``chemicals`` is not installed.
    """
    config.validate()
    home = Path(cache_dir) / "starter"
    folder = home / fingerprint(config)
    data = _read(folder)
    if data is None:
        home.mkdir(parents=True, exist_ok=True)
        with _lock(home / f"{folder.name}.lock"):
            data = _read(folder)  # another process may have built it while this one waited
            if data is None:
                data = _build(folder, config)
    return data


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


def _read(folder: Path) -> StarterData | None:
    """The build in ``folder``; ``None`` when there is none, or it is not what its manifest says."""
    try:
        checksums = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        contents = {split: (folder / f"{split}.jsonl").read_bytes() for split in _SPLITS}
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError):
        return None
    if any(hashlib.sha256(contents[split]).hexdigest() != checksums.get(split) for split in _SPLITS):
        return None
    return StarterData(**{split: [Example.from_json(line) for line in contents[split].decode().splitlines()] for split in _SPLITS})


def _build(folder: Path, config: StarterConfig) -> StarterData:
    from chemr.data.starter.build import build  # RDKit is not imported for data that are in the cache

    rows = {split.value: examples for split, examples in build(config).items()}
    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    checksums = {split: _write(aside / f"{split}.jsonl", rows[split]) for split in _SPLITS}
    (aside / _MANIFEST).write_text(json.dumps(_manifest(config, rows, checksums), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # a build that failed its check
    aside.rename(folder)
    return StarterData(**rows)


def _manifest(config: StarterConfig, rows: Mapping[str, Sequence[Example]], checksums: Mapping[str, str]) -> dict[str, object]:
    return {
        "config": asdict(config),
        "rows": {split: len(rows[split]) for split in _SPLITS},
        "sha256": dict(checksums),
        "sources": sorted({(example.source.split(";")[0], example.licence) for split in _SPLITS for example in rows[split]}),
        "versions": {package: importlib.metadata.version(package) for package in ("rdkit", "chemicals")},
    }


def _write(path: Path, examples: Sequence[Example]) -> str:
    content = "".join(example.to_json() + "\n" for example in examples).encode()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go of it when that process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
