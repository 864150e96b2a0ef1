"""MolOpt: raise or lower a computed property while staying close to the input.

The property must move by a margin and earns nothing beyond it, so long chains do not pay; without the margin, writing the same molecule in
another atom order wins a fifth of the time by rounding (REWARDS §3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import choice_field, optional_text, text_field
from rewards.grading import graded
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.plausibility import DRUG_ELEMENTS, require_plausible
from rewards.properties import drug_likeness, logp, molar_refractivity
from rewards.registry import scorer
from rewards.similarity import closeness, count_tanimoto, expected_similarity
from rewards.substance import same_substance
from rewards.verdict import Reason, Verdict

LOGP_MARGIN = 0.1
MR_MARGIN = 0.5  # cm³/mol
QED_MARGIN = 0.01
MAX_SIZE_DIFFERENCE = 3  # heavy atoms that the change may add or remove beyond what the reference does
MAX_OPEN_SIZE_CHANGE = 6  # the same where there is no reference: a ring more or less
DIRECTIONS = ("increase", "decrease")


@scorer("molopt_logp")
def score_logp(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Crippen logP moved by at least 0.1; see :func:`_score_move`."""
    return _score_move(answer, inputs, reference, logp, LOGP_MARGIN)


@scorer("molopt_mr")
def score_mr(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Crippen molar refractivity moved by at least 0.5 cm³/mol; see :func:`_score_move`."""
    return _score_move(answer, inputs, reference, molar_refractivity, MR_MARGIN)


@scorer("molopt_qed")
def score_qed(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """QED moved by at least 0.01; see :func:`_score_move`."""
    return _score_move(answer, inputs, reference, drug_likeness, QED_MARGIN)


def _score_move(
    answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any], measure: Callable[[Molecule], float], margin: float
) -> Verdict:
    """``closeness`` if the property moved in ``inputs["direction"]`` by ``margin`` from ``inputs["smiles"]``, else 0.

    Guards: one component; not the input itself in any form; same total charge; plausible,
    elements C H N O F P S Cl Br I; at most 3 heavy atoms more added or removed than by the reference.
    ``reference["answer"]`` is a valid minimal change and scores 1; so does any change that stays about as close to the input.
    A row without it is an open question: the yardstick is ``expected_similarity``, and at most 6 heavy atoms are added or removed.
    """
    source = reference_molecule(text_field(inputs, "smiles"))
    example_text = optional_text(reference, "answer")
    example = None if example_text is None else reference_molecule(example_text)
    sign = 1.0 if choice_field(inputs, "direction", DIRECTIONS) == "increase" else -1.0
    molecule = answer_molecule(answer)
    if len(molecule.components) != 1:
        raise AnswerRejectedError(Reason.FRAGMENTS)
    if same_substance(molecule, source):
        raise AnswerRejectedError(Reason.COPIED_INPUT)
    if sum(molecule.formal_charges) != sum(source.formal_charges):
        raise AnswerRejectedError(Reason.UNREASONABLE)
    require_plausible(molecule, like=(source,) if example is None else (source, example), elements=DRUG_ELEMENTS)
    size_limit = MAX_OPEN_SIZE_CHANGE if example is None else abs(example.heavy_atoms - source.heavy_atoms) + MAX_SIZE_DIFFERENCE
    if abs(molecule.heavy_atoms - source.heavy_atoms) > size_limit:
        return Verdict(0.0, Reason.WRONG)
    change = sign * (measure(molecule) - measure(source))
    if change < margin:
        return Verdict(0.0, Reason.WRONG, {"change": change})
    similarity = count_tanimoto(molecule, source)
    yardstick = expected_similarity(source) if example is None else count_tanimoto(example, source)
    return graded(closeness(similarity, yardstick), {"change": change, "similarity": similarity, "yardstick": yardstick})
