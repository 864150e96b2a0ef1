"""Removing evaluation data from training data: nothing is trained on that shares a key (:mod:`chemr.data.row_keys`) with any test row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chemr.data.example import Example
from chemr.data.row_checks import fault
from chemr.data.row_keys import Key, evaluation_keys, row_keys
from chemr.data.sources.reading import RowLog
from chemr.data.sources.suites import SUITES, test_rows, training_rows


class EvaluationIndex:
    """Which keys occur in which test rows."""

    def __init__(self) -> None:
        self._rows: dict[Key, set[str]] = {}
        self.sizes: Counter[tuple[str, str]] = Counter()

    @classmethod
    def of_all_suites(cls, data_dir: Path) -> EvaluationIndex:
        """The index of every test file. Raises SourceFileError or BadRowError: an index with holes would let leaks through."""
        index = cls()
        for suite, tasks in SUITES.items():
            for task in tasks:
                index.add(suite, test_rows(suite, task, data_dir))
        return index

    def add(self, suite: str, rows: Iterable[Example]) -> None:
        for example in rows:
            self.sizes[suite, example.task] += 1
            for key in evaluation_keys(example):
                self._rows.setdefault(key, set()).add(f"{suite} {example.uid}")

    def matches(self, example: Example) -> set[str]:
        """``"suite uid"`` of every test row that shares a key with this training row."""
        found: set[str] = set()
        for key in row_keys(example):
            found |= self._rows.get(key, set())
        return found


@dataclass
class Removals:
    """What decontamination did to one source.

    Attributes:
        rows: sound rows seen, leaked ones included.
        kept: rows left to train on, by task.
        removed: rows removed, each once.
        by_suite: rows removed by suite; a row in two suites counts in both.
        met: (suite, uid) of the test rows that were met in the source under the same task.
    """

    rows: int = 0
    removed: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    by_suite: Counter[str] = field(default_factory=Counter)
    met: set[tuple[str, str]] = field(default_factory=set)


def decontaminated(rows: Iterable[Example], index: EvaluationIndex, log: RowLog, removals: Removals) -> Iterator[Example]:
    """The rows that may be trained on: no test row in them, and no fault.

    Args:
        rows: a source as its loader gives it, one row at a time: a faulty row is reported at the file and line where ``log`` stands.
        removals: filled in while the rows are consumed.
    """
    for example in rows:
        matches = index.matches(example)
        if matches:
            removals.rows += 1
            removals.removed += 1
            removals.by_suite.update({match.partition(" ")[0] for match in matches})
            for match in matches:
                suite, _, uid = match.partition(" ")
                if uid.split("/")[1] == example.task:
                    removals.met.add((suite, uid))
            continue
        wrong = fault(example)
        if wrong is not None:
            log.reject(*wrong)
            continue
        removals.rows += 1
        removals.kept[example.task] += 1
        yield example


def clean_training_rows(
    source: str, data_dir: Path, index: EvaluationIndex, log: RowLog | None = None, removals: Removals | None = None
) -> Iterator[Example]:
    """A source after decontamination. Errors as :func:`chemr.data.sources.suites.training_rows`."""
    log = RowLog() if log is None else log
    yield from decontaminated(training_rows(source, data_dir, log), index, log, Removals() if removals is None else removals)
