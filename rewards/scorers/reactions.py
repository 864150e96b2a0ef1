"""Products from reactants and reactants from products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import text_field
from rewards.grading import graded
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.registry import scorer
from rewards.similarity import count_tanimoto
from rewards.substance import essential, same_essence, same_structure, same_substance
from rewards.verdict import Reason, Verdict

PRODUCT_NEAR_MISS = 0.2
REACTANTS_NEAR_MISS = 0.5
MAX_REACTANTS = 5


@scorer("forward")
def score_product(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right product(s), nothing more and nothing less; a wrong single product gets 0.2 · (t - r)/(1 - r), at least 0.

    t is its Tanimoto of Morgan counts to the gold, r that of the closest reactant, so that a reactant with a methyl earns nothing. Salts
    and small by-products on either side do not count. 0 for any other number of components than the gold (``A.B.C`` passes the
    benchmark's own test) and for a reactant handed back, in whatever form. Reads ``inputs["reactants"]`` and ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer"))
    reactants = reference_molecule(text_field(inputs, "reactants"))
    product = answer_molecule(answer)
    if same_structure(product, gold) or same_essence(product, gold):
        return graded(1.0)
    _reject_copies(product, reactants, exempt=gold)
    made, wanted = essential(product), essential(gold)
    if len(made) != len(wanted):
        raise AnswerRejectedError(Reason.FRAGMENTS)
    if len(wanted) > 1:
        return graded(0.0)
    tanimoto = count_tanimoto(made[0], wanted[0])
    floor = max(count_tanimoto(reactant, wanted[0]) for reactant in reactants.fragments)
    return graded(PRODUCT_NEAR_MISS * max(0.0, tanimoto - floor) / max(1.0 - floor, 1e-9), {"tanimoto": tanimoto})


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
    """Refuses an answer that hands back a component of the question which the gold does not contain, in whatever form."""
    forbidden = [one for one in essential(source) if not any(same_substance(one, other) for other in exempt.fragments)]
    if any(same_substance(one, other) for one in essential(answer) for other in forbidden):
        raise AnswerRejectedError(Reason.COPIED_INPUT)
