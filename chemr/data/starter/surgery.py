"""Taking atoms off a molecule and putting others on, without changing how the rest is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rdkit import Chem

from chemr.data.starter.compounds import Compound
from chemr.data.starter.molecules import flat, heavy_counts, parse, written_in_order


@dataclass(frozen=True, slots=True)
class Fragment:
    """What is put on a molecule: bound by its first atom."""

    mol: Chem.Mol
    atoms: Mapping[str, int]

    @classmethod
    def of(cls, smiles: str) -> Fragment:
        mol = parse(smiles)
        return cls(mol, heavy_counts(mol))


@dataclass(frozen=True, slots=True)
class Edited:
    """The result of an edit: the molecule as its own text reads, and that text."""

    mol: Chem.Mol
    text: str

    @property
    def identity(self) -> str:
        return flat(self.mol)


def exchange(mol: Chem.Mol, anchor: int, removed: Collection[int] = (), fragment: Fragment | None = None) -> Edited | None:
    """Take the ``removed`` atoms away and bind the first atom of ``fragment`` to ``anchor`` by a single bond.

    The fragment is written where the first removed atom was, or right after the anchor; all other atoms keep their places. ``None`` when
    the result is no molecule, or in several pieces.
    """
    editable = Chem.RWMol(mol)
    order = list(range(mol.GetNumAtoms()))
    if fragment is not None:
        start = mol.GetNumAtoms()
        editable.InsertMol(fragment.mol)
        editable.AddBond(anchor, start, Chem.BondType.SINGLE)
        place = min(removed) if removed else anchor + 1
        order[place:place] = range(start, start + fragment.mol.GetNumAtoms())
    editable.BeginBatchEdit()
    for index in removed:
        editable.RemoveAtom(index)
    editable.CommitBatchEdit()
    position = {old: new for new, old in enumerate(sorted(set(order) - set(removed)))}
    if Chem.SanitizeMol(editable, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE or editable.GetNumAtoms() == 0:
        return None
    text = written_in_order(editable.GetMol(), [position[index] for index in order if index in position])
    return None if "." in text else Edited(parse(text), text)


def atoms_after(compound: Compound, removed: Collection[int] = (), fragment: Fragment | None = None) -> Counter[str]:
    """Heavy atoms per element that :func:`exchange` would leave; cheap, to tell the split of a result before it is made."""
    counts = Counter(compound.atoms)
    for index in removed:
        counts[compound.mol.GetAtomWithIdx(index).GetSymbol()] -= 1
    if fragment is not None:
        counts.update(fragment.atoms)
    return counts


def open_carbons(mol: Chem.Mol) -> list[int]:
    """Carbons that can carry one more substituent: sp3 or aromatic, with a hydrogen, and no other atom than carbon beside them."""
    return [
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetSymbol() == "C"
        and atom.GetTotalNumHs() > 0
        and (atom.GetIsAromatic() or atom.GetHybridization() == Chem.HybridizationType.SP3)
        and all(neighbour.GetSymbol() == "C" for neighbour in atom.GetNeighbors())
    ]
