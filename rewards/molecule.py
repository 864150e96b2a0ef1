"""Guarded SMILES parsing and the few views of a molecule that scorers compare (REWARDS §3.1, attacks S1-S18 and B1-B17).

Order of the checks, cheapest first: characters and length of the text, parsing without sanitisation, size and shape limits, and only
then sanitisation and canonical forms. Canonical strings are always made by the running RDKit; stored ones are never compared.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from rdkit import Chem, RDLogger
from rdkit.Chem import rdinchi, rdMolDescriptors, rdMolHash
from rdkit.Chem.MolStandardize import rdMolStandardize

from rewards.errors import AnswerRejectedError, BadReferenceError
from rewards.formula import Formula, parse_formula
from rewards.ring_systems import is_tractable
from rewards.verdict import Reason

RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
# The default ring finder of 2026.09 takes minutes on a 250-character macrocycle (B4, B5); the older one takes milliseconds and gives the
# same canonical forms. The price: a handful of real molecules with hundreds of fused rings do not parse (B16).
Chem.SetUseLegacyRingFinding(True)

MAX_SMILES_CHARS = 1_200
MAX_ATOMS = 400
MAX_FRAGMENTS = 32  # ruthenium red, an ammine complex in the tests, has 24 and its counter-ions
MAX_DEGREE = 10
MAX_RINGS = 60  # cyclomatic number: bonds - atoms + fragments

_ALKALI_METALS = frozenset({3, 11, 19, 37, 55})
_BOUND_AS_ANIONS = frozenset({7, 8, 9, 16, 17, 34, 35, 53})  # an alkoxide is two ions however it is drawn; butyllithium is not

SMILES_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@+-[]()\\/%=#$.~:*")

_PLAIN_BONDS = frozenset({Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC})


def _parser(sanitize: bool) -> Chem.SmilesParserParams:
    params = Chem.SmilesParserParams()
    for name, value in {"sanitize": sanitize, "removeHs": sanitize, "allowCXSMILES": False, "parseName": False}.items():
        setattr(params, name, value)
    return params


_UNSANITIZED = _parser(sanitize=False)
_SANITIZED = _parser(sanitize=True)
_IMINE_HYDROGENS = Chem.RemoveHsParameters()
setattr(_IMINE_HYDROGENS, "removeDefiningBondStereo", True)  # noqa: B010 - rdkit's stubs know it as a descriptor of the class


class Molecule:
    """A sanitised molecule without atom maps. Views are computed when first asked for."""

    def __init__(self, mol: Chem.Mol) -> None:
        self.mol = mol

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Canonical SMILES of the fragments with stereo marks, sorted; repetitions are kept."""
        return tuple(sorted(Chem.MolToSmiles(self.mol).split(".")))

    @cached_property
    def flat_components(self) -> tuple[str, ...]:
        """Like ``components`` without stereo marks and isotopes."""
        return tuple(sorted(Chem.MolToSmiles(self.mol, isomericSmiles=False).split(".")))

    @property
    def canonical(self) -> str:
        return ".".join(self.components)

    @property
    def flat(self) -> str:
        return ".".join(self.flat_components)

    @property
    def is_flat(self) -> bool:
        """Whether there are no stereo marks and no isotopes."""
        return self.components == self.flat_components

    @cached_property
    def isotopes(self) -> tuple[tuple[str, int], ...]:
        """Element and mass number of the labelled atoms, sorted."""
        return tuple(sorted((atom.GetSymbol(), atom.GetIsotope()) for atom in self.mol.GetAtoms() if atom.GetIsotope()))

    @cached_property
    def neutral(self) -> Molecule:
        """It with charges neutralised by moving protons: acid and carboxylate are one molecule here."""
        if self.formal_charges == (0, 0):
            return self
        return Molecule(rdMolStandardize.Uncharger().uncharge(self.mol))

    @cached_property
    def fragments(self) -> tuple[Molecule, ...]:
        """Its components, each a molecule."""
        if len(self.components) == 1:
            return (self,)
        return tuple(Molecule(fragment) for fragment in Chem.GetMolFrags(self.mol, asMols=True))

    @cached_property
    def tautomer_class(self) -> str:
        """RDKit's HetAtomTautomerv2 hash: equal for tautomers, those that move a hydrogen from carbon included; blind to stereo."""
        return str(rdMolHash.MolHash(Chem.Mol(self.mol), rdMolHash.HashFunction.HetAtomTautomerv2))

    @cached_property
    def formal_charges(self) -> tuple[int, int]:
        """Sum of the positive and sum of the negative formal charges."""
        charges = [atom.GetFormalCharge() for atom in self.mol.GetAtoms()]
        return sum(c for c in charges if c > 0), sum(c for c in charges if c < 0)

    @property
    def heavy_atoms(self) -> int:
        return int(self.mol.GetNumHeavyAtoms())

    @cached_property
    def heavy_elements(self) -> dict[str, int]:
        """Counts of the elements other than hydrogen."""
        counts: dict[str, int] = {}
        for atom in self.mol.GetAtoms():
            if atom.GetAtomicNum() != 1:
                counts[atom.GetSymbol()] = counts.get(atom.GetSymbol(), 0) + 1
        return counts

    @cached_property
    def formula(self) -> Formula:
        return parse_formula(rdMolDescriptors.CalcMolFormula(self.mol))

    @cached_property
    def inchi(self) -> str:
        """Standard InChI; empty when there is none, which must never count as equal to anything (REWARDS §1.8)."""
        return str(rdinchi.MolToInchi(self.mol)[0])

    @cached_property
    def flat_inchi(self) -> str:
        """Standard InChI without the stereo layers."""
        return str(rdinchi.MolToInchi(self.mol, options="/SNon")[0])


def answer_molecule(text: str) -> Molecule:
    """The molecule that an answer writes down.

    Raises:
        AnswerRejectedError: BAD_CHARACTERS, TOO_LONG, INVALID_MOLECULE or GUARDED_MOLECULE.
    """
    if len(text) > MAX_SMILES_CHARS:
        raise AnswerRejectedError(Reason.TOO_LONG)
    if not SMILES_CHARACTERS.issuperset(text):
        raise AnswerRejectedError(Reason.BAD_CHARACTERS)
    return _guarded(text)


@lru_cache(maxsize=8192)
def reference_molecule(text: str) -> Molecule:
    """The molecule of a row's own SMILES. Cached: all samples of a group share it.

    Raises:
        BadReferenceError: it is not valid SMILES within the limits that also hold for answers.
    """
    try:
        return answer_molecule(text)
    except AnswerRejectedError as rejection:
        raise BadReferenceError(f"the row's SMILES {text[:200]!r} cannot be used: {rejection.reason}") from None


def _guarded(text: str) -> Molecule:
    raw = _parse(text, _UNSANITIZED)
    atoms, bonds = raw.GetNumAtoms(), raw.GetNumBonds()
    if atoms == 0:
        raise AnswerRejectedError(Reason.INVALID_MOLECULE)
    # "." separates fragments except where ring closures join them again, so this is an upper bound of the number of fragments.
    fragments = text.count(".") + 1
    if atoms > MAX_ATOMS or fragments > MAX_FRAGMENTS or bonds - atoms + fragments > MAX_RINGS:
        raise AnswerRejectedError(Reason.GUARDED_MOLECULE)
    has_maps = False
    for atom in raw.GetAtoms():
        if atom.GetAtomicNum() == 0 or atom.GetDegree() > MAX_DEGREE:
            raise AnswerRejectedError(Reason.GUARDED_MOLECULE)
        if atom.GetAtomMapNum():
            atom.SetAtomMapNum(0)
            has_maps = True
    if any(bond.GetBondType() not in _PLAIN_BONDS for bond in raw.GetBonds()):
        raise AnswerRejectedError(Reason.GUARDED_MOLECULE)
    if not is_tractable(raw):
        raise AnswerRejectedError(Reason.GUARDED_MOLECULE)
    # Written out once more because mapped atoms keep their hydrogens and brackets as an explicit part of the molecule (S8).
    mol = _parse(Chem.MolToSmiles(raw) if has_maps else text, _SANITIZED)
    # The hydrogen of an N-H imine changes sides at room temperature, so [H]/N=C(/C)N is N=C(C)N.
    return Molecule(_as_ions(Chem.RemoveHs(mol, _IMINE_HYDROGENS) if "[H]" in text else mol, fragments))


def _as_ions(mol: Chem.Mol, fragments: int) -> Chem.Mol:
    """It with alkali metals apart from the heteroatoms that they are drawn on."""
    bonds = [
        (metal, bond.GetOtherAtom(metal))
        for metal in mol.GetAtoms()
        if metal.GetAtomicNum() in _ALKALI_METALS and metal.GetDegree() == 1 and metal.GetFormalCharge() == 0
        for bond in metal.GetBonds()
        if bond.GetOtherAtom(metal).GetAtomicNum() in _BOUND_AS_ANIONS
    ]
    if not bonds:
        return mol
    if fragments + len(bonds) > MAX_FRAGMENTS:
        raise AnswerRejectedError(Reason.GUARDED_MOLECULE)
    editable = Chem.RWMol(mol)
    for metal, anion in bonds:
        editable.RemoveBond(metal.GetIdx(), anion.GetIdx())
        for atom, charge in ((metal, 1), (anion, -1)):
            ion = editable.GetAtomWithIdx(atom.GetIdx())
            ion.SetFormalCharge(ion.GetFormalCharge() + charge)
    if Chem.SanitizeMol(editable, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        raise AnswerRejectedError(Reason.INVALID_MOLECULE)
    return editable.GetMol()


def _parse(text: str, params: Chem.SmilesParserParams) -> Chem.Mol:
    mol = Chem.MolFromSmiles(text, params)
    if mol is None:
        raise AnswerRejectedError(Reason.INVALID_MOLECULE)
    return mol
