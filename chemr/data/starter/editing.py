"""MolEdit: add, remove or exchange one functional group of a real molecule, on carbons where a chemist would believe it.

Of all possible sites the reference takes the one that leaves the molecule most alike (by Morgan counts, as the scorer measures it), so
that it is a minimal edit by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from rdkit import Chem

from chemr.data.starter.compounds import Compound
from chemr.data.starter.config import StarterConfig
from chemr.data.starter.drafts import Draft
from chemr.data.starter.molecules import is_ordinary, parse
from chemr.data.starter.splits import split_of_counts, unit_hash
from chemr.data.starter.surgery import Edited, Fragment, atoms_after, exchange, open_carbons
from rewards.functional_groups import group_counts
from rewards.molecule import Molecule
from rewards.similarity import count_tanimoto

_Option = TypeVar("_Option")

# What is put on a carbon for each group of TOMG-Bench, bound by its first atom.
_FRAGMENTS: dict[str, tuple[str, ...]] = {
    "hydroxyl": ("O",),
    "amine": ("N",),
    "thiol": ("S",),
    "halo": ("F", "Cl", "Br"),
    "nitrile": ("C#N",),
    "aldehyde": ("C=O",),
    "carboxyl": ("C(=O)O",),
    "amide": ("C(N)=O",),
    "nitro": ("[N+](=O)[O-]",),
}
# Where a group can be cut off: atom :1 stays, the others go.
_CUTS: dict[str, str] = {
    "hydroxyl": "[$([CX4]),$(c);!$(C(~[!#6])~[!#6]):1]-[OX2H1]",
    "amine": "[$([CX4]),$(c);!$(C(~[!#6])~[!#6]):1]-[NX3H2]",
    "thiol": "[$([CX4]),$(c);!$(C(~[!#6])~[!#6]):1]-[SX2H1]",
    "halo": "[#6;!$(C=O);!$(C#*):1]-[F,Cl,Br,I]",
    "nitrile": "[#6:1]-[CX2]#[NX1]",
    "aldehyde": "[#6:1]-[CX3H1]=[OX1]",
    "carboxyl": "[#6:1]-[CX3](=[OX1])[OX2H1]",
    "amide": "[#6:1]-[CX3](=[OX1])[NX3H2]",
    "nitro": "[#6:1]-[N+](=O)[O-]",
    "ketone": "[$([CX3]([#6])[#6]):1]=[OX1]",
}
# Other groups that come and go with a group by definition.
_COMPANIONS: dict[str, dict[str, int]] = {"carboxyl": {"hydroxyl": 1}}

_FRAGMENT_MOLS = {group: tuple(Fragment.of(smiles) for smiles in fragments) for group, fragments in _FRAGMENTS.items()}
_CUT_PATTERNS = {group: Chem.MolFromSmarts(smarts) for group, smarts in _CUTS.items()}
_ANCHOR_IN_CUT = {
    group: next(atom.GetIdx() for atom in pattern.GetAtoms() if atom.GetAtomMapNum() == 1) for group, pattern in _CUT_PATTERNS.items()
}
ADDITIONS_PER_MOLECULE = 4
SWAPS_PER_MOLECULE = 5

_Place = tuple[int, tuple[int, ...]]  # anchor, atoms to remove


def edit_drafts(compounds: Iterable[Compound], config: StarterConfig) -> Iterator[Draft]:
    """Rows of moledit_add, moledit_del and moledit_sub."""
    for compound in compounds:
        editor = _Editor(compound, config.max_heavy_atoms)
        for group in _some(_FRAGMENTS, compound, ADDITIONS_PER_MOLECULE):
            yield from editor.draft("moledit_add", {"add": group}, editor.open_places, group, {group: 1})
        present = [group for group in _CUTS if editor.counts[group]]
        cuts = {group: _cuts(compound.mol, group) for group in present}
        for group in present:
            asked = _written_from_anywhere(compound, group)
            yield from _Editor(asked, config.max_heavy_atoms).draft(
                "moledit_del", {"remove": group}, _cuts(asked.mol, group), None, {group: -1}
            )
        swaps = [(old, new) for old in present if old in _FRAGMENTS for new in _FRAGMENTS if _independent(old, new)]
        for old, new in _some(swaps, compound, SWAPS_PER_MOLECULE):
            yield from editor.draft("moledit_sub", {"remove": old, "add": new}, cuts[old], new, {old: -1, new: 1})


class _Editor:
    """One compound and what does not change between the edits that are tried on it."""

    def __init__(self, compound: Compound, max_heavy_atoms: int) -> None:
        self.compound = compound
        self.limit = max_heavy_atoms
        self.view = Molecule(compound.mol)
        self.counts = group_counts(self.view)
        self.open_places: list[_Place] = [(site, ()) for site in open_carbons(compound.mol)]

    def draft(self, task: str, fields: dict[str, str], places: Iterable[_Place], put: str | None, rule: dict[str, int]) -> Iterator[Draft]:
        """The row of one question, if there is an edit that answers it and stays in the compound's split."""
        fragment = _pick(_FRAGMENT_MOLS[put], self.compound, *fields.values()) if put is not None else None
        edited = self._nearest([(anchor, removed, fragment) for anchor, removed in places], _with_companions(rule))
        if edited is not None:
            size = max(self.compound.size, edited.mol.GetNumAtoms())
            yield Draft(task, {"smiles": self.compound.smiles, **fields}, edited.text, size, self.compound.split, "edited by rule")

    def _nearest(self, edits: Iterable[tuple[int, tuple[int, ...], Fragment | None]], expected: dict[str, int]) -> Edited | None:
        """The valid edit most alike to the compound; of equally alike ones the last in writing order."""
        best, highest = None, -1.0
        for anchor, removed, fragment in edits:
            atoms = atoms_after(self.compound, removed, fragment)
            if not 2 <= atoms.total() <= self.limit or split_of_counts(atoms) is not self.compound.split:
                continue
            edited = exchange(self.compound.mol, anchor, removed, fragment)
            if edited is None or not is_ordinary(edited.mol):
                continue
            view = Molecule(edited.mol)
            similarity = count_tanimoto(view, self.view)
            if similarity >= highest and self._changes_as_expected(view, expected):
                best, highest = edited, similarity
        return best

    def _changes_as_expected(self, after: Molecule, expected: dict[str, int]) -> bool:
        return all(count - self.counts[group] == expected.get(group, 0) for group, count in group_counts(after).items())


def _independent(old: str, new: str) -> bool:
    """Not a group for itself, nor for one that brings it along: a carboxyl in place of a hydroxyl leaves as many hydroxyls as before."""
    return old != new and old not in _COMPANIONS.get(new, {}) and new not in _COMPANIONS.get(old, {})


def _with_companions(rule: dict[str, int]) -> dict[str, int]:
    expected = dict(rule)
    for group, change in rule.items():
        for companion, number in _COMPANIONS.get(group, {}).items():
            expected[companion] = expected.get(companion, 0) + change * number
    return expected


def _cuts(mol: Chem.Mol, group: str) -> list[_Place]:
    pattern, anchor = _CUT_PATTERNS[group], _ANCHOR_IN_CUT[group]
    return [(match[anchor], tuple(i for at, i in enumerate(match) if at != anchor)) for match in mol.GetSubstructMatches(pattern)]


def _written_from_anywhere(compound: Compound, group: str) -> Compound:
    """The compound, written from another atom on, so that the group stands at any place of the text.

    A canonical SMILES ends in the group in two rows of three, and whoever takes the last atom off would have done the task.
    """
    by_place: dict[int, list[str]] = {}
    for root in range(compound.mol.GetNumAtoms()):
        text = Chem.MolToSmiles(compound.mol, rootedAtAtom=root)
        places = [index for _, removed in _cuts(parse(text), group) for index in removed]
        if places:
            by_place.setdefault(min(places), []).append(text)
    if not by_place:
        return compound
    texts = by_place[sorted(by_place)[int(unit_hash(compound.smiles, "place", group) * len(by_place))]]
    text = texts[int(unit_hash(compound.smiles, "root", group) * len(texts))]
    return replace(compound, smiles=text, mol=parse(text))


def _pick(fragments: tuple[Fragment, ...], compound: Compound, *about: str) -> Fragment:
    return fragments[int(unit_hash(compound.smiles, "fragment", *about) * len(fragments))]


def _some(options: Iterable[_Option], compound: Compound, number: int) -> list[_Option]:
    """``number`` of the options, drawn by the compound."""
    return sorted(options, key=lambda option: unit_hash(compound.smiles, option))[:number]
