"""Small views of molecules that all starter tasks share. Trusted molecules only: these come from our own tables and templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rdkit import Chem, RDLogger

RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]

ELEMENTS = ("C", "N", "O", "S", "F", "Cl", "Br", "I")  # of the starter: what a small vocabulary holds

_NITRO = Chem.MolFromSmarts("[N+](=O)[O-]")
_UNSTABLE = tuple(
    Chem.MolFromSmarts(smarts)
    for smarts in (
        "[#8;!a]-[#8;!a]",
        "[#7;!a]~[#7;!a]~[#7;!a]",
        "[#16;X2;!a]-[#16;X2;!a]-[#16;X2;!a]",
        "[F,Cl,Br,I]-[!#6]",
        "[#7;!a;!$([#7+])]-[#8]-[#7]",
        "[#6]=[#6]=[#6]=[#6]",
        "[Cl,Br,I;!D1]",
    )
)


_MAX_HETEROATOMS = 3
_MAX_RINGS = 1
_UNCOMMON = tuple(
    Chem.MolFromSmarts(smarts)
    for smarts in (
        "[#6]=[#6]=*",  # allenes, ketenes
        "C#CC#*",
        "[#6;!$(C=N)]=[#16]",
        "[#6]=[NX2;!$(N=C=*)]",  # imines, oximes; aromatic nitrogen has no double bond here
        "[#16]=[#8]",
        "[#7,#8,#16;!$([#7+])]~[#7,#8,#16;!$([#7+])]",  # hydrazines, hydroxylamines, disulfides
        "[CX3](=O)[F,Br,I]",
        "[cR]=*",
    )
)


def parse(smiles: str) -> Chem.Mol:
    """Raises ValueError for what RDKit cannot read: then a template or a table is at fault."""
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is not a molecule for RDKit")
    return mol


def flat(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo marks: the identity of a molecule in this data."""
    return str(Chem.MolToSmiles(mol, isomericSmiles=False))


def heavy_counts(mol: Chem.Mol) -> Counter[str]:
    return Counter(atom.GetSymbol() for atom in mol.GetAtoms())


def is_ordinary(mol: Chem.Mol) -> bool:
    """Organic, of the starter's elements, neutral apart from nitro groups, and nothing a chemist would not keep in a bottle."""
    counts = heavy_counts(mol)
    if not counts["C"] or not counts.keys() <= set(ELEMENTS):
        return False
    if any(atom.GetIsotope() or atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return False
    charged = {atom.GetIdx() for atom in mol.GetAtoms() if atom.GetFormalCharge()}
    if charged and charged != {index for n, _, o in mol.GetSubstructMatches(_NITRO) for index in (n, o)}:
        return False
    return not any(mol.HasSubstructMatch(pattern) for pattern in _UNSTABLE)


def is_common(mol: Chem.Mol) -> bool:
    """Of the kinds of molecules that beginners' textbooks are full of: one ring at most, few heteroatoms, everyday functional groups.

    What is rare in the table is left out, because a handful of examples teaches a small model nothing and a held-out one tests nothing.
    """
    if mol.GetNumAtoms() - heavy_counts(mol)["C"] > _MAX_HETEROATOMS or mol.GetRingInfo().NumRings() > _MAX_RINGS:
        return False
    return not any(mol.HasSubstructMatch(pattern) for pattern in _UNCOMMON)


def written_in_order(mol: Chem.Mol, order: Sequence[int]) -> str:
    """SMILES that visits the atoms in ``order`` as far as a SMILES can: from the first one on, earlier neighbours in branches.

    The answer to "add a chlorine to CCC(C)=O" is then the question's own text with ``Cl`` in it, not a new canonical order.
    """
    return str(Chem.MolToSmiles(Chem.RenumberAtoms(mol, list(order)), canonical=False, isomericSmiles=False))
