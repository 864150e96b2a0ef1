"""Facts about molecules that traces are made of: compositions, skeletons, what an edit changed.

Everything here is computed with RDKit from molecules of our own data. Nothing here may see a model's text: RDKit crashes and hangs on
hostile SMILES, so those are parsed by the reward workers only.

Fragments are written *as they stand in the molecule*: in the order of the whole SMILES and without a hydrogen added where a bond was cut.
So a fragment's text is what the model finds in the question, or copies into the answer a few tokens later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import rdFMCS

from chemr.protocols.steps import NONE

_BOND_TEXT = {
    Chem.BondType.SINGLE: "",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
    Chem.BondType.AROMATIC: "",
}
_BOND_SYMBOL = {**_BOND_TEXT, Chem.BondType.SINGLE: "-", Chem.BondType.AROMATIC: ":"}
_COMMON_SUBGRAPH_SECONDS = 60  # starter molecules take milliseconds; a search cut short would make traces depend on the machine's load


def molecule(smiles: str) -> Chem.Mol:
    """Parse a SMILES of our own data. Raises ValueError when RDKit cannot: then the data is at fault."""
    mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"{smiles!r} is no molecule for RDKit; a trace can only be written about valid data")
    return mol


def heavy_atoms(mol: Chem.Mol) -> Counter[str]:
    return Counter(atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1)


def composition(mol: Chem.Mol) -> Counter[str]:
    """Atoms per element, hydrogens included."""
    counts = Counter(atom.GetSymbol() for atom in mol.GetAtoms())
    counts["H"] += sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    return counts


def composition_text(counts: Mapping[str, int]) -> str:
    """``{"C": 4, "N": 1}`` -> ``C4N``: carbon, then hydrogen, then by symbol; ones are left out, elements without atoms too."""
    present = sorted((symbol for symbol, count in counts.items() if count > 0), key=lambda symbol: (symbol != "C", symbol != "H", symbol))
    return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in present) or NONE


def unsaturation(atoms: Mapping[str, int], charge: int) -> int:
    """Degree of unsaturation of a formula, hydrogens included: 1 + (sum over atoms of (valence - 2) + charge) / 2.

    Valence is the element's lowest usual one (C 4, N 3, O 2, H and halogens 1), so for ordinary valences this is the number of rings
    plus pi bonds; hydrogens follow from it and from the heavy atoms in any case.

    Raises:
        ValueError: an element has no usual valence (a metal), or the result is no whole number (a radical).
    """
    table = Chem.GetPeriodicTable()
    valences = {symbol: table.GetDefaultValence(symbol) for symbol in atoms}
    odd = sorted(symbol for symbol, valence in valences.items() if valence < 0)
    if odd:
        raise ValueError(f"{composition_text(atoms)}: no usual valence of {', '.join(odd)}, so there is no degree of unsaturation")
    twice = 2 + sum(count * (valences[symbol] - 2) for symbol, count in atoms.items()) + charge
    if twice % 2:
        raise ValueError(f"{composition_text(atoms)} with charge {charge} is a radical: its degree of unsaturation is no whole number")
    return twice // 2


def bond_kinds(mol: Chem.Mol) -> Counter[str]:
    """Bonds by the elements they join, whatever their order: ``{"C-O": 2}``."""
    pairs = (sorted((bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol())) for bond in mol.GetBonds())
    return Counter("-".join(pair) for pair in pairs)


def atoms_in_order(mol: Chem.Mol) -> str:
    """Element symbols in the order in which the SMILES that ``mol`` was parsed from writes them."""
    return "".join(atom.GetSymbol() for atom in mol.GetAtoms())


def bonds_in_order(mol: Chem.Mol) -> str:
    """One of ``- = # :`` per bond, in the order in which the SMILES that ``mol`` was parsed from completes them.

    A bond is complete once its second atom is written (its ring digit follows the atom), so bonds are ordered by their later atom.
    """

    def completion(bond: Chem.Bond) -> tuple[int, int]:
        first, last = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        return last, first

    return "".join(_BOND_SYMBOL[bond.GetBondType()] for bond in sorted(mol.GetBonds(), key=completion)) or NONE


def fragment_texts(mol: Chem.Mol, chosen: Collection[int], with_bond: bool = True) -> list[str]:
    """SMILES of the connected pieces of the ``chosen`` atoms, in the order in which ``mol`` was written.

    A piece that is bound to atoms outside begins with the atom that is bound, after the bond's symbol where it is double or triple
    (``=O``). ``with_bond=False`` begins with the piece's first atom instead.
    """
    texts: list[str] = []
    for piece in _connected(mol, chosen):
        root, bond = (_anchor(mol, piece) if with_bond else None) or (min(piece), "")
        texts.append(bond + Chem.MolFragmentToSmiles(mol, sorted(piece), rootedAtAtom=root, isomericSmiles=False, canonical=False))
    return texts


def _anchor(mol: Chem.Mol, piece: Collection[int]) -> tuple[int, str] | None:
    """The first atom of the piece that is bound to an atom outside, and that bond's symbol."""
    for index in sorted(piece):
        for bond in mol.GetAtomWithIdx(index).GetBonds():
            if bond.GetOtherAtomIdx(index) not in piece:
                return index, _BOND_TEXT[bond.GetBondType()]
    return None


def list_text(items: Collection[str]) -> str:
    return ",".join(items) or NONE


def skeleton_atoms(mol: Chem.Mol) -> frozenset[int]:
    """The atoms the molecule is built around: all ring atoms, or else the longest chain of carbons (empty when there is no carbon).

    Of equally long chains the one with most neighbours that are not carbon, then most multiple bonds, then least canonical rank is
    taken, so the choice does not depend on the order in which atoms are written.
    """
    rings = frozenset(atom.GetIdx() for atom in mol.GetAtoms() if atom.IsInRing())
    if rings:
        return rings
    chains = _carbon_chains(mol)
    if not chains:
        return frozenset()
    longest = max(map(len, chains))
    ranks = list(Chem.CanonicalRankAtoms(mol))

    def preference(chain: frozenset[int]) -> tuple[int, float, list[int]]:
        inside = [mol.GetAtomWithIdx(index) for index in chain]
        hetero = sum(neighbour.GetSymbol() != "C" for atom in inside for neighbour in atom.GetNeighbors())
        orders = sum(
            bond.GetBondTypeAsDouble() for bond in mol.GetBonds() if bond.GetBeginAtomIdx() in chain and bond.GetEndAtomIdx() in chain
        )
        return (-hetero, -orders, sorted(ranks[index] for index in chain))

    return min((chain for chain in chains if len(chain) == longest), key=preference)


def skeleton_and_groups(mol: Chem.Mol) -> tuple[str, str]:
    """Claim texts: the skeleton, and what hangs on it (``CCCC`` and ``=O,C``)."""
    skeleton = skeleton_atoms(mol)
    rest = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetIdx() not in skeleton]
    return list_text(fragment_texts(mol, skeleton, with_bond=False)), list_text(fragment_texts(mol, rest))


@dataclass(frozen=True, slots=True)
class Change:
    """What turns one molecule into another, as claim texts: pieces taken away, pieces put in, and the kept atoms they sit on."""

    removed: str
    added: str
    site: str


def change_between(before: Chem.Mol, after: Chem.Mol) -> Change:
    """Compare by the maximum common connected subgraph: elements, bond orders and whole rings equal.

    ``site`` lists the kept atoms, as they are in ``before`` (``CH2``), next to which something was taken away or put in.

    Raises:
        ValueError: the molecules are too large to be compared within a minute.
    """
    found = rdFMCS.FindMCS(
        [before, after],
        atomCompare=rdFMCS.AtomCompare.CompareElements,
        bondCompare=rdFMCS.BondCompare.CompareOrderExact,
        ringMatchesRingOnly=True,
        completeRingsOnly=True,
        timeout=_COMMON_SUBGRAPH_SECONDS,
    )
    if found.canceled:
        pair = f"{Chem.MolToSmiles(before)} and {Chem.MolToSmiles(after)}"
        raise ValueError(f"no common subgraph of {pair} within {_COMMON_SUBGRAPH_SECONDS} s; leave such large pairs out of the data")
    common = Chem.MolFromSmarts(found.smartsString) if found.numAtoms else None
    kept_before = before.GetSubstructMatch(common) if common is not None else ()
    kept_after = after.GetSubstructMatch(common) if common is not None else ()
    out = {atom.GetIdx() for atom in before.GetAtoms()} - set(kept_before)
    new = {atom.GetIdx() for atom in after.GetAtoms()} - set(kept_after)
    touched = {old for old, now in zip(kept_before, kept_after, strict=True) if _touches(before, old, out) or _touches(after, now, new)}
    site = sorted({hydride_text(before.GetAtomWithIdx(index)) for index in touched})
    return Change(list_text(fragment_texts(before, out)), list_text(fragment_texts(after, new)), list_text(site))


def hydride_text(atom: Chem.Atom) -> str:
    """``CH2``, ``OH``, ``cH``: an atom as SMILES writes it (lower case when aromatic) with its hydrogens."""
    symbol = atom.GetSymbol().lower() if atom.GetIsAromatic() else atom.GetSymbol()
    count = atom.GetTotalNumHs()
    return symbol + ("H" if count else "") + (str(count) if count > 1 else "")


def _touches(mol: Chem.Mol, index: int, others: Collection[int]) -> bool:
    return any(neighbour.GetIdx() in others for neighbour in mol.GetAtomWithIdx(index).GetNeighbors())


def _connected(mol: Chem.Mol, chosen: Collection[int]) -> list[frozenset[int]]:
    """The connected pieces of the induced subgraph."""
    left, pieces = set(chosen), []
    while left:
        frontier, piece = {min(left)}, set()
        while frontier:
            piece |= frontier
            frontier = {n.GetIdx() for i in frontier for n in mol.GetAtomWithIdx(i).GetNeighbors() if n.GetIdx() in left} - piece
        left -= piece
        pieces.append(frozenset(piece))
    return pieces


def _carbon_chains(mol: Chem.Mol) -> list[frozenset[int]]:
    """All paths between two carbons along carbons only. For molecules without rings, where a path is unique."""
    carbons = {atom.GetIdx() for atom in mol.GetAtoms() if atom.GetSymbol() == "C"}
    chains: list[frozenset[int]] = []
    for start in sorted(carbons):
        stack: list[tuple[int, tuple[int, ...]]] = [(start, (start,))]
        while stack:
            here, path = stack.pop()
            chains.append(frozenset(path))
            for neighbour in mol.GetAtomWithIdx(here).GetNeighbors():
                index = neighbour.GetIdx()
                if index in carbons and index not in path:
                    stack.append((index, (*path, index)))
    return chains
