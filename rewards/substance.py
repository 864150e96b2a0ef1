"""When two structures are one substance: the one home of this question, for credit and for copies.

Credit asks strictly (:func:`same_structure`): charge, isotopes and the stereo that the gold states must be right. A copy is recognised
generously (:func:`same_substance`): whoever is asked for another molecule has not made one by moving a proton or drawing a bond anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, islice, product

from rdkit import Chem

from rewards.molecule import Molecule
from rewards.similarity import count_tanimoto

_MAX_FORMS = 16


def same_structure(answer: Molecule, gold: Molecule) -> bool:
    """Whether they are one substance with the same charge, component by component.

    Canonical forms are compared, and where these differ standard InChIs (Heller et al., J. Cheminform. 7, 23, 2015), for which tautomers
    with mobile hydrogen and the ways to draw a sulfoxide, a nitro group or a zwitterion are one. A gold that leaves stereo open is met by
    whoever fills it in: one without any marks by any, one with some marks by any answer that has these. Isotopes always count.
    """
    flat = gold.is_flat
    if (answer.flat_components if flat else answer.components) == (gold.flat_components if flat else gold.components):
        return answer.isotopes == gold.isotopes
    if answer.formula != gold.formula:
        return False
    inchi = gold.flat_inchi if flat else gold.inchi
    if inchi and (answer.flat_inchi if flat else answer.inchi) == inchi:
        return True
    return not flat and keeps_stereo(answer, gold)


def keeps_stereo(answer: Molecule, gold: Molecule) -> bool:
    """Whether the two differ at most in stereo marks, and ``answer`` has all marks of ``gold``, perhaps more.

    The marks that ``gold`` lacks are taken off ``answer``, then the canonical forms decide. Which these are, is told by symmetry classes of
    the flat molecule; where a class has several, each choice is tried, at most :data:`_MAX_FORMS`. (A substructure match with chirality
    would try every way to turn every tert-butyl group.)
    """
    if answer.flat_components != gold.flat_components or answer.isotopes != gold.isotopes:
        return False
    marks, wanted = _marks(answer.mol), _marks(gold.mol)
    if any(len(places) > len(marks.get(kind, ())) for kind, places in wanted.items()):
        return False
    choices = (combinations(places, len(places) - len(wanted.get(kind, ()))) for kind, places in marks.items())
    return any(_without_marks(answer.mol, sum(taken, ())) == gold.components for taken in islice(product(*choices), _MAX_FORMS))


def _marks(mol: Chem.Mol) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """Stereo centres (as one atom) and double bonds with a mark (as two), by the symmetry classes of their atoms."""
    flat = Chem.Mol(mol)
    Chem.RemoveStereochemistry(flat)
    classes = list(Chem.CanonicalRankAtoms(flat, breakTies=False))
    places: list[tuple[int, ...]] = [(atom.GetIdx(),) for atom in mol.GetAtoms() if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED]
    places += [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds() if b.GetStereo() > Chem.BondStereo.STEREOANY]
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for place in places:
        found.setdefault(tuple(sorted(classes[atom] for atom in place)), []).append(place)
    return found


def _without_marks(mol: Chem.Mol, places: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """Canonical components without the marks at these places."""
    bare = Chem.Mol(mol)
    for place in places:
        if len(place) == 1:
            bare.GetAtomWithIdx(place[0]).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        else:
            bare.GetBondBetweenAtoms(*place).SetStereo(Chem.BondStereo.STEREONONE)
    read = Chem.MolFromSmiles(Chem.MolToSmiles(bare))  # marks that depended on those are gone only in what is read again
    return () if read is None else Molecule(read).components


def same_substance(left: Molecule, right: Molecule) -> bool:
    """Whether a chemist would hold them for one substance, stereo apart: other tautomers, charges and ways to draw bonds are the same.

    Standard InChI or RDKit's tautomer hash, of the uncharged forms without stereo.
    """
    if left.heavy_elements != right.heavy_elements:
        return False
    left, right = left.neutral, right.neutral
    if left.flat == right.flat or left.tautomer_class == right.tautomer_class:
        return True
    return bool(left.flat_inchi) and left.flat_inchi == right.flat_inchi


def same_ring_tautomer(left: Molecule, right: Molecule) -> bool:
    """Whether they are one substance but for the hydrogens of rings with nitrogen, one of them aromatic: what a name leaves open that
    indicates no hydrogen, such as 4-pyridone. A ketone and its enol are two.
    """
    if not any(atom.GetIsAromatic() and atom.GetAtomicNum() == 7 for side in (left, right) for atom in side.mol.GetAtoms()):
        return False
    return _carbons_outside(left) == _carbons_outside(right) and same_substance(left, right)


def drawn_like(molecule: Molecule, model: Molecule) -> Molecule:
    """It with the hydrogens of aromatic N-H where they make it most similar to ``model``: 4- and 5-methylimidazole are one substance, and
    an edit of one is one of the other."""
    forms = [molecule, *_annular_tautomers(molecule)]
    return forms[0] if len(forms) == 1 else max(forms, key=lambda form: count_tanimoto(form, model))


def _annular_tautomers(molecule: Molecule) -> Iterator[Molecule]:
    """Those with one aromatic N-H moved to another aromatic nitrogen."""
    nitrogens = [
        atom for atom in molecule.mol.GetAtoms() if atom.GetIsAromatic() and atom.GetAtomicNum() == 7 and not atom.GetFormalCharge()
    ]
    donors = [atom.GetIdx() for atom in nitrogens if atom.GetTotalNumHs() == 1]
    acceptors = [atom.GetIdx() for atom in nitrogens if atom.GetDegree() == 2 and atom.GetTotalNumHs() == 0]
    for donor, acceptor in islice(product(donors, acceptors), _MAX_FORMS):
        editable = Chem.RWMol(molecule.mol)
        editable.GetAtomWithIdx(donor).SetNumExplicitHs(0)
        editable.GetAtomWithIdx(acceptor).SetNumExplicitHs(1)
        if Chem.SanitizeMol(editable, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            yield Molecule(editable.GetMol())


def _carbons_outside(molecule: Molecule) -> Counter[tuple[int, int]]:
    """Neighbours and hydrogens of the carbons that are in no ring with nitrogen."""
    inside = {
        index
        for ring in molecule.mol.GetRingInfo().AtomRings()
        if any(molecule.mol.GetAtomWithIdx(member).GetAtomicNum() == 7 for member in ring)
        for index in ring
    }
    carbons = (atom for atom in molecule.mol.GetAtoms() if atom.GetAtomicNum() == 6 and atom.GetIdx() not in inside)
    return Counter((atom.GetDegree(), atom.GetTotalNumHs()) for atom in carbons)


# What a work-up removes or a vendor adds: by-products and counter-ions, uncharged and flat. No organic solvent: it may be a reactant.
_SPECTATORS = frozenset({"O", "F", "Cl", "Br", "I", "N", "[Li+]", "[Na+]", "[K+]", "[Cs+]", "N#N", "O=C=O", "OB(O)O", "O=S(=O)(O)O"}) | {
    "O=C(O)C(F)(F)F",
    "CS(=O)(=O)O",
}
MAX_SPECTATORS = 2


def essential(molecule: Molecule) -> tuple[Molecule, ...]:
    """Its fragments, uncharged, without at most two counter-ions or small by-products; all of them if nothing else would be left."""
    fragments = [fragment.neutral for fragment in molecule.fragments]
    kept = [fragment for fragment in fragments if fragment.flat not in _SPECTATORS]
    return tuple(kept if kept and len(fragments) - len(kept) <= MAX_SPECTATORS else fragments)


def same_essence(answer: Molecule, gold: Molecule) -> bool:
    """:func:`same_structure` of what is :func:`essential`: a free base and its hydrochloride, a product with or without water."""
    mine, wanted = list(essential(answer)), list(essential(gold))
    for one in wanted:
        match = next((other for other in mine if same_structure(other, one)), None)
        if match is None:
            return False
        mine.remove(match)
    return not mine
