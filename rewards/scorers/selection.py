"""Choosing one of several listed molecules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import text_field, texts_field
from rewards.molecule import answer_molecule, reference_molecule
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict


@scorer("reactant_selection")
def score_choice(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right candidate, 0 for another one (WRONG) and for a molecule that is not listed (NOT_A_CHOICE).

    Molecules are compared canonically, so any spelling of a candidate counts. There is no partial credit: with few candidates it
    would pay for guessing. Reads ``inputs["candidates"]`` and ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer")).components
    candidates = [reference_molecule(text).components for text in texts_field(inputs, "candidates")]
    if candidates.count(gold) != 1:
        raise BadReferenceError(f"the right answer occurs {candidates.count(gold)} times among the candidates; it should be listed once")
    chosen = answer_molecule(answer).components
    if chosen not in candidates:
        raise AnswerRejectedError(Reason.NOT_A_CHOICE)
    return Verdict(1.0, Reason.CORRECT) if chosen == gold else Verdict(0.0, Reason.WRONG)
