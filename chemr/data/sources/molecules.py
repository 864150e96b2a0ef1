"""Molecules of data files as sets of flat components: what decides whether two rows speak of the same compound.

RDKit reads with legacy ring finding on, as in scoring: the newer finder takes minutes on some macrocycles (REWARDS §4.3, B4 and B5).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rdkit import Chem, RDLogger

RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
Chem.SetUseLegacyRingFinding(True)

MAX_CHARS = 4_000

_CARBON = re.compile(r"(?<![A-Z])c|C(?![adelmnorsu])")  # in canonical SMILES; Ca, Cd, Ce, Cl, Cm, Cn, Co, Cr, Cs, Cu are other elements


class Component(NamedTuple):
    """One fragment: canonical SMILES without stereo, isotopes and atom maps, and its number of heavy atoms."""

    smiles: str
    heavy_atoms: int

    @property
    def has_carbon(self) -> bool:
        return _CARBON.search(self.smiles) is not None


_SPECIAL_ATOM = re.compile(r"\[\d|\[H|:")  # an isotope, a written-out hydrogen or an atom map


def _parameters() -> Chem.SmilesParserParams:
    parameters = Chem.SmilesParserParams()
    for name in ("allowCXSMILES", "parseName"):
        setattr(parameters, name, False)
    return parameters


_PARAMETERS = _parameters()


def parsed(smiles: str) -> Chem.Mol | None:
    """The molecule, or None when it is too long, empty or not valid."""
    if not smiles or len(smiles) > MAX_CHARS or not smiles.isascii():
        return None
    mol = Chem.MolFromSmiles(smiles, _PARAMETERS)
    return None if mol is None or mol.GetNumAtoms() == 0 else mol


@lru_cache(maxsize=1 << 19)
def flat_components(smiles: str) -> tuple[Component, ...] | None:
    """The distinct components, sorted, or None when RDKit cannot read the text. Cached: names, captions and reactions repeat molecules."""
    mol = parsed(smiles)
    if mol is None:
        return None
    if _SPECIAL_ATOM.search(smiles):
        Chem.RemoveStereochemistry(mol)  # hydrogens that define it would otherwise stay
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
            atom.SetIsotope(0)
        mol = Chem.RemoveHs(mol)  # deuterium is an explicit atom until it is hydrogen
    if "." not in smiles:
        return (Component(Chem.MolToSmiles(mol, isomericSmiles=False), int(mol.GetNumHeavyAtoms())),)
    return tuple(sorted({_component(fragment) for fragment in Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)}))


def _component(mol: Chem.Mol) -> Component:
    return Component(Chem.MolToSmiles(mol, isomericSmiles=False), int(mol.GetNumHeavyAtoms()))


def without_maps(smiles: str) -> str | None:
    """Canonical SMILES with stereo and without atom maps; None when RDKit cannot read it."""
    mol = parsed(smiles)
    if mol is None:
        return None
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    return Chem.MolToSmiles(mol)
