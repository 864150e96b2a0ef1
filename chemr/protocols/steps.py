"""The form of a reasoning trace: numbered bold steps.

A trace is ``1. **Title**: claim`` lines. The titles of a task are fixed by its protocol, the claims are short and machine-checkable. A
step header is a single token of the starter's tokenizer, so a step costs as many tokens as its claim, plus one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chemr.data.example import Example

NONE = "none"  # the claim that there is nothing to name

_STEP = re.compile(r"(\d{1,2})\. \*\*([^*\n]{1,60})\*\*: ([^\n]*)")


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered statement of a trace."""

    title: str
    claim: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How to reason about one task.

    Attributes:
        task: the task it is for.
        titles: the steps, in order.
        claims: computes one claim per title for an example, from its inputs and its gold answer.
        rationale: why these steps make the answer easier; for people and for the prompts of other teachers.
    """

    task: str
    titles: tuple[str, ...]
    claims: Callable[[Example], tuple[str, ...]]
    rationale: str


def write_steps(steps: Sequence[Step]) -> str:
    """The text of a trace, without tags."""
    return "\n".join(f"{number}. **{step.title}**: {step.claim}" for number, step in enumerate(steps, start=1))


def read_steps(trace: str) -> list[Step]:
    """The inverse of :func:`write_steps`.

    Raises:
        ValueError: a line is not a numbered bold step, or the numbers do not run 1, 2, 3, …
    """
    steps: list[Step] = []
    for number, line in enumerate(trace.split("\n"), start=1):
        match = _STEP.fullmatch(line)
        if match is None or int(match.group(1)) != number:
            raise ValueError(f"line {number} of a trace should read '{number}. **Title**: claim', found {line[:80]!r}")
        steps.append(Step(match.group(2), match.group(3)))
    return steps
