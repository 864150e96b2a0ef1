"""Answers that do without the question: what a task pays for nothing.

A reward means something above what such answers earn on the same rows. They are fitted to training rows and are plain texts, so they travel
anywhere; all that they read of a question is its list of candidates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_CONSTANTS = 4
"""A task with so few different right answers is one of choice: each of them is a policy."""


class Row(Protocol):
    """What is read of a training row."""

    @property
    def task(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def reference(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class BlindPolicies:
    """Question-blind policies of every task that has training rows.

    Attributes:
        constants: by task, the answers that are always given: every right answer of a task with at most four, else the commonest one, and
            where all differ the one of median length.
        favourites: by task with candidates, the share of the rows that list one in which it is right.
    """

    constants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    favourites: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def fitted(cls, rows: Iterable[Row]) -> BlindPolicies:
        """The policies that training rows suggest; rows without a reference answer say nothing."""
        right: dict[str, Counter[str]] = defaultdict(Counter)
        listed: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            answer = row.reference.get("answer")
            if isinstance(answer, str) and answer:
                right[row.task][answer] += 1
                listed[row.task].update(row.inputs.get("candidates", ()))
        return cls(
            constants={task: _constants(answers) for task, answers in right.items()},
            favourites={
                task: {text: right[task][text] / count for text, count in found.items()} for task, found in listed.items() if found
            },
        )

    def answers(self, task: str, inputs: Mapping[str, Any]) -> dict[str, str]:
        """What each policy answers, by its name; empty for a task without training rows. The same texts for the same inputs, always."""
        candidates = inputs.get("candidates")
        if candidates:
            shares = self.favourites.get(task, {})
            favourite = min(candidates, key=lambda text: (-shares[text], text) if text in shares else (1.0, ""))
            return {"first candidate": candidates[0], "favourite candidate": favourite}
        return {f"always {text if len(text) <= 12 else 'the same'}": text for text in self.constants.get(task, ())}


def _constants(answers: Counter[str]) -> list[str]:
    if len(answers) <= MAX_CONSTANTS:
        return sorted(answers)
    most = max(answers.values())
    commonest = sorted((text for text, count in answers.items() if count == most), key=lambda text: (len(text), text))
    return [commonest[len(commonest) // 2]]
