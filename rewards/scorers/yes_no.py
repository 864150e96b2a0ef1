"""Questions that are answered by Yes or No: molecular properties and reaction yields. Pure Python, no molecule is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import choice_field
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

TOKENS = ("Yes", "No")


@scorer("property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox", "yield_bh", "yield_suzuki")
def score_yes_no(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right one of ``Yes`` and ``No`` in any case, perhaps with a full stop; 0 for the other (WRONG) and all else (NOT_A_CHOICE).

    No other mark or word: whatever reads more into an answer pays for ``Yes and No``. A constant answer is worth the majority class,
    which is why these tasks are sampled in balance. Reads ``reference["answer"]``.
    """
    gold = choice_field(reference, "answer", TOKENS)
    said = answer.removesuffix(".").capitalize()
    if said not in TOKENS:
        raise AnswerRejectedError(Reason.NOT_A_CHOICE)
    return Verdict(1.0, Reason.CORRECT) if said == gold else Verdict(0.0, Reason.WRONG)
