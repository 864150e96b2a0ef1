"""IUPAC names to SMILES and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import OPSIN_FIELD, optional_text, text_field
from rewards.grading import graded
from rewards.iupac_name import normalised, require_name
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.registry import scorer
from rewards.similarity import count_tanimoto
from rewards.substance import keeps_stereo, same_ring_tautomer, same_structure
from rewards.verdict import Reason, Verdict

STRUCTURE_NEAR_MISS = 0.3
STRUCTURE_MIN_TANIMOTO = 0.6
NAME_NEAR_MISS = 0.2
READ_RIGHT = 0.8
READ_STEREO_DROPPED = 0.4
READ_SAME_FORMULA = 0.2
MAX_COMPARED_CHARS = 200  # beyond this a near miss is not worth the quadratic time


@scorer("iupac2smiles")
def score_name_to_smiles(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the right structure (flat comparison when the gold is flat); a wrong one gets 0.3 · Tanimoto of Morgan counts.

    The near miss is paid only if the number of components is right and either the formula is, or the Tanimoto is at least 0.6.
    Reads ``reference["answer"]``.
    """
    gold = reference_molecule(text_field(reference, "answer"))
    molecule = answer_molecule(answer)
    if same_structure(molecule, gold):
        return graded(1.0)
    if len(molecule.components) != len(gold.components):
        return Verdict(0.0, Reason.FRAGMENTS)
    tanimoto = count_tanimoto(molecule, gold)
    close = tanimoto >= STRUCTURE_MIN_TANIMOTO or molecule.formula == gold.formula
    return graded(STRUCTURE_NEAR_MISS * tanimoto if close else 0.0, {"tanimoto": tanimoto})


@scorer("smiles2iupac")
def score_smiles_to_name(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """1 for the gold name (case, kinds of dash, markup, a final stop and blanks after ``;`` or ``,`` apart).

    Another name that OPSIN reads as ``inputs["smiles"]`` gets 0.8 (a flat question asks for no stereo), 0.4 if it leaves stereo of the
    question out, and 0.2 if only its formula is right: inverted centres, isotopes elsewhere, isomers. Without OPSIN, or for a name that it
    cannot read, only the text counts: 0.2 · max(0, 2·s − 1), s = 1 − edit distance / longer length.
    Reads ``reference["answer"]`` and what the pool adds: the SMILES of the answer by OPSIN (empty: unreadable; missing: OPSIN is off).
    """
    gold = normalised(text_field(reference, "answer"))
    require_name(answer)
    name = normalised(answer)
    if name == gold:
        return graded(1.0)
    read = inputs.get(OPSIN_FIELD)
    smiles = optional_text(inputs, "smiles")
    meaning, parts = (0.0, {}) if read is None or smiles is None else _meaning(read, reference_molecule(smiles))
    if meaning:
        return graded(meaning, parts)
    longest = max(len(name), len(gold))
    if longest > MAX_COMPARED_CHARS:
        return graded(0.0, parts)
    likeness = 1.0 - _edit_distance(name, gold) / longest
    return graded(NAME_NEAR_MISS * max(0.0, 2.0 * likeness - 1.0), {"likeness": likeness, **parts})


def _meaning(read: str, molecule: Molecule) -> tuple[float, dict[str, float]]:
    """What a name is worth that OPSIN reads as the SMILES ``read`` (empty: not readable)."""
    try:
        named = answer_molecule(read) if read else None
    except AnswerRejectedError:  # a structure beyond the limits of answers
        named = None
    if named is None:
        return 0.0, {"readable": 0.0}
    if named.formula != molecule.formula:
        return 0.0, {"readable": 1.0}
    if same_structure(named, molecule) or (molecule.is_flat and not named.isotopes and same_ring_tautomer(named, molecule)):
        return READ_RIGHT, {"readable": 1.0}
    if keeps_stereo(molecule, named):
        return READ_STEREO_DROPPED, {"readable": 1.0}
    return READ_SAME_FORMULA, {"readable": 1.0}


def _edit_distance(left: str, right: str) -> int:
    """Levenshtein distance, row by row (Wagner and Fischer, J. ACM 21, 168, 1974)."""
    previous = list(range(len(right) + 1))
    for row, char in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (char != other)))
        previous = current
    return previous[-1]
