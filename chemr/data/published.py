"""The published data of a run: decontaminated training rows, validation rows set aside from them, and test rows of the suites."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from chemr.class_balance import balanced_class, classes_in_turn, draw
from chemr.data.decontamination import EvaluationIndex, clean_training_rows
from chemr.data.example import Example
from chemr.data.published_config import PublishedConfig
from chemr.data.selection_prior import selection_priors, with_prior
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import SOURCES, SUITES, test_rows
from chemr.data.task_data import TaskData, cached
from rewards.registry import SCORER_VERSION


def load_published(cache_dir: Path, data_dir: Path, config: PublishedConfig, tasks: Sequence[str], *, strict: bool = False) -> TaskData:
    """The rows of a configuration, from the cache or built now (up to six minutes on one core for all sources).

    Args:
        tasks: those wanted; empty = all that have both training and test rows.
        strict: stop at the first bad row of a training file.

    Raises:
        ValueError: no such source or suite, or a number out of range.
        SourceFileError, BadRowError: a file is missing or broken, or (``strict``) holds a bad row.
    """
    config.validate()
    for kind, names, known in (("sources", config.sources, SOURCES), ("suites", config.suites, SUITES)):
        for name in names:
            if name not in known:
                raise ValueError(f"data.published.{kind}: {name!r} is none of {', '.join(known)}")
    folder = Path(cache_dir) / "published" / _fingerprint(data_dir, config, tasks, strict)
    return cached(folder, lambda: _build(data_dir, config, frozenset(tasks), strict), lambda _: {"config": asdict(config)})


def _build(data_dir: Path, config: PublishedConfig, tasks: frozenset[str], strict: bool) -> TaskData:
    index = EvaluationIndex.of_all_suites(data_dir)
    log = RowLog(strict=strict)
    by_task: dict[str, list[Example]] = defaultdict(list)
    for source in config.sources or SOURCES:
        if tasks and not tasks & set(SOURCES[source].tasks):
            continue
        for example in clean_training_rows(source, data_dir, index, log):
            if not tasks or example.task in tasks:
                by_task[example.task].append(example)
    test = _test(data_dir, config, tasks)
    tested = {example.task for example in test}
    validation: list[Example] = []
    remaining: list[Example] = []
    for task, rows in sorted(by_task.items()):
        if task not in tested and not tasks:
            continue
        rows = classes_in_turn(rows, config.seed)
        validation += rows[: config.validation_per_task]
        remaining += rows[config.validation_per_task :]
    trained = {example.task for example in remaining}
    train = _without(remaining, validation)
    priors = selection_priors(train)
    return TaskData(
        train=[with_prior(row, priors) for row in _mixed(_first(train, config.train_per_task), config.seed)],
        validation=[with_prior(row, priors) for row in _mixed(validation, config.seed)],
        test=[with_prior(example, priors) for example in test if tasks or example.task in trained],
    )


def _test(data_dir: Path, config: PublishedConfig, tasks: frozenset[str]) -> list[Example]:
    rows: list[Example] = []
    seen: set[str] = set()
    for suite in config.suites:
        for task in SUITES[suite]:
            if task not in seen and (not tasks or task in tasks):
                seen.add(task)
                found = test_rows(suite, task, data_dir)
                if config.test_per_task and balanced_class(found[0]) is not None:  # the files begin with dozens of one answer
                    found = classes_in_turn(found, config.seed)
                rows += _first(found, config.test_per_task)
    return rows


def _without(rows: Iterable[Example], validation: Sequence[Example]) -> list[Example]:
    """The rows that share nothing with a validation row."""
    index = EvaluationIndex()
    index.add("validation", validation)
    return [example for example in rows if not index.matches(example)]


def _first(rows: Iterable[Example], per_task: int) -> list[Example]:
    kept: list[Example] = []
    counts: Counter[str] = Counter()
    for example in rows:
        counts[example.task] += 1
        if per_task == 0 or counts[example.task] <= per_task:
            kept.append(example)
    return kept


def _mixed(rows: Iterable[Example], seed: int) -> list[Example]:
    return sorted(rows, key=lambda example: draw(seed, example.uid))


def _fingerprint(data_dir: Path, config: PublishedConfig, tasks: Sequence[str], strict: bool) -> str:
    """Sixteen hex digits that change with the configuration, the files (name, size, time), the scorers and the code that reads them."""
    parts = [json.dumps([asdict(config), sorted(tasks), strict], sort_keys=True), f"rdkit {importlib.metadata.version('rdkit')}"]
    parts.append(f"scorers {SCORER_VERSION}")  # rows whose own answer earns too little are left out
    for path in sorted(data_dir.rglob("*")):
        if path.is_file():
            status = path.stat()
            parts.append(f"{path.relative_to(data_dir)} {status.st_size} {status.st_mtime_ns}")
    folder = Path(__file__).parent
    code = sorted([*folder.glob("*.py"), *(folder / "sources").glob("*.py"), folder.parent / "class_balance.py"])
    parts += [hashlib.sha256(source.read_bytes()).hexdigest() for source in code]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
