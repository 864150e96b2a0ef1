"""Scores one answer in this process. The worker processes call this; anything that meets untrusted text goes through the pool instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.answer import extract
from rewards.errors import AnswerRejectedError
from rewards.fields import CLAIMS_FIELD, GROUNDING_FIELD
from rewards.job import ScoreJob
from rewards.registry import scorer_for
from rewards.verdict import Verdict


def score_answer(task: str, answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """The verdict on an extracted answer.

    Raises:
        UnknownTaskError: no scorer has this name.
        BadReferenceError: the row cannot be scored against.
    """
    try:
        verdict = scorer_for(task)(answer, inputs, reference)
    except AnswerRejectedError as rejection:
        verdict = Verdict(0.0, rejection.reason)
    if CLAIMS_FIELD not in inputs:
        return verdict
    from rewards.grounding import grounded  # RDKit, which the pool's own process must not load

    return grounded(verdict, inputs[CLAIMS_FIELD], inputs[GROUNDING_FIELD], answer, inputs)


def score_here(job: ScoreJob) -> Verdict:
    """Normalises and scores a whole completion **without isolation**: for trusted text only (gold answers, data builders, tests).

    There is neither OPSIN nor the grounded term here. Raises what :func:`score_answer` raises.
    """
    answer = extract(job.completion)
    if isinstance(answer, Verdict):
        return answer
    return score_answer(job.task, answer.text, job.inputs, job.reference)
