"""A molecule from its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.errors import BadReferenceError
from rewards.fields import text_field
from rewards.grading import graded
from rewards.molecule import answer_molecule, reference_molecule
from rewards.registry import scorer
from rewards.similarity import count_tanimoto, maccs_tanimoto
from rewards.verdict import Reason, Verdict

NEAR_MISS = 0.4
MIN_SIMILARITY = 0.4


@scorer("text2mol")
def score_design(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 when the standard InChIs are equal and not empty (without stereo when the gold is flat).

    Else 0.4 · s, s = mean of the Tanimotos of Morgan counts and MACCS keys, if s is at least 0.4 and the number of components is right.
    Reads ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer"))
    gold_inchi = gold.flat_inchi if gold.is_flat else gold.inchi
    if not gold_inchi:
        raise BadReferenceError(f"there is no InChI of the row's molecule {gold.canonical!r}, so nothing can be equal to it")
    molecule = answer_molecule(answer)
    if (molecule.flat_inchi if gold.is_flat else molecule.inchi) == gold_inchi:
        return graded(1.0)
    if len(molecule.components) != len(gold.components):
        return Verdict(0.0, Reason.FRAGMENTS)
    similarity = (count_tanimoto(molecule, gold) + maccs_tanimoto(molecule, gold)) / 2.0
    return graded(NEAR_MISS * similarity if similarity >= MIN_SIMILARITY else 0.0, {"similarity": similarity})
