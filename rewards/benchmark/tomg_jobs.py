"""Jobs of the child: TOMG-Bench's rules for one output (utils/evaluation.py and evaluate.py of the benchmark).

The tables are frozen: they are what the published numbers were made with. Whatever the hardened scorers count is none of their business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rdkit import Chem, DataStructs
from rdkit.Chem import QED, Crippen, rdFingerprintGenerator, rdMolDescriptors

from rewards.benchmark.molecule_jobs import gold_mol, parsed

ELEMENTS: Mapping[str, int] = {
    "C": 6, "O": 8, "N": 7, "S": 16, "F": 9, "Cl": 17, "Br": 35, "I": 53, "P": 15, "B": 5, "Si": 14,
    "Se": 34, "Te": 52, "As": 33, "Sb": 51, "Bi": 83, "Po": 84,
}  # fmt: skip
"""The 17 elements that are compared; hydrogen and all others may occur in any number."""

BONDS: Mapping[str, Chem.BondType] = {
    "single": Chem.BondType.SINGLE,
    "double": Chem.BondType.DOUBLE,
    "triple": Chem.BondType.TRIPLE,
    "aromatic": Chem.BondType.AROMATIC,
}

GROUPS: Mapping[str, str] = {
    "benzene_ring": "[cR1]1[cR1][cR1][cR1][cR1][cR1]1",
    "hydroxyl": "[OX2H]",
    "anhydride": "[CX3](=[OX1])[OX2][CX3](=[OX1])",
    "aldehyde": "[CX3H1](=O)[#6]",
    "ketone": "[#6][CX3](=O)[#6]",
    "carboxyl": "[CX3](=O)[OX2H1]",
    "ester": "[#6][CX3](=O)[OX2H0][#6]",
    "amide": "[NX3][CX3](=[OX1])[#6]",
    "amine": "[NX3;H2,H1;!$(NC=O)]",
    "nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])][!#8]",
    "halo": "[F,Cl,Br,I]",
    "nitrile": "[NX1]#[CX2]",
    "thiol": "[#16X2H]",
    "sulfide": "[#16X2H0]",
    "disulfide": "[#16X2H0][#16X2H0]",
    "sulfoxide": "[$([#16X3]=[OX1]),$([#16X3+][OX1-])]",
    "sulfone": "[$([#16X4](=[OX1])=[OX1]),$([#16X4+2]([OX1-])[OX1-])]",
    "borane": "[BX3]",
}
"""The 18 groups that are compared. ``thioether`` is asked for in some instructions and never looked at."""

EDIT_ONLY_GROUPS: Mapping[str, str] = {"thioether": "[SX2][CX4]"}

PROPERTIES: Mapping[str, Callable[[Chem.Mol], float]] = {
    "molopt_logp": Crippen.MolLogP,  # type: ignore[attr-defined]
    "molopt_mr": Crippen.MolMR,  # type: ignore[attr-defined]
    "molopt_qed": QED.qed,
}

_PATTERNS = {name: Chem.MolFromSmarts(smarts) for name, smarts in {**GROUPS, **EDIT_ONLY_GROUPS}.items()}
_MORGAN_BITS = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)


def prepare() -> None:
    """Loads what the other jobs load when first called."""
    for measure in PROPERTIES.values():
        measure(gold_mol("CCO"))


def output(task: str, inputs: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """``None`` for an invalid output, else ``success`` and, by task, ``similarity`` to the input or the fingerprint's ``bits``."""
    mol = parsed(text)
    if mol is None:
        return None
    if task.startswith("molcustom_"):
        return {"success": _CUSTOM[task](mol, inputs["counts"]), "bits": list(_MORGAN_BITS.GetFingerprint(mol).GetOnBits())}
    source = gold_mol(inputs["smiles"])
    similarity = DataStructs.TanimotoSimilarity(_MORGAN_BITS.GetFingerprint(source), _MORGAN_BITS.GetFingerprint(mol))
    succeeded = _optimised(task, source, mol, inputs) if task in PROPERTIES else _edited(source, mol, inputs)
    return {"success": succeeded, "similarity": float(similarity)}


def known_bits(texts: list[str]) -> list[list[int] | None]:
    """Fingerprint bits of the molecules that novelty is measured against; ``None`` for a text that is no SMILES."""
    mols = map(parsed, texts)
    return [None if mol is None else list(_MORGAN_BITS.GetFingerprint(mol).GetOnBits()) for mol in mols]


def group_key(name: str) -> str:
    """``benzene ring``, ``benzene rings`` and ``benzene_ring`` are one group. Raises ValueError for a group the benchmark lacks."""
    key = name.strip().replace(" ", "_")
    key = "benzene_ring" if key == "benzene_rings" else key
    if key not in _PATTERNS:
        raise ValueError(f"unknown functional group {name!r}")
    return key


def count_group(mol: Chem.Mol, key: str) -> int:
    """Matches of a group, at most 1,000 of them (RDKit's own cap); disulfides are no sulfides."""
    count = len(mol.GetSubstructMatches(_PATTERNS[key]))
    return count - len(mol.GetSubstructMatches(_PATTERNS["disulfide"])) if key == "sulfide" else count


def _right_atoms(mol: Chem.Mol, counts: Mapping[str, int]) -> bool:
    found = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    return all(found.count(number) == counts.get(symbol, 0) for symbol, number in ELEMENTS.items())


def _right_bonds(mol: Chem.Mol, counts: Mapping[str, int]) -> bool:
    """A kind whose target is 0 is not looked at."""
    found = [bond.GetBondType() for bond in mol.GetBonds()]
    for kind, wanted in counts.items():
        number = rdMolDescriptors.CalcNumRotatableBonds(mol) if kind == "rotatable" else found.count(BONDS[kind])
        if wanted and number != wanted:
            return False
    return True


def _right_groups(mol: Chem.Mol, counts: Mapping[str, int]) -> bool:
    wanted = {group_key(name): number for name, number in counts.items()}
    return all(count_group(mol, key) == wanted.get(key, 0) for key in GROUPS)


_CUSTOM: Mapping[str, Callable[[Chem.Mol, Mapping[str, int]], bool]] = {
    "molcustom_atomnum": _right_atoms,
    "molcustom_bondnum": _right_bonds,
    "molcustom_functionalgroup": _right_groups,
}


def _edited(source: Chem.Mol, mol: Chem.Mol, inputs: Mapping[str, Any]) -> bool:
    for field, change in (("remove", -1), ("add", +1)):
        if field in inputs:
            key = group_key(inputs[field])
            if count_group(mol, key) != count_group(source, key) + change:
                return False
    return True


def _optimised(task: str, source: Chem.Mol, mol: Chem.Mol, inputs: Mapping[str, Any]) -> bool:
    """No margin: the atom order of the text decides some rows, by rounding."""
    before, after = PROPERTIES[task](source), PROPERTIES[task](mol)
    return after < before if inputs["direction"] == "decrease" else after > before
