"""All filters together: the reasons against one trace, and the trace in the project's own form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chemr.data.example import Example
from chemr.mining.config import FilterConfig
from chemr.mining.filters.claims import claim_reasons, molecule_texts
from chemr.mining.filters.form import Followed, betrayal_reasons, echo_reasons, follow, length_reasons
from chemr.mining.filters.language import language_reasons
from chemr.mining.filters.repetition import repetition_reasons
from chemr.mining.protocol_file import Protocol
from chemr.mining.trace_text import FoundStep, answer_of, found_steps, thinking_of, written_out
from chemr.prompts import TAGS, completion_with_trace
from rewards.verdict import Verdict

ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Judgement:
    """``completion``: what is trained on, if there are no reasons against it; empty where a text has no steps or no answer."""

    reasons: tuple[str, ...]
    completion: str


def answer_reasons(verdict: Verdict, verify_at: float) -> list[str]:
    """``answer: wrong`` and the like, unless the hardened scorers give ``verify_at`` or more. What is not known is not verified."""
    return [] if verdict.value is not None and verdict.value >= verify_at else [f"{ANSWER}: {verdict.reason}"]


def judge(
    example: Example,
    completion: str,
    protocol: Protocol,
    verdict: Verdict,
    claims: Verdict | None,
    config: FilterConfig,
    verify_at: float,
) -> Judgement:
    """One trace before all filters.

    Args:
        verdict: on its answer.
        claims: on its claims; None when it makes none that can be checked.
    """
    thinking = thinking_of(completion)
    steps = found_steps(thinking)
    followed = follow(steps, protocol, config.title_similarity, config.extra_steps)
    reasons = [
        *answer_reasons(verdict, verify_at),
        *followed.reasons,
        *echo_reasons(steps),
        *(claim_reasons(claims) if claims is not None else ()),
        *length_reasons(thinking, config.min_chars, config.max_chars),
        *repetition_reasons(thinking, config.repeated_share, [*molecule_texts(example), answer_of(completion)]),
        *language_reasons(thinking, config.foreign_share),
        *betrayal_reasons(thinking),
    ]
    return Judgement(tuple(reasons), _canonical(steps, followed, protocol, answer_of(completion)))


def _canonical(steps: Sequence[FoundStep], followed: Followed, protocol: Protocol, answer: str) -> str:
    """The trace with the protocol's titles, numbered from 1, one line a step; what stands before the first step is left out."""
    if not steps or not answer or any(tag in answer for tag in TAGS):
        return ""
    titled = [
        (protocol.steps[place].title if place is not None else step.title, step.claim)
        for step, place in zip(steps, followed.places, strict=True)
    ]
    trace = written_out(titled)
    return "" if any(tag in trace for tag in TAGS) else completion_with_trace(trace, answer)
