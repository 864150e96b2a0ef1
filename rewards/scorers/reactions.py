"""Products from reactants and reactants from products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import text_field
from rewards.grading import graded
from rewards.molecule import Molecule, answer_molecule, reference_molecule, same_structure
from rewards.registry import scorer
from rewards.similarity import count_tanimoto
from rewards.verdict import Reason, Verdict

PRODUCT_NEAR_MISS = 0.2
REACTANTS_NEAR_MISS = 0.5
MAX_REACTANTS = 5


@scorer("forward")
def score_product(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right product(s), nothing more and nothing less; a wrong single product gets 0.2 · Tanimoto of Morgan counts.

    0 for any other number of components than the gold (``A.B.C`` passes the benchmark's own test) and for a reactant handed back.
    Reads ``inputs["reactants"]`` and ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer"))
    reactants = reference_molecule(text_field(inputs, "reactants"))
    product = answer_molecule(answer)
    if same_structure(product, gold):
        return graded(1.0)
    _reject_copies(product, reactants, exempt=gold)
    if len(product.components) != len(gold.components):
        raise AnswerRejectedError(Reason.FRAGMENTS)
    if len(gold.components) > 1:
        return graded(0.0)
    tanimoto = count_tanimoto(product, gold)
    return graded(PRODUCT_NEAR_MISS * tanimoto, {"tanimoto": tanimoto})


@scorer("retro")
def score_reactants(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right multiset of reactants, in any order; else 0.5 · Jaccard of the two multisets.

    0 when the product is among the answer, or for more than five components. Reads ``inputs["product"]`` and ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer"))
    product = reference_molecule(text_field(inputs, "product"))
    reactants = answer_molecule(answer)
    if len(reactants.components) > MAX_REACTANTS:
        raise AnswerRejectedError(Reason.FRAGMENTS)
    if same_structure(reactants, gold):
        return graded(1.0)
    _reject_copies(reactants, product, exempt=gold)
    found, wanted = (Counter(m.flat_components if gold.is_flat else m.components) for m in (reactants, gold))
    jaccard = (found & wanted).total() / (found | wanted).total()
    return graded(REACTANTS_NEAR_MISS * jaccard, {"jaccard": jaccard})


def _reject_copies(answer: Molecule, source: Molecule, exempt: Molecule) -> None:
    """Refuses an answer that hands back a component of the question which the gold does not contain."""
    if set(answer.flat_components) & (set(source.flat_components) - set(exempt.flat_components)):
        raise AnswerRejectedError(Reason.COPIED_INPUT)
