"""Protocols of open generation from counts (MolCustom): write down the counted things one by one, then the molecule around them."""

from __future__ import annotations

from rdkit import Chem

from chemr.data.example import Example
from chemr.protocols.facts import atoms_in_order, bonds_in_order, fragment_texts, list_text, molecule
from chemr.protocols.steps import Protocol
from rewards.functional_groups import GROUP_SMARTS, group_name

_PATTERNS = {name: Chem.MolFromSmarts(smarts) for name, smarts in GROUP_SMARTS.items()}


def group_atoms(mol: Chem.Mol, group: str) -> frozenset[int]:
    """Indices of all atoms that belong to a functional group named as in TOMG-Bench."""
    return frozenset(index for match in mol.GetSubstructMatches(_PATTERNS[group_name(group)]) for index in match)


def _atoms(example: Example) -> tuple[str, ...]:
    return (atoms_in_order(molecule(example.reference["answer"])),)


def _bonds(example: Example) -> tuple[str, ...]:
    return (bonds_in_order(molecule(example.reference["answer"])),)


def _groups(example: Example) -> tuple[str, ...]:
    mol = molecule(example.reference["answer"])
    inside = {index for group in example.inputs["counts"] for index in group_atoms(mol, group)}
    outside = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetIdx() not in inside]
    return list_text(fragment_texts(mol, inside)), list_text(fragment_texts(mol, outside, with_bond=False))


PROTOCOLS = (
    Protocol(
        "molcustom_atomnum",
        ("Atoms in order",),
        _atoms,
        "Counting is done where nothing but atoms is written; the molecule then copies this list and adds bonds, branches and rings.",
    ),
    Protocol(
        "molcustom_bondnum",
        ("Bonds in order",),
        _bonds,
        "Counting is done where nothing but bonds is written; the molecule then follows this list bond by bond.",
    ),
    Protocol(
        "molcustom_functionalgroup",
        ("Group atoms", "Other atoms"),
        _groups,
        "Every group asked for is looked up as a fragment; what joins the fragments is chosen last.",
    ),
)
