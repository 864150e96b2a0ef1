"""The functional groups of TOMG-Bench (arXiv 2412.14642, utils/evaluation.py) and their counts.

The definitions reproduce the benchmark's own success rates to the last digit on the published prediction files. They overlap on purpose:
every carboxyl is also a hydroxyl, so a question for two carboxyls and one hydroxyl has no answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from rdkit import Chem

from rewards.errors import BadReferenceError
from rewards.molecule import Molecule

GROUP_SMARTS: Mapping[str, str] = {
    "benzene_ring": "[cR1]1[cR1][cR1][cR1][cR1][cR1]1",  # not fused
    "hydroxyl": "[OX2H]",
    "anhydride": "[CX3](=[OX1])[OX2][CX3](=[OX1])",
    "aldehyde": "[CX3H1](=O)[#6]",
    "ketone": "[#6][CX3](=O)[#6]",
    "carboxyl": "[CX3](=O)[OX2H1]",
    "ester": "[#6][CX3](=O)[OX2H0][#6]",
    "amide": "[NX3][CX3](=[OX1])[#6]",
    "amine": "[NX3;H2,H1;!$(NC=O)]",
    "nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])][!#8]",
    "halo": "[F,Cl,Br,I]",
    "nitrile": "[NX1]#[CX2]",
    "thiol": "[#16X2H]",
    "sulfide": "[#16X2H0]",  # less the disulfides, see count_group
    "disulfide": "[#16X2H0][#16X2H0]",
    "sulfoxide": "[$([#16X3]=[OX1]),$([#16X3+][OX1-])]",
    "sulfone": "[$([#16X4](=[OX1])=[OX1]),$([#16X4+2]([OX1-])[OX1-])]",
    "borane": "[BX3]",
}
GROUP_NAMES: tuple[str, ...] = tuple(GROUP_SMARTS)

_OWN_PLACES: Mapping[str, tuple[int, ...]] = {
    "aldehyde": (0, 1),
    "ketone": (1, 2),
    "ester": (1, 2, 3),
    "amide": (0, 1, 2),
    "nitro": (0,),
}
_WITH_OXYGENS = frozenset({"nitro", "sulfoxide", "sulfone"})
_PATTERNS = {name: Chem.MolFromSmarts(smarts) for name, smarts in GROUP_SMARTS.items()}


def group_name(name: str) -> str:
    """The key of a group for any spelling used by the benchmark (``benzene ring``, ``benzene rings``).

    Raises:
        BadReferenceError: there is no such group.
    """
    key = name.strip().lower().replace(" ", "_")
    key = "benzene_ring" if key == "benzene_rings" else key
    if key not in GROUP_SMARTS:
        raise BadReferenceError(f"unknown functional group {name!r}; known: {', '.join(GROUP_NAMES)}")
    return key


def count_group(mol: Chem.Mol, name: str) -> int:
    """How often a group of GROUP_NAMES occurs."""
    count = len(mol.GetSubstructMatches(_PATTERNS[name]))
    if name == "sulfide" and count:
        count -= len(mol.GetSubstructMatches(_PATTERNS["disulfide"]))
    return count


def group_matches(mol: Chem.Mol, name: str) -> list[tuple[int, ...]]:
    """The own atoms of each occurrence: what the group's name stands for, without the carbons that it must hang on."""
    found = []
    for match in mol.GetSubstructMatches(_PATTERNS[name]):
        own = [match[place] for place in _OWN_PLACES.get(name, range(len(match)))]
        if name in _WITH_OXYGENS:  # their pattern is the atom in the middle
            own += [
                near.GetIdx() for near in mol.GetAtomWithIdx(own[0]).GetNeighbors() if near.GetAtomicNum() == 8 and near.GetDegree() == 1
            ]
        found.append(tuple(own))
    return found


def group_counts(molecule: Molecule) -> dict[str, int]:
    """Counts of all groups, zeros included, in the order of GROUP_NAMES."""
    return {name: count_group(molecule.mol, name) for name in GROUP_NAMES}
