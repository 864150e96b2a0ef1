"""The errors of this package, and who is to blame for each."""

from __future__ import annotations

from collections.abc import Iterable

from rewards.verdict import Reason


class AnswerRejectedError(Exception):
    """The *model's* answer is worth nothing. Becomes ``Verdict(0.0, reason)``; never leaves :func:`rewards.scoring.score`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class BadReferenceError(Exception):
    """The *data row* cannot be scored against. Becomes ``Verdict(None, BAD_REFERENCE)`` and one line in the log."""


class UnknownTaskError(LookupError):
    """A task without a scorer: always an error of the caller, never a zero."""

    def __init__(self, task: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no scorer for the task {task!r}; known tasks: {', '.join(sorted(known))}")
        self.task = task


class ScorerPoolError(RuntimeError):
    """The scoring processes cannot be started or are closed: a fault of the machine or of the caller, not of an answer."""
