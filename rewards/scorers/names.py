"""IUPAC names to SMILES and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError
from rewards.fields import text_field
from rewards.grading import graded
from rewards.molecule import answer_molecule, reference_molecule, same_structure
from rewards.registry import scorer
from rewards.similarity import count_tanimoto
from rewards.verdict import Reason, Verdict

STRUCTURE_NEAR_MISS = 0.3
STRUCTURE_MIN_TANIMOTO = 0.6
NAME_NEAR_MISS = 0.2
MAX_NAME_CHARS = 1_000
MAX_COMPARED_CHARS = 200  # beyond this a near miss is not worth the quadratic time

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))


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
    """1 for the gold name (case, kinds of dash and blanks after ``;`` or ``,`` apart); up to 0.2 for a name that differs in few characters.

    The near miss is 0.2 · max(0, 2·s − 1), s = 1 − edit distance / longer length. Reads ``reference["answer"]``.
    """
    gold = _normalised(text_field(reference, "answer"))
    if len(answer) > MAX_NAME_CHARS:
        raise AnswerRejectedError(Reason.TOO_LONG)
    if not answer.isprintable():  # control characters, line breaks (T10), lone surrogates
        raise AnswerRejectedError(Reason.BAD_CHARACTERS)
    name = _normalised(answer)
    if name == gold:
        return graded(1.0)
    longest = max(len(name), len(gold))
    if longest > MAX_COMPARED_CHARS:
        return graded(0.0)
    likeness = 1.0 - _edit_distance(name, gold) / longest
    return graded(NAME_NEAR_MISS * max(0.0, 2.0 * likeness - 1.0), {"likeness": likeness})


def _normalised(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).translate(_DASHES).casefold()
    return plain.replace("; ", ";").replace(", ", ",").strip()


def _edit_distance(left: str, right: str) -> int:
    """Levenshtein distance, row by row (Wagner and Fischer, J. ACM 21, 168, 1974)."""
    previous = list(range(len(right) + 1))
    for row, char in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (char != other)))
        previous = current
    return previous[-1]
