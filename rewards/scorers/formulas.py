"""Molecule or name to molecular formula."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import text_field
from rewards.formula import Formula, FormulaError, parse_formula, readings
from rewards.grading import graded, near_miss
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

NEAR_MISS = 0.3
NOT_SUMMED = 0.1  # the atoms of a SMILES written out one after another are a copy of the question


@scorer("smiles2formula", "iupac2formula")
def score_formula(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 when all element counts and the charge are right, in any order of the elements; else ``near_miss`` up to 0.3.

    A formula that has not been added up (``CH3CH2OH``) is a near miss of 0.1 at most. Of two meanings the better one counts.
    Reads ``reference["answer"]``. SMILES such as ``CCO`` happen to be formulas too (C2O) and get what that formula deserves.
    """
    gold = _gold(text_field(reference, "answer"))
    try:
        formula = min(readings(answer), key=lambda reading: reading.distance(gold))
    except FormulaError:
        raise AnswerRejectedError(Reason.INVALID_FORMULA) from None
    distance = formula.distance(gold)
    parts = {"distance": float(distance), "summed": float(formula.summed)}
    if distance == 0 and formula.summed:
        return graded(1.0, parts)
    return graded(near_miss(distance, gold.size, NEAR_MISS if formula.summed else NOT_SUMMED), parts)


@lru_cache(maxsize=8192)
def _gold(text: str) -> Formula:
    try:
        return parse_formula(text)
    except FormulaError as error:
        raise BadReferenceError(f"the row's formula {text[:200]!r} cannot be used: {error}") from None
