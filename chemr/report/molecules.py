"""Molecules for the page: coordinates, kekulised bonds and labels as small integers, and which atoms two molecules do not share.

The text of a model is read by the guarded parser of the scorers only; what it refuses is shown as text and never drawn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdFMCS

from rewards.errors import AnswerRejectedError
from rewards.molecule import answer_molecule

MAX_CHARS = 400  # of a text that is tried as SMILES
MAX_DRAWN_ATOMS = 120
MAX_COMPARED_ATOMS = 60  # per fragment: beyond, common substructures take too long
MAX_COMPARED_FRAGMENTS = 6
COMPARISON_TIMEOUT_S = 1
COMPARISONS_BUDGET_S = 30.0  # of one report; later pairs are left without a difference
UNITS = 20  # of a coordinate, in one ångström of RDKit's drawing (a bond is 1.5)

# Tasks that begin with a molecule and change it.
EDITED_TASKS = frozenset({"moledit_add", "moledit_del", "moledit_sub", "molopt_logp", "molopt_mr", "molopt_qed"})
# Answers that are molecules. Others are formulas, names, words: "CO" as a formula is not methanol.
MOLECULE_ANSWERS = frozenset(
    {
        *("iupac2smiles", "forward", "retro", "reactant_selection", "ligand_selection", "text2mol"),
        *("molcustom_atomnum", "molcustom_bondnum", "molcustom_functionalgroup"),
        *EDITED_TASKS,
    }
)
# Fields of a row's inputs that are SMILES, the molecule that an edit begins with among them.
ASKED_FIELDS = ("smiles", "product", "reactants", "given", "reaction")

Difference = tuple[list[int], list[int]]


class MoleculeTable:
    """Each distinct molecule once, in the order of first use, and the differences of pairs."""

    def __init__(self, budget_s: float = COMPARISONS_BUDGET_S) -> None:
        self.drawings: list[dict[str, Any]] = []
        self.skipped_pairs = 0  # too large, out of time, or out of budget
        self._places: dict[str, int | None] = {}
        self._molecules: list[Chem.Mol] = []
        self._differences: dict[tuple[int, int], Difference | None] = {}
        self._left_s = budget_s

    def place(self, text: str) -> int | None:
        """Where the molecule that ``text`` writes is in :attr:`drawings`; None when it is none, or too large to be drawn."""
        if text not in self._places:
            self._places[text] = self._add(text)
        return self._places[text]

    def difference(self, one: int, other: int) -> Difference | None:
        """Atoms of ``one`` and atoms of ``other`` (places) that their common substructure leaves out; None when that is not known."""
        if (one, other) not in self._differences:
            began = time.perf_counter()
            found = differing_atoms(self._molecules[one], self._molecules[other]) if self._left_s > 0 else None
            self._left_s -= time.perf_counter() - began
            self.skipped_pairs += found is None
            self._differences[one, other] = found
            self._differences[other, one] = None if found is None else (found[1], found[0])
        return self._differences[one, other]

    def _add(self, text: str) -> int | None:
        mol = read_molecule(text)
        if mol is None:
            return None
        self._molecules.append(mol)
        self.drawings.append(drawing(mol))
        return len(self._molecules) - 1


def read_molecule(text: str) -> Chem.Mol | None:
    """The molecule, ready to be drawn (2D coordinates, kekulised, wedged), or None for anything that is not one or is too large."""
    if not text or len(text) > MAX_CHARS:
        return None
    try:
        mol = answer_molecule(text.strip()).mol
    except AnswerRejectedError:
        return None
    if mol.GetNumAtoms() > MAX_DRAWN_ATOMS:
        return None
    from rdkit.Chem.Draw import rdMolDraw2D  # needs libXrender: whoever asks only which tasks have molecules does without

    try:
        return rdMolDraw2D.PrepareMolForDrawing(Chem.Mol(mol), kekulize=True, addChiralHs=False)
    except (ValueError, RuntimeError):  # a molecule that RDKit cannot kekulise or lay out
        return None


def drawing(mol: Chem.Mol) -> dict[str, Any]:
    """What the page draws.

    ``p``: x, y of every atom in turn, 1/20 ångström, y downwards, from 0. ``b``: begin, end, kind of every bond in turn; kind 1, 2, 3 is
    the order, 4 a wedge and 5 a hashed wedge from its beginning. ``l``: atom, symbol, hydrogens, charge, isotope, side of every label:
    side 1 = hydrogens to the right, −1 to the left.
    """
    conformer = mol.GetConformer()
    positions = [(conformer.GetAtomPosition(index).x, -conformer.GetAtomPosition(index).y) for index in range(mol.GetNumAtoms())]
    left, top = min(x for x, _ in positions), min(y for _, y in positions)
    places = [value for x, y in positions for value in (round(UNITS * (x - left)), round(UNITS * (y - top)))]
    bonds: list[int] = []
    for bond in mol.GetBonds():
        kind = {Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}.get(bond.GetBondType(), 1)
        kind = {Chem.BondDir.BEGINWEDGE: 4, Chem.BondDir.BEGINDASH: 5}.get(bond.GetBondDir(), kind)
        bonds += [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), kind]
    labels = [_label(atom, positions) for atom in mol.GetAtoms() if _needs_label(atom)]
    return {"p": places, "b": bonds, "l": labels}


def _needs_label(atom: Chem.Atom) -> bool:
    if atom.GetAtomicNum() != 6 or atom.GetDegree() == 0:
        return True
    return bool(atom.GetFormalCharge() or atom.GetIsotope() or atom.GetNumRadicalElectrons())


def _label(atom: Chem.Atom, positions: list[tuple[float, float]]) -> list[Any]:
    x = positions[atom.GetIdx()][0]
    pull = sum(positions[neighbour.GetIdx()][0] - x for neighbour in atom.GetNeighbors())
    side = -1 if pull > 0.1 else 1
    return [atom.GetIdx(), atom.GetSymbol(), atom.GetTotalNumHs(), atom.GetFormalCharge(), atom.GetIsotope(), side]


def differing_atoms(one: Chem.Mol, other: Chem.Mol) -> Difference | None:
    """Atoms of each molecule outside of the maximum common substructure, fragment by fragment; None when it took too long.

    Equal fragments are matched first, then the largest common substructures among the rest. Elements and bond orders have to agree, ring
    atoms match ring atoms (rdFMCS: Dalke & Hastings 2013, FMCS: a novel algorithm for the multiple MCS problem).
    """
    ours, theirs = _fragments(one), _fragments(other)
    if len(ours) > MAX_COMPARED_FRAGMENTS or len(theirs) > MAX_COMPARED_FRAGMENTS:
        return None
    shared_one: set[int] = set()
    shared_other: set[int] = set()
    for smiles, atoms, _ in list(ours):
        twin = next((fragment for fragment in theirs if fragment[0] == smiles), None)
        if twin is not None:
            shared_one |= set(atoms)
            shared_other |= set(twin[1])
            theirs.remove(twin)
            ours = [fragment for fragment in ours if fragment[1] != atoms]
    while ours and theirs:
        best: tuple[int, Any, Any, Any, Any] | None = None
        for mine in ours:
            for yours in theirs:
                matched = _common(mine[2], yours[2])
                if matched is None:
                    return None
                if best is None or len(matched[0]) > best[0]:
                    best = (len(matched[0]), mine, yours, *matched)
        assert best is not None
        size, mine, yours, in_mine, in_yours = best
        if size == 0:
            break
        shared_one |= {mine[1][index] for index in in_mine}
        shared_other |= {yours[1][index] for index in in_yours}
        ours.remove(mine)
        theirs.remove(yours)
    return (
        [index for index in range(one.GetNumAtoms()) if index not in shared_one],
        [index for index in range(other.GetNumAtoms()) if index not in shared_other],
    )


def _fragments(mol: Chem.Mol) -> list[tuple[str, tuple[int, ...], Chem.Mol]]:
    """(canonical SMILES, atoms in ``mol``, the fragment) with aromatic bonds as such: kekulised forms of one ring differ."""
    plain = Chem.Mol(mol)
    Chem.SanitizeMol(plain)
    atoms: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(plain, asMols=True, sanitizeFrags=True, fragsMolAtomMapping=atoms)
    return [(Chem.MolToSmiles(part), tuple(places), part) for part, places in zip(parts, atoms, strict=True)]


def _common(one: Chem.Mol, other: Chem.Mol) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Atoms of both that match; empty without anything in common, None when it takes too long or they are too large."""
    if max(one.GetNumAtoms(), other.GetNumAtoms()) > MAX_COMPARED_ATOMS:
        return None
    found = rdFMCS.FindMCS(
        [one, other],
        timeout=COMPARISON_TIMEOUT_S,
        ringMatchesRingOnly=True,
        completeRingsOnly=True,
        atomCompare=rdFMCS.AtomCompare.CompareElements,
        bondCompare=rdFMCS.BondCompare.CompareOrder,
    )
    if found.canceled:
        return None
    if found.numAtoms == 0:
        return _one_atom(one, other)
    pattern = Chem.MolFromSmarts(found.smartsString)
    return one.GetSubstructMatch(pattern), other.GetSubstructMatch(pattern)


def _one_atom(one: Chem.Mol, other: Chem.Mol) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """rdFMCS finds nothing below one bond."""
    for atom in one.GetAtoms():
        for twin in other.GetAtoms():
            if atom.GetSymbol() == twin.GetSymbol() and one.GetNumAtoms() == other.GetNumAtoms() == 1:
                return (atom.GetIdx(),), (twin.GetIdx(),)
    return (), ()


def asked_texts(inputs: Mapping[str, Any] | None) -> list[str]:
    """SMILES that a question shows, the main one first; candidates are left to the text. A reaction gives its sides."""
    if inputs is None:
        return []
    texts = []
    for name in ASKED_FIELDS:
        value = inputs.get(name)
        if isinstance(value, str) and value:
            texts += [side for side in value.split(">") if side]
    return texts


def answer_is_molecule(task: str) -> bool:
    return task in MOLECULE_ANSWERS
