"""MolCustom: make a molecule with given counts of atoms, bonds or functional groups.

Common guards: one component, plausible (``rewards.plausibility``, features of the row's example molecule exempt), so that neither
``C.C.C.O`` nor ``OOOO`` nor ``[C]`` nor ``[2H]`` fills a count. All three give 1 when the counts are right, else ``near_miss`` up to 0.3,
and read ``inputs["counts"]`` and, if the row has one, ``reference["answer"]`` (an example molecule, for the exemptions only). Elements
that ``counts`` asks for are never odd.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.fields import counts_field, optional_text
from rewards.formula import ELEMENTS
from rewards.functional_groups import GROUP_NAMES, group_counts, group_name
from rewards.grading import graded, near_miss
from rewards.molecule import Molecule, answer_molecule, reference_molecule
from rewards.plausibility import ORGANIC_ELEMENTS, require_plausible
from rewards.properties import BOND_KINDS, bond_counts
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

NEAR_MISS = 0.3


@scorer("molcustom_atomnum")
def score_atom_counts(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """``counts`` maps element symbols to numbers of heavy atoms; elements that are not named must not occur."""
    wanted = counts_field(inputs, "counts")
    unknown = wanted.keys() - (ELEMENTS - {"H"})
    if unknown:
        raise BadReferenceError(f"inputs['counts'] names {sorted(unknown)}, which are not symbols of heavy elements")
    return _compared(_custom_molecule(answer, reference, ORGANIC_ELEMENTS.union(wanted)).heavy_elements, wanted)


@scorer("molcustom_bondnum")
def score_bond_counts(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """``counts`` maps single, double, triple, aromatic or rotatable to numbers; kinds that are not named are free, as in TOMG-Bench."""
    wanted = counts_field(inputs, "counts")
    unknown = wanted.keys() - set(BOND_KINDS)
    if unknown:
        raise BadReferenceError(f"inputs['counts'] names {sorted(unknown)}; bonds are counted by {', '.join(BOND_KINDS)}")
    found = bond_counts(_custom_molecule(answer, reference))
    return _compared({kind: found[kind] for kind in wanted}, wanted)


@scorer("molcustom_functionalgroup")
def score_group_counts(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """``counts`` maps groups to numbers; all other groups of GROUP_NAMES must be absent."""
    wanted = dict.fromkeys(GROUP_NAMES, 0) | {group_name(name): n for name, n in counts_field(inputs, "counts").items()}
    return _compared(group_counts(_custom_molecule(answer, reference)), wanted)


def _custom_molecule(answer: str, reference: Mapping[str, Any], elements: frozenset[str] = ORGANIC_ELEMENTS) -> Molecule:
    example = optional_text(reference, "answer")
    like = () if example is None else (reference_molecule(example),)
    molecule = answer_molecule(answer)
    if len(molecule.components) != 1:
        raise AnswerRejectedError(Reason.FRAGMENTS)
    require_plausible(molecule, like, elements)
    return molecule


def _compared(found: Mapping[str, int], wanted: Mapping[str, int]) -> Verdict:
    distance = sum(abs(found.get(key, 0) - wanted.get(key, 0)) for key in found.keys() | wanted.keys())
    value = 1.0 if distance == 0 else near_miss(distance, sum(wanted.values()), NEAR_MISS)
    return graded(value, {"distance": float(distance)})
