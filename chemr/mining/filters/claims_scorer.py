"""The check of a trace's claims, for the scoring processes: the answer is a model's text, which only they may give to RDKit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rdkit.Chem import rdMolDescriptors

from chemr.mining.filters.claims import FALSE_FORMULA, FALSE_GROUP, FALSE_RINGS
from rewards.errors import AnswerRejectedError
from rewards.formula import Formula, parse_formula
from rewards.grounding import fabricated_share
from rewards.molecule import Molecule, answer_molecule
from rewards.verdict import Reason, Verdict

_HALOGENS = ("F", "Cl", "Br", "I")
# Atoms without which a group of rewards.grounding.CLAIM_SMARTS cannot be; of the halogens any one.
NEEDED_ATOMS: Mapping[str, Mapping[str, int]] = {
    "benzene_ring": {"C": 6},
    "hydroxyl": {"O": 1},
    "anhydride": {"C": 2, "O": 3},
    "aldehyde": {"C": 1, "O": 1},
    "ketone": {"C": 3, "O": 1},
    "carboxyl": {"C": 1, "O": 2},
    "ester": {"C": 1, "O": 2},
    "amide": {"O": 1, "N": 1},
    "amine": {"N": 1},
    "nitro": {"N": 1, "O": 2},
    "nitrile": {"C": 1, "N": 1},
    "thiol": {"S": 1},
    "sulfide": {"S": 1},
    "disulfide": {"S": 2},
    "sulfoxide": {"S": 1, "O": 1},
    "sulfone": {"S": 1, "O": 2},
    "borane": {"B": 1},
}


def check_claims(answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> Verdict:
    """Which claims no molecule of the row or the answer bears out: parts ``false_group:ester``, ``false_formula:C6H6``, ``false_rings:3``.

    The value is 1 without false claims, else 0. Without a molecule, a known formula still tells which groups lack their atoms; without
    either, nothing is false. The parts ``molecules`` and ``formulas`` say how many were known: what is neither false nor could be looked
    up is not true for that.
    """
    molecules = [molecule for text in (answer, *inputs["molecules"]) for molecule in _readable(text)]
    false: dict[str, float] = {}
    if molecules:
        false |= {f"{FALSE_GROUP}:{group}": 1.0 for group in inputs["groups"] if fabricated_share([group], molecules)}
        counts = {count for molecule in molecules for count in _ring_counts(molecule)}
        false |= {f"{FALSE_RINGS}:{claimed}": 1.0 for claimed in inputs["rings"] if claimed not in counts}
    known = [*_formulas(molecules), *(parse_formula(text) for text in inputs["known_formulas"])]
    if known and not molecules:
        false |= {f"{FALSE_GROUP}:{group}": 1.0 for group in inputs["groups"] if not any(_has_atoms(formula, group) for formula in known)}
    if known:
        false |= {
            f"{FALSE_FORMULA}:{text}": 1.0
            for text in inputs["formulas"]
            if not any(_same(parse_formula(text), formula) for formula in known)
        }
    known_of = {"molecules": float(len(molecules)), "formulas": float(len(known))}
    return Verdict(0.0 if false else 1.0, Reason.WRONG if false else Reason.CORRECT, false | known_of)


def _readable(text: str) -> list[Molecule]:
    """The molecules of a SMILES and of its components, or of the parts of a reaction SMILES; nothing for any other text."""
    found = []
    for part in text.split(">"):
        for piece in {part, *part.split(".")}:
            try:
                found.append(answer_molecule(piece))
            except AnswerRejectedError:
                continue
    return found


def _ring_counts(molecule: Molecule) -> Iterable[int]:
    """Ways to count rings: the cyclomatic number, RDKit's ring set, and a set that symmetry may enlarge."""
    mol = molecule.mol
    fragments = len(molecule.components)
    return (
        mol.GetNumBonds() - mol.GetNumAtoms() + fragments,
        rdMolDescriptors.CalcNumRings(mol),
        mol.GetRingInfo().NumRings(),
    )


def _formulas(molecules: Iterable[Molecule]) -> list[Formula]:
    return [molecule.formula for molecule in molecules]


def _has_atoms(formula: Formula, group: str) -> bool:
    if group == "halo":
        return any(element in formula.atoms for element in _HALOGENS)
    return all(formula.atoms.get(element, 0) >= count for element, count in NEEDED_ATOMS[group].items())


def _same(one: Formula, other: Formula) -> bool:
    """Equal atoms; a charge that is left out in writing is not held against the text."""
    return dict(one.atoms) == dict(other.atoms) and one.charge in (0, other.charge)
