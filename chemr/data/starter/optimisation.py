"""MolOpt: a small change to a real molecule that moves Crippen logP or molar refractivity as far as asked.

What is asked is drawn evenly from the sizes that small changes of the molecule have, so that no one change (a methyl at the first place,
an OH at the end) answers more than a few of the questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rdkit import Chem

from chemr.data.starter.compounds import Compound
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import Draft
from chemr.data.starter.molecules import is_ordinary
from chemr.data.starter.splits import split_of_counts, unit_hash
from chemr.data.starter.surgery import Edited, Fragment, atoms_after, exchange, open_carbons
from rewards.molecule import Molecule
from rewards.property_change import OPTIMISED, SIGNS
from rewards.similarity import count_tanimoto

# Sizes asked for clear the scorer's margins (0.1 and 0.5 cm³/mol) by far, so that another RDKit's rounding cannot undo them.
_SMALLEST = {"molopt_logp": 0.25, "molopt_mr": 1.0}
_FRAGMENTS = tuple(Fragment.of(smiles) for smiles in ("C", "N", "O", "F", "Cl", "CC", "OC"))
_REPLACEABLE = frozenset(("C", "N", "O", "S", "F", "Cl", "Br", "I"))


@dataclass(frozen=True, slots=True)
class _Change:
    edited: Edited
    view: Molecule
    similarity: float


def optimisation_drafts(compounds: Iterable[Compound], config: StarterConfig) -> Iterator[Draft]:
    """Rows of molopt_logp and molopt_mr: per molecule and direction one size, and the change of that size that leaves it most alike."""
    for compound in compounds:
        source = Molecule(compound.mol)
        changes = [
            _Change(edited, view, count_tanimoto(view, source))
            for edited in _small_changes(compound, config.max_heavy_atoms)
            for view in (Molecule(edited.mol),)
        ]
        for task, smallest in _SMALLEST.items():
            wanted = OPTIMISED[task]
            before = wanted.measure(source)
            differences = [wanted.measure(change.view) - before for change in changes]
            for direction, sign in SIGNS.items():
                by_size: dict[float, list[_Change]] = {}
                for difference, change in zip(differences, changes, strict=True):
                    moved = sign * difference
                    size = wanted.asked(moved) if moved >= smallest else None
                    if size is not None:
                        by_size.setdefault(size, []).append(change)
                if len({size // wanted.reach for size in by_size}) > 1:  # else there is nothing to choose
                    by = min(by_size, key=lambda size: _draw(size // wanted.reach, size, compound, task, direction))
                    best = max(enumerate(by_size[by]), key=lambda item: (item[1].similarity, item[0]))[1].edited
                    atoms = max(compound.size, best.mol.GetNumAtoms())
                    inputs = {"smiles": compound.smiles, "direction": direction, "by": by}
                    yield Draft(task, inputs, best.text, atoms, compound.split, "edited by rule")


def _draw(kind: float, size: float, compound: Compound, task: str, direction: str) -> tuple[float, float]:
    """The least of these is drawn: first a kind, then a size of the kind. Sizes of one kind are so near that one change may answer both."""
    return unit_hash(compound.smiles, task, direction, "kind", kind), unit_hash(compound.smiles, task, direction, size)


def _small_changes(compound: Compound, limit: int) -> Iterator[Edited]:
    """One atom put on, taken off or exchanged at an end; results are ordinary molecules of the same split, other than the compound."""
    places: list[tuple[int, tuple[int, ...], Fragment | None]] = []
    ends = _ends(compound.mol)
    for fragment in _FRAGMENTS:
        places += [(site, (), fragment) for site in open_carbons(compound.mol)]
        places += [(anchor, (end,), fragment) for end, anchor in ends]
    places += [(anchor, (end,), None) for end, anchor in ends]
    for anchor, removed, put in places:
        atoms = atoms_after(compound, removed, put)
        if 2 <= atoms.total() <= limit and split_of_counts(atoms) is compound.split:
            edited = exchange(compound.mol, anchor, removed, put)
            if edited is not None and edited.identity != compound.smiles and is_ordinary(edited.mol):
                yield edited


def _ends(mol: Chem.Mol) -> list[tuple[int, int]]:
    """(atom, its neighbour) for atoms at the end of a single bond to carbon."""
    return [
        (atom.GetIdx(), bond.GetOtherAtomIdx(atom.GetIdx()))
        for atom in mol.GetAtoms()
        if atom.GetDegree() == 1 and atom.GetSymbol() in _REPLACEABLE and not atom.GetFormalCharge()
        for bond in atom.GetBonds()
        if bond.GetBondType() == Chem.BondType.SINGLE and bond.GetOtherAtom(atom).GetSymbol() == "C"
    ]
