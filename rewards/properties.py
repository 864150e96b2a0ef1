"""Countable and computed properties of molecules that tasks ask for."""

from __future__ import annotations

from rdkit import Chem
from rdkit.Chem import QED, Crippen, rdMolDescriptors

from rewards.molecule import Molecule

BOND_KINDS: tuple[str, ...] = ("single", "double", "triple", "aromatic", "rotatable")

_BOND_TYPES = {
    "single": Chem.BondType.SINGLE,
    "double": Chem.BondType.DOUBLE,
    "triple": Chem.BondType.TRIPLE,
    "aromatic": Chem.BondType.AROMATIC,
}


def bond_counts(molecule: Molecule) -> dict[str, int]:
    """Bonds between heavy atoms by type, and rotatable bonds (RDKit's strict definition), as TOMG-Bench counts them."""
    types = [bond.GetBondType() for bond in molecule.mol.GetBonds()]
    counts = {kind: types.count(bond_type) for kind, bond_type in _BOND_TYPES.items()}
    return counts | {"rotatable": int(rdMolDescriptors.CalcNumRotatableBonds(molecule.mol))}


def logp(molecule: Molecule) -> float:
    """Octanol-water partition coefficient after Wildman and Crippen (J. Chem. Inf. Comput. Sci. 39, 868, 1999)."""
    return float(Crippen.MolLogP(molecule.mol))  # type: ignore[attr-defined]


def molar_refractivity(molecule: Molecule) -> float:
    """Molar refractivity in cm³/mol after Wildman and Crippen (same paper)."""
    return float(Crippen.MolMR(molecule.mol))  # type: ignore[attr-defined]


def drug_likeness(molecule: Molecule) -> float:
    """QED, in [0, 1], after Bickerton et al. (Nature Chemistry 4, 90, 2012). Slow (1 ms): call it last."""
    return float(QED.qed(molecule.mol))
