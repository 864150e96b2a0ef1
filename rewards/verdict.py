"""What a scorer says about one answer.

A verdict keeps two things apart that reinforcement learning must never mix: *the answer is worth nothing* (``value == 0.0``) and
*we do not know what the answer is worth* (``value is None``: a time-out, a crash, a memory limit). The second kind leaves its group
before the baseline is taken and is counted by reason; it is never trained on as a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why a verdict has the value it has. Codes are API: dashboards and alerts are keyed by them."""

    # full or partial credit
    CORRECT = "correct"
    PARTIAL = "partial"
    # value 0: the model's fault
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    BAD_FORMAT = "bad_format"
    TOO_LONG = "too_long"
    BAD_CHARACTERS = "bad_characters"
    INVALID_MOLECULE = "invalid_molecule"
    GUARDED_MOLECULE = "guarded_molecule"  # parses, but beyond the size and shape limits of the guards
    INVALID_FORMULA = "invalid_formula"
    COPIED_INPUT = "copied_input"
    FRAGMENTS = "fragments"
    UNREASONABLE = "unreasonable"  # radicals, isotopes, unusual valences, elements outside the task's set
    NOT_A_CHOICE = "not_a_choice"
    # value None: not the model's fault, or not knowable
    TIMEOUT = "timeout"
    CRASH = "crash"
    MEMORY = "memory"
    SCORER_BUG = "scorer_bug"
    BAD_REFERENCE = "bad_reference"
    CUT = "cut"  # whoever generates ended the answer before its author did; no scorer says so


FAILURES = frozenset({Reason.TIMEOUT, Reason.CRASH, Reason.MEMORY, Reason.SCORER_BUG, Reason.BAD_REFERENCE, Reason.CUT})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worth of one answer.

    Attributes:
        value: in [0, 1]; ``None`` when it could not be computed (then ``reason`` is one of :data:`FAILURES`).
        reason: a :class:`Reason`.
        parts: named components of the value (``{"tanimoto": 0.61}``), for logs only.
        seconds: wall time spent on this answer.
    """

    value: float | None
    reason: Reason
    parts: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason in FAILURES):
            raise ValueError(f"a verdict of reason {self.reason!r} cannot have value {self.value!r}: failures, and only they, are None")
        if self.value is not None and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"verdict value {self.value!r} is outside [0, 1] (reason {self.reason!r})")

    @property
    def failed(self) -> bool:
        return self.value is None
