"""Molecule or name to molecular formula."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import text_field
from rewards.formula import Formula, FormulaError, parse_formula
from rewards.grading import graded, near_miss
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

NEAR_MISS = 0.3


@scorer("smiles2formula", "iupac2formula")
def score_formula(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 when all element counts and the charge are right, in any order of the elements; else ``near_miss`` up to 0.3.

    Reads ``reference["answer"]``. SMILES such as ``CCO`` happen to be formulas too (C2O) and get what that formula deserves.
    """
    gold = _gold(text_field(reference, "answer"))
    try:
        formula = parse_formula(answer)
    except FormulaError:
        raise AnswerRejectedError(Reason.INVALID_FORMULA) from None
    distance = formula.distance(gold)
    return graded(1.0 if distance == 0 else near_miss(distance, gold.size, NEAR_MISS), {"distance": float(distance)})


@lru_cache(maxsize=8192)
def _gold(text: str) -> Formula:
    try:
        return parse_formula(text)
    except FormulaError as error:
        raise BadReferenceError(f"the row's formula {text[:200]!r} cannot be used: {error}") from None
