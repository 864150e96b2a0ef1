"""Which surroundings of heteroatoms, and which small rings, occur among known compounds: what no real molecule has, no answer should have.

Rules written by hand find what was thought of (:mod:`rewards.plausibility`); this finds the rest: S–H ylides, boron with a double bond,
a ring of three with nitrogen and sulfur. The reference set is the 76,000 PubChem compounds of the package ``chemicals`` (MIT licence), kept
as hashes in ``known_environments.bin``, which ``python -m chemr.data.known_environments`` makes. Only heteroatoms and rings of up to four
atoms are looked at: surroundings of carbon, and larger rings, are so many that real molecules have new ones every day (9 % of OpenMolIns').
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from rdkit import Chem

FILE = "known_environments.bin"
HASH_BYTES = 6  # among the 4,500 known, a new one is taken for one of them once in 60 billion
SMALL_RING = 4
_BONDS = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#", Chem.BondType.AROMATIC: ":"}


def unknown_environments(mol: Chem.Mol) -> frozenset[str]:
    """The descriptions of the molecule's heteroatoms and small rings that no compound of the reference set has."""
    known = _known()
    return frozenset(text for text in environments(mol) if hashed(text) not in known)


def environments(mol: Chem.Mol) -> Iterator[str]:
    """A text for each heteroatom (element, charge, hydrogens, bonds and neighbours) and each ring of at most four atoms (its atoms and
    bonds in turn). The ways to draw a charge-separated bond are one: ``[S+][O-]`` is ``S=O``."""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() not in (1, 6):
            yield _surroundings(atom)
    for ring in mol.GetRingInfo().AtomRings():
        if len(ring) <= SMALL_RING:
            yield _ring(mol, list(ring))


def hashed(text: str) -> bytes:
    """What is stored of a description."""
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).digest()


@cache
def _known() -> frozenset[bytes]:
    content = files("rewards").joinpath(FILE).read_bytes()
    return frozenset(content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES))


def _surroundings(atom: Chem.Atom) -> str:
    charge, neighbours = atom.GetFormalCharge(), []
    for bond in atom.GetBonds():
        other = bond.GetOtherAtom(atom)
        if charge > 0 and other.GetFormalCharge() == -1 and bond.GetBondType() == Chem.BondType.SINGLE and other.GetDegree() == 1:
            charge -= 1
            neighbours.append(f"={other.GetSymbol()}+0")
        elif charge == -1 and atom.GetDegree() == 1 and other.GetFormalCharge() > 0 and bond.GetBondType() == Chem.BondType.SINGLE:
            charge = 0
            neighbours.append(f"={other.GetSymbol()}{_class(other)}")
        else:
            ring = "@" if bond.IsInRing() else ""
            neighbours.append(f"{_BONDS.get(bond.GetBondType(), '~')}{ring}{other.GetSymbol()}{_class(other)}")
    aromatic = "r" if atom.GetIsAromatic() else ""
    return f"{atom.GetSymbol()}{charge:+d}{aromatic}H{atom.GetTotalNumHs()}|{','.join(sorted(neighbours))}"


def _class(atom: Chem.Atom) -> str:
    """A neighbour's charge, without what its own negative neighbours take of it, and whether it is aromatic."""
    charge = atom.GetFormalCharge()
    if charge > 0:
        charge = max(0, charge - sum(near.GetFormalCharge() == -1 and near.GetDegree() == 1 for near in atom.GetNeighbors()))
    return f"{charge:+d}{'r' if atom.GetIsAromatic() else ''}"


def _ring(mol: Chem.Mol, ring: list[int]) -> str:
    ways = []
    for order in (ring, ring[::-1]):
        steps = []
        for at, index in enumerate(order):
            atom, bond = mol.GetAtomWithIdx(index), mol.GetBondBetweenAtoms(index, order[(at + 1) % len(order)])
            steps.append(f"{atom.GetSymbol()}{_class(atom)}{_BONDS.get(bond.GetBondType(), '~')}")
        ways += ["".join(steps[start:] + steps[:start]) for start in range(len(steps))]
    return f"ring {min(ways)}"
