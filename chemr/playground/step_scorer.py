"""Are the steps of a trace in the starter's form true of its own answer? A scorer of scoring processes (protocol_plugin.py).

The program that writes the starter's traces (:mod:`chemr.protocols`) computes every step from the question and an answer; here it gets the
right answer where that is known, else the model's own. A step that says the same is true. One that says something else is false only
where there is one way to say it: counts and sequences of atoms and bonds. Fragments can be written in many ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chemr.data.example import Example
from chemr.protocols.steps import NONE
from chemr.protocols.teacher import PROTOCOLS
from rewards.errors import AnswerRejectedError
from rewards.formula import FormulaError, parse_formula
from rewards.molecule import answer_molecule
from rewards.verdict import Reason, Verdict

COUNTED = frozenset({"Heavy atoms", "Product atoms", "Part atoms", "Missing atoms", "Leaves", "Add back"})
EXACT = frozenset({"Unsaturation", "Atoms in order", "Bonds in order"})


def check_steps(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Parts ``true:2`` and ``false:3`` by number of the step; steps of which neither is certain are in neither.

    Reads ``inputs["task"]``, ``inputs["row"]`` (the row's inputs) and ``inputs["steps"]`` ([title, claim] pairs);
    ``reference["answer"]`` is the right answer, if that is known. The value is 1 without false steps, else 0.
    """
    protocol = PROTOCOLS.get(inputs["task"])
    if protocol is None:
        return Verdict(1.0, Reason.CORRECT)
    basis = reference.get("answer")
    if basis is None:
        answer_molecule(answer)  # the guard: what it refuses goes no further
        basis = answer
    try:
        computed = protocol.claims(Example("chat", inputs["task"], inputs["row"], {"answer": basis}, 0.0, "", ""))
    except (ValueError, KeyError):
        raise AnswerRejectedError(Reason.INVALID_MOLECULE) from None
    expected = dict(zip(protocol.titles, computed, strict=True))
    parts: dict[str, float] = {}
    for number, (title, claim) in enumerate(inputs["steps"], start=1):
        if title in expected:
            verdict = agrees(title, claim.strip(), expected[title])
            if verdict is not None:
                parts[f"{'true' if verdict else 'false'}:{number}"] = 1.0
    wrong = any(name.startswith("false") for name in parts)
    return Verdict(0.0 if wrong else 1.0, Reason.WRONG if wrong else Reason.CORRECT, parts)


def agrees(title: str, claim: str, computed: str) -> bool | None:
    """Whether a step says what is the case; None when that cannot be told from its text."""
    if claim == computed:
        return True
    if title in EXACT:
        return False
    if title not in COUNTED:
        return None
    try:
        return _counted(claim) == _counted(computed)
    except FormulaError:
        return None


def _counted(text: str) -> list[tuple[tuple[str, int], ...]]:
    """Compositions of a list of them, in any order, whatever the order of the elements. Raises FormulaError."""
    if text == NONE:
        return []
    return sorted(tuple(sorted(parse_formula(part.strip()).atoms.items())) for part in text.split(","))
