"""Ring systems on which RDKit works for seconds or hours: what they are, counted in linear time before anything is asked of them.

Two searches of RDKit are exponential in the shape of a ring system, not in its size:

* MACCS keys look for rings of 8 to 14 atoms by walking. In a cage of atoms with four and more ring bonds each (a hypercube of 32
  phosphorus atoms, a cubic lattice) there are millions of walks, and where odd rings are missing none ends the search.
* Aromaticity is tried for all sets of up to six fused rings. It ends early when every bond has become aromatic, as in graphene and C60,
  but one ring that cannot (a quinone, a fused pentagon, a chain of squares) makes it try all sets of all rings of the system.

Measured: within the limits here no shape that was tried took more than 0.2 s in either, and a few steps beyond them there are some of
minutes. Of 135,000 molecules with rings of the published data and of the package ``chemicals`` none has more than 8 extra ring bonds;
fullerenes and their adducts apart, none has more than 15 unsaturated fused rings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set

from rdkit import Chem

MAX_EXTRA_RING_BONDS = 12
MAX_UNSATURATED_RINGS = 28

_Bonds = list[tuple[int, int]]
_CAN_BE_AROMATIC = frozenset({5, 6, 7, 8, 14, 15, 16, 33, 34, 52})


def is_tractable(mol: Chem.Mol) -> bool:
    """Whether both searches end soon. ``mol`` need not be sanitised.

    Neither may have more than :data:`MAX_EXTRA_RING_BONDS` ring bonds beyond three an atom, nor any of its systems of fused rings
    of atoms that could be aromatic more than :data:`MAX_UNSATURATED_RINGS` rings, unless all of its bonds are in hexagons of carbon.
    """
    if mol.GetNumBonds() - mol.GetNumAtoms() < MAX_EXTRA_RING_BONDS // 2:  # every extra ring bond takes half a ring at least
        return True
    everything = frozenset(range(mol.GetNumAtoms()))
    if sum(_extra_bonds(system) for system in fused_systems(mol, everything)) > MAX_EXTRA_RING_BONDS:
        return False
    large = [system for system in fused_systems(mol, _unsaturated(mol)) if _rings(system) > MAX_UNSATURATED_RINGS]
    if not large:
        return True
    in_hexagons = _bonds_in_carbon_hexagons(mol)
    return all(in_hexagons.issuperset(map(frozenset, system)) for system in large)


def fused_systems(mol: Chem.Mol, atoms: Set[int]) -> Iterator[_Bonds]:
    """The bonds of each ring system among ``atoms``, rings that share an atom only being two systems: the biconnected components with a
    cycle (Hopcroft and Tarjan, Commun. ACM 16, 372, 1973), without recursion."""
    near: list[list[tuple[int, int]]] = [[] for _ in range(mol.GetNumAtoms())]
    for bond in mol.GetBonds():
        left, right = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if left in atoms and right in atoms:
            near[left].append((right, bond.GetIdx()))
            near[right].append((left, bond.GetIdx()))
    seen = [0] * len(near)
    lowest = [0] * len(near)
    clock = 0
    for root in range(len(near)):
        if seen[root] or not near[root]:
            continue
        clock += 1
        seen[root] = lowest[root] = clock
        path = [(root, -1, iter(near[root]))]
        bonds: _Bonds = []
        while path:
            here, came_by, neighbours = path[-1]
            for other, bond_index in neighbours:
                if bond_index == came_by:
                    continue
                if not seen[other]:
                    bonds.append((here, other))
                    clock += 1
                    seen[other] = lowest[other] = clock
                    path.append((other, bond_index, iter(near[other])))
                    break
                if seen[other] < seen[here]:
                    bonds.append((here, other))
                    lowest[here] = min(lowest[here], seen[other])
            else:
                path.pop()
                if not path:
                    break
                before = path[-1][0]
                lowest[before] = min(lowest[before], lowest[here])
                if lowest[here] >= seen[before]:
                    start = len(bonds) - 1 - bonds[::-1].index((before, here))
                    if len(bonds) - start > 1:
                        yield bonds[start:]
                    del bonds[start:]


def _rings(system: _Bonds) -> int:
    return len(system) - len({atom for bond in system for atom in bond}) + 1


def _extra_bonds(system: _Bonds) -> int:
    degrees = Counter(atom for bond in system for atom in bond)
    return sum(degree - 3 for degree in degrees.values() if degree > 3)


def _unsaturated(mol: Chem.Mol) -> frozenset[int]:
    """Atoms that RDKit may take for aromatic: not saturated carbon, not a metal, not with four neighbours."""
    return frozenset(
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetAtomicNum() in _CAN_BE_AROMATIC
        and atom.GetDegree() <= 3
        and (
            atom.GetAtomicNum() != 6
            or atom.GetFormalCharge()
            or atom.GetNoImplicit()
            or any(bond.GetBondType() != Chem.BondType.SINGLE for bond in atom.GetBonds())
        )
    )


def _bonds_in_carbon_hexagons(mol: Chem.Mol) -> set[frozenset[int]]:
    """The bonds of six-membered rings of carbons that have their double bonds in rings: each is aromatic by itself."""
    plain = Chem.Mol(mol)
    Chem.GetSymmSSSR(plain)  # all 20 hexagons of C60
    found: set[frozenset[int]] = set()
    for ring in plain.GetRingInfo().AtomRings():
        if len(ring) == 6 and all(_is_benzenoid(plain.GetAtomWithIdx(atom)) for atom in ring):
            found.update(frozenset((ring[at - 1], ring[at])) for at in range(6))
    return found


def _is_benzenoid(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() == 6 and all(bond.IsInRing() or bond.GetBondType() == Chem.BondType.SINGLE for bond in atom.GetBonds())
