"""Other ways to write a molecule, and other molecules that are nearly it. Every function returns SMILES, or None where it finds no way.

None of them knows a scorer: whether the result is the same substance, a near miss or nonsense is what the red team asks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from rdkit import Chem
from rdkit.Chem import rdChemReactions
from rdkit.Chem.MolStandardize import rdMolStandardize

from chemr.data.sources.molecules import parsed

Disguise = Callable[[str, random.Random], str | None]

_ATOM = re.compile(r"\[[^\]]*\]|Cl|Br|[BCNOPSFI]|[bcnops]")
_CHARGED_FORMS = tuple(
    rdChemReactions.ReactionFromSmarts(rule)
    for rule in (
        "[#16X3;+0:1]=[O:2]>>[#16+1:1]-[O-:2]",
        "[#16X4:1](=[O:2])>>[#16+1:1]-[O-:2]",
        "[#15X4:1]=[O:2]>>[#15+1:1]-[O-:2]",
        "[CX3:1](=[O:2])[OX2H1:3]>>[C:1](=[O:2])[O-:3]",
        "[NX3;H2,H1,H0;!$(N-[!#6]);!$(N-C=[O,N,S]);!$(N-a);+0:1]>>[N+:1]",
        "[n;H0;+0;X2:1]>>[nH+:1]",
    )
)
_TAUTOMERS = tuple(
    rdChemReactions.ReactionFromSmarts(rule)
    for rule in (
        "[NX3;H1,H2:1][CX3:2]=[O:3]>>[N:1]=[C:2]-[OH:3]",
        "[CX4;H1,H2,H3:1][CX3:2]=[O:3]>>[C:1]=[C:2]-[OH:3]",
        "[nH:1][c:2]=[O:3]>>[n:1][c:2]-[OH:3]",
        "[NX3;H1,H2:1][CX3:2]=[N;H1,H0:3]>>[N:1]=[C:2]-[N:3]",
    )
)


def other_order(smiles: str, rng: random.Random) -> str | None:
    """The same molecule in another order of atoms, with Kekulé bonds half of the time."""
    mol = parsed(smiles)
    if mol is None or mol.GetNumAtoms() < 2:
        return None
    order = list(range(mol.GetNumAtoms()))
    rng.shuffle(order)
    renumbered = Chem.RenumberAtoms(mol, order)
    if rng.random() < 0.5:
        Chem.Kekulize(renumbered, clearAromaticFlags=True)
        return str(Chem.MolToSmiles(renumbered, canonical=False, kekuleSmiles=True))
    return str(Chem.MolToSmiles(renumbered, canonical=False))


def tautomer(smiles: str, rng: random.Random) -> str | None:
    """Another tautomer: by a rule of its own first (imidic acids, enols), else one that RDKit enumerates."""
    by_rule = _products(smiles, _TAUTOMERS, rng)
    if by_rule is not None:
        return by_rule
    mol = parsed(smiles)
    if mol is None:
        return None
    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetMaxTautomers(16)
    enumerator.SetMaxTransforms(60)
    own = Chem.MolToSmiles(mol)
    others = sorted({Chem.MolToSmiles(each) for each in enumerator.Enumerate(mol)} - {own})
    return rng.choice(others) if others else None


def charge_form(smiles: str, rng: random.Random) -> str | None:
    """Drawn with separated charges, or a proton more or less: ``S(=O)`` as ``[S+]([O-])``, an acid as its anion, an amine as its cation."""
    return _products(smiles, _CHARGED_FORMS, rng)


def mirrored(smiles: str, rng: random.Random) -> str | None:
    """All stereo centres inverted; None where that is the same molecule."""
    turned = re.sub(r"@+", lambda mark: "@" if mark[0] == "@@" else "@@", smiles)
    mol, image = parsed(smiles), parsed(turned)
    return None if mol is None or image is None or Chem.MolToSmiles(mol) == Chem.MolToSmiles(image) else turned


def without_stereo(smiles: str, rng: random.Random) -> str | None:
    """All stereo marks left out."""
    mol = parsed(smiles)
    if mol is None:
        return None
    flat = Chem.MolToSmiles(mol, isomericSmiles=False)
    return None if flat == Chem.MolToSmiles(mol) else str(flat)


def labelled(smiles: str, rng: random.Random) -> str | None:
    """A carbon replaced by ¹³C."""
    mol = parsed(smiles)
    carbons = [] if mol is None else [atom for atom in mol.GetAtoms() if atom.GetSymbol() == "C" and not atom.GetIsotope()]
    if not carbons:
        return None
    rng.choice(carbons).SetIsotope(13)
    return str(Chem.MolToSmiles(mol))


def grown(smiles: str, rng: random.Random) -> str | None:
    """A methyl more, on an atom that has a hydrogen."""
    return attached(smiles, "C", rng)


def attached(smiles: str, fragment: str, rng: random.Random) -> str | None:
    """``fragment`` by its first atom on an atom with a hydrogen."""
    mol, piece = parsed(smiles), parsed(fragment)
    if mol is None or piece is None:
        return None
    joined = Chem.RWMol(Chem.CombineMols(mol, piece))
    places = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs() and not atom.GetFormalCharge()]
    rng.shuffle(places)
    for place in places:
        trial = Chem.RWMol(joined)
        trial.AddBond(place, mol.GetNumAtoms(), Chem.BondType.SINGLE)
        for index in (place, mol.GetNumAtoms()):
            atom = trial.GetAtomWithIdx(index)
            if atom.GetNumExplicitHs():
                atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
        if (text := _written(trial)) is not None:
            return text
    return None


def broken(smiles: str, rng: random.Random, group: str | None = None) -> str | None:
    """One atom exchanged or one bond order lowered, among the atoms that match the SMARTS ``group``, or anywhere."""
    mol = parsed(smiles)
    if mol is None:
        return None
    pattern = None if group is None else Chem.MolFromSmarts(group)
    matches = [range(mol.GetNumAtoms())] if pattern is None else [list(match) for match in mol.GetSubstructMatches(pattern)]
    trials = list(_small_breaks(mol, {index for match in matches for index in match}))
    rng.shuffle(trials)
    own = Chem.MolToSmiles(mol)
    return next((text for trial in trials if (text := _written(trial)) is not None and text != own), None)


def in_two_halves(smiles: str, rng: random.Random) -> str | None:
    """One acyclic single bond cut: two fragments."""
    mol = parsed(smiles)
    if mol is None:
        return None
    bonds = [bond for bond in mol.GetBonds() if not bond.IsInRing() and bond.GetBondType() == Chem.BondType.SINGLE]
    if not bonds:
        return None
    bond = rng.choice(bonds)
    cut = Chem.RWMol(mol)
    cut.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    return _written(cut)


def atom_by_atom(smiles: str) -> str | None:
    """The atoms one after another with their hydrogens, nothing added up: ``CC(N)=O`` gives ``CH3CNH2O``."""
    mol = parsed(smiles)
    if mol is None:
        return None
    return "".join(
        atom.GetSymbol() + ("" if not (hydrogens := atom.GetTotalNumHs()) else f"H{hydrogens}" if hydrogens > 1 else "H")
        for atom in mol.GetAtoms()
    )


def places_of_atoms(smiles: str) -> Iterator[tuple[int, int]]:
    """Where in the text each atom is written: its first and one past its last character."""
    for match in _ATOM.finditer(smiles):
        yield match.span()


def _products(smiles: str, rules: tuple[rdChemReactions.ChemicalReaction, ...], rng: random.Random) -> str | None:
    mol = parsed(smiles)
    if mol is None:
        return None
    order = list(rules)
    rng.shuffle(order)
    for rule in order:
        for (product,) in rule.RunReactants((mol,)):
            if (text := _written(product)) is not None:
                return text
    return None


def _small_breaks(mol: Chem.Mol, indices: set[int]) -> Iterator[Chem.RWMol]:
    for index in sorted(indices):
        for symbol in (6, 7, 8, 16):
            if mol.GetAtomWithIdx(index).GetAtomicNum() not in (1, symbol):
                trial = Chem.RWMol(mol)
                atom = trial.GetAtomWithIdx(index)
                atom.SetAtomicNum(symbol)
                atom.SetFormalCharge(0)
                atom.SetNumExplicitHs(0)
                yield trial
    for bond in mol.GetBonds():
        if {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()} <= indices and bond.GetBondType() in (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE):
            trial = Chem.RWMol(mol)
            trial.GetBondBetweenAtoms(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()).SetBondType(Chem.BondType.SINGLE)
            yield trial


def _written(mol: Chem.Mol) -> str | None:
    try:
        Chem.SanitizeMol(mol)
    except (Chem.MolSanitizeException, ValueError):
        return None
    return str(Chem.MolToSmiles(mol))
