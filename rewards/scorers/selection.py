"""Choosing one of several listed molecules."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import text_field, texts_field
from rewards.grading import graded, standing
from rewards.molecule import answer_molecule, reference_molecule
from rewards.registry import scorer
from rewards.substance import same_structure
from rewards.verdict import Reason, Verdict

NEAR_MISS = 0.3
_NAMES = {
    "C1CCOC1": "thf tetrahydrofuran oxolane",
    "CC1CCCO1": "2-methf methf 2-mthf 2-methyltetrahydrofuran",
    "C1COCCO1": "dioxane 1,4-dioxane p-dioxane",
    "COCCOC": "dme glyme 1,2-dimethoxyethane dimethoxyethane",
    "CCOCC": "et2o ether diethylether ethoxyethane",
    "COC(C)(C)C": "mtbe tert-butylmethylether methyltert-butylether",
    "COC1CCCC1": "cpme cyclopentylmethylether",
    "CN(C)C=O": "dmf n,n-dimethylformamide dimethylformamide",
    "CC(=O)N(C)C": "dma dmac n,n-dimethylacetamide dimethylacetamide",
    "CN1CCCC1=O": "nmp n-methylpyrrolidone n-methyl-2-pyrrolidone",
    "CS(C)=O": "dmso dimethylsulfoxide dimethylsulphoxide",
    "CC#N": "mecn acn ch3cn acetonitrile",
    "CO": "meoh ch3oh methanol",
    "CCO": "etoh ethanol",
    "CC(C)O": "iproh i-proh ipa isopropanol 2-propanol propan-2-ol isopropylalcohol",
    "CCCCO": "n-buoh buoh butanol 1-butanol n-butanol butan-1-ol",
    "CC(C)(C)O": "tbuoh t-buoh tert-butanol t-butanol 2-methylpropan-2-ol",
    "O": "h2o water",
    "Cc1ccccc1": "phme toluene methylbenzene",
    "c1ccccc1": "phh benzene",
    "ClCCl": "dcm ch2cl2 dichloromethane methylenechloride",
    "ClCCCl": "dce 1,2-dichloroethane",
    "ClC(Cl)Cl": "chcl3 chloroform",
    "CC(C)=O": "acetone propan-2-one",
    "CCOC(C)=O": "etoac ethylacetate",
    "CC(=O)O": "acoh hoac aceticacid",
    "c1ccncc1": "pyridine",
}
ABBREVIATIONS = {name: smiles for smiles, names in _NAMES.items() for name in names.split()}
"""What chemists write for solvents, in lower case without blanks. None of them is SMILES of anything else that is ever listed."""

_Components = tuple[str, ...]


@scorer("reactant_selection", "ligand_selection", "solvent_selection")
def score_choice(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the best candidate; another one earns what it is better here than everywhere else; an unlisted molecule is NOT_A_CHOICE.

    A candidate's standing is the share of the others that are ranked below it. ``reference["prior"]`` holds the mean standing over training
    rows of each of ``inputs["candidates"]``; a candidate that is not the best earns 0.3 · (standing − prior)/(1 − prior) where that is
    positive. So a table of favourites, which never reads the reaction, earns next to nothing. Without ``reference["ranked"]`` (best first)
    or ``prior`` only the best one earns. Any spelling of a candidate counts, and its number. Reads ``reference["answer"]`` too.
    """
    gold, candidates, ranked, prior = _question(inputs, reference)
    chosen = _chosen(answer, candidates)
    if chosen == gold:
        return graded(1.0)
    if chosen not in ranked:
        return graded(0.0)
    rank = ranked.index(chosen)
    stands = standing(rank, len(ranked))
    expected = prior[candidates.index(chosen)] if prior else 1.0
    above = (stands - expected) / (1.0 - expected) if stands > expected else 0.0
    return graded(NEAR_MISS * above, {"rank": rank + 1.0, "standing": stands})


def _question(
    inputs: Mapping[str, Any], reference: Mapping[str, Any]
) -> tuple[_Components, list[_Components], list[_Components], list[float]]:
    """Gold, candidates, ranking and prior (empty if the row has none), molecules as canonical components.

    Raises:
        BadReferenceError: they do not fit together.
    """
    gold = reference_molecule(text_field(reference, "answer")).components
    candidates = [reference_molecule(text).components for text in texts_field(inputs, "candidates")]
    if candidates.count(gold) != 1:
        raise BadReferenceError(f"the right answer occurs {candidates.count(gold)} times among the candidates; it should be listed once")
    prior = _prior(reference, len(candidates))
    if reference.get("ranked") is None:
        return gold, candidates, [], prior
    ranked = [reference_molecule(text).components for text in texts_field(reference, "ranked")]
    if ranked[0] != gold:
        raise BadReferenceError(f"reference['ranked'] should begin with the right answer, found {'.'.join(ranked[0])!r}")
    if not set(ranked) <= set(candidates):
        raise BadReferenceError("reference['ranked'] names a molecule that is not among the candidates")
    return gold, candidates, ranked, prior


def _prior(reference: Mapping[str, Any], candidates: int) -> list[float]:
    found = reference.get("prior")
    if found is None:
        return []
    if not isinstance(found, list | tuple) or len(found) != candidates:
        raise BadReferenceError(f"reference['prior'] should be a list of {candidates} numbers, one a candidate, found {found!r}")
    for number in found:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number <= 1.0:
            raise BadReferenceError(f"reference['prior'] should hold mean standings between 0 and 1, found {number!r}")
    return [float(number) for number in found]


def _chosen(answer: str, candidates: list[_Components]) -> _Components:
    """The candidate that the answer means: its number in the question, with or without its SMILES; a usual abbreviation; its structure."""
    number, _, rest = answer.partition(" ")
    number = number.rstrip(".:)")
    if number.isascii() and number.isdigit() and len(number) <= 3 and 1 <= int(number) <= len(candidates):
        numbered = candidates[int(number) - 1]
        if not rest.strip() or _meant(rest.strip(), candidates) == numbered:
            return numbered
        raise AnswerRejectedError(Reason.NOT_A_CHOICE)
    return _meant(answer, candidates)


def _meant(text: str, candidates: list[_Components]) -> _Components:
    name = unicodedata.normalize("NFKC", text).casefold().replace(" ", "").removesuffix(".")
    chosen = answer_molecule(ABBREVIATIONS.get(name, text))
    if chosen.components in candidates:
        return chosen.components
    alike = [one for one in candidates if same_structure(chosen, reference_molecule(".".join(one)))]
    if len(alike) != 1:
        raise AnswerRejectedError(Reason.NOT_A_CHOICE)
    return alike[0]
