"""Where an edit of a functional group took place: which atoms are the group's own, and what is left of a molecule without them.

Counting a group says that it is there or gone, not that it was put or taken: a benzene ring that lost one carbon is gone, and so is a
nitrile whose nitrogen alone was removed. Here the own atoms of the old group must leave, and the new group must stand where it stood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from rdkit import Chem

from rewards.functional_groups import group_matches
from rewards.molecule import Molecule

_ATTACHMENT = 900  # an isotope that no answer has: it marks the atoms that a group hung on
_MAX_PLACES = 24  # of one group in a molecule that are compared

OWN_ELEMENTS: Mapping[str, Mapping[str, int]] = {
    "benzene_ring": {"C": 6},
    "hydroxyl": {"O": 1},
    "anhydride": {"C": 2, "O": 3},
    "aldehyde": {"C": 1, "O": 1},
    "ketone": {"O": 1},  # its carbon is a link of the chain
    "carboxyl": {"C": 1, "O": 2},
    "ester": {"C": 1, "O": 2},
    "amide": {"C": 1, "N": 1, "O": 1},
    "amine": {"N": 1},
    "nitro": {"N": 1, "O": 2},
    "halo": {},  # one of four elements: the count of the group says that it left
    "nitrile": {"C": 1, "N": 1},
    "thiol": {"S": 1},
    "sulfide": {"S": 1},
    "disulfide": {"S": 2},
    "sulfoxide": {"O": 1, "S": 1},
    "sulfone": {"O": 2, "S": 1},
    "borane": {"B": 1},
}


def own_atoms_gone(source: Molecule, answer: Molecule, removed: str, added: str | None) -> bool:
    """Whether ``answer`` lacks at least the removed group's own atoms, those of the added group not counted."""
    gone = Counter(source.heavy_elements)
    gone.subtract(answer.heavy_elements)
    gone.update(OWN_ELEMENTS[added] if added else {})
    return all(gone[element] >= count for element, count in OWN_ELEMENTS[removed].items())


def same_site(source: Molecule, answer: Molecule, removed: str | None, added: str) -> bool:
    """Whether ``answer`` is ``source`` with ``added`` at the atoms that a ``removed`` hung on; without ``removed``, at any atom."""
    marked = removed is not None
    before = set(_without(source, removed, marked))
    return not before.isdisjoint(_without(answer, added, marked))


def _without(molecule: Molecule, group: str | None, marked: bool) -> Iterator[str]:
    """Flat canonical forms of the molecule without one of the group, for each place of it; as it is without a group to take off."""
    if group is None:
        yield molecule.flat
        return
    for own in group_matches(molecule.mol, group)[:_MAX_PLACES]:
        editable = Chem.RWMol(molecule.mol)
        for index in own:
            for near in molecule.mol.GetAtomWithIdx(index).GetNeighbors():
                if near.GetIdx() not in own:
                    atom = editable.GetAtomWithIdx(near.GetIdx())
                    atom.SetIsotope(_ATTACHMENT if marked else 0)
                    if atom.GetNoImplicit() or (atom.GetIsAromatic() and atom.GetAtomicNum() != 6):  # it gets no hydrogen by itself
                        order = molecule.mol.GetBondBetweenAtoms(index, near.GetIdx()).GetBondTypeAsDouble()
                        atom.SetNumExplicitHs(atom.GetNumExplicitHs() + int(order))
        for index in sorted(own, reverse=True):
            editable.RemoveAtom(index)
        left = editable.GetMol()
        Chem.RemoveStereochemistry(left)
        if Chem.SanitizeMol(left, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            yield ".".join(sorted(Chem.MolToSmiles(left).split(".")))
