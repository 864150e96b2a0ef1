"""What an evaluation is given, and the loop over samples that all evaluations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.benchmark.child import Child, JobFailure
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import Unscored


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """A test row: the fields of the task's example (docs/tasks.md), with the publisher's own spelling of every SMILES."""

    inputs: Mapping[str, Any]
    reference: Mapping[str, Any]

    def gold(self) -> str:
        answer = self.reference.get("answer")
        if not isinstance(answer, str):
            raise BenchmarkInputError(f"a test row should have reference['answer'], a text; found {answer!r} in {dict(self.reference)}")
        return answer


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """What is not in the rows.

    Attributes:
        deadline_s, memory_bytes: limits for one prediction in the child process; what breaks them counts as wrong and is reported.
        wordnet_dir: folder with WordNet 3.0's ``index.*``, ``data.*`` and ``*.exc``; without it there is no METEOR.
        scibert_dir: folder with SciBERT's ``vocab.txt``; without it the regex tokenizer stands in, and the report says so.
        novelty_molecules: SMILES that novelty is measured against; without them there is no novelty.
        fcd: whether to compute the Fréchet ChemNet distance (half a minute, and torch in the child).
    """

    deadline_s: float = 20.0
    memory_bytes: int = 4 << 30
    wordnet_dir: str | None = None
    scibert_dir: str | None = None
    novelty_molecules: Sequence[str] | None = None
    fcd: bool = True


@dataclass(slots=True)
class Evaluation:
    """One call of ``benchmark_figures``: its data, its child process, and what it has to say beside the figures."""

    task: str
    rows: Sequence[BenchmarkRow]
    samples: Sequence[Sequence[str]]
    settings: BenchmarkSettings
    child: Child
    notes: list[str] = field(default_factory=list)
    unscored: list[Unscored] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def golds(self) -> list[str]:
        return [row.gold() for row in self.rows]

    def facts(self, job: str, argument: Callable[[BenchmarkRow, str], Mapping[str, Any]]) -> list[list[Any]]:
        """The child's result for every sample and row; ``None`` where it failed, which ``unscored`` then names."""
        return [
            [self._fact(job, argument(row, text), sample, number) for number, (row, text) in enumerate(zip(self.rows, texts, strict=True))]
            for sample, texts in enumerate(self.samples, start=1)
        ]

    def gold_facts(self, job: str, argument: Callable[[BenchmarkRow], Mapping[str, Any]]) -> list[Any]:
        """The child's result for every row's own text. Raises BenchmarkInputError for a row that has none: a test row is at fault then."""
        facts = [self.child.run(job, argument(row)) for row in self.rows]
        for number, fact in enumerate(facts):
            if fact is None or isinstance(fact, JobFailure):
                reason = "it is not valid" if fact is None else f"{fact.reason}: {fact.note}"
                raise BenchmarkInputError(f"test row {number}: {dict(argument(self.rows[number]))} cannot be evaluated against; {reason}")
        return facts

    def _fact(self, job: str, argument: Mapping[str, Any], sample: int, row: int) -> Any:
        fact = self.child.run(job, argument)
        if isinstance(fact, JobFailure):
            self.unscored.append(Unscored(sample, row, fact.reason, fact.note))
            return None
        return fact


def share(flags: Sequence[bool]) -> float:
    """The part of ``flags`` that is true."""
    return sum(flags) / len(flags)
