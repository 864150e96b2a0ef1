"""Are the functional groups that the reasoning claims really there? An optional term, off by default (Chem-R-Faithful, CHEM-R.md).

The term only ever takes away: an answer is worth ``value · (1 − weight · fabricated share)``, so no amount of true claims raises a reward
and silence costs nothing. A claim is fabricated when no molecule of the row and of the answer has the group. The patterns are wider than
TOMG-Bench's (tertiary amines, fused rings, lactones), because an accusation has to be certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rdkit import Chem

from rewards.errors import AnswerRejectedError
from rewards.molecule import Molecule, answer_molecule
from rewards.verdict import Reason, Verdict

CLAIM_SMARTS: Mapping[str, str] = {
    "benzene_ring": "c1ccccc1",
    "hydroxyl": "[OX2H,OX1-]",
    "anhydride": "C(=O)OC(=O)",
    "aldehyde": "[CX3;H1,H2]=O",
    "ketone": "[#6][#6](=O)[#6]",
    "carboxyl": "C(=O)[OX2H,OX1-]",
    "ester": "[#6,#15,#16](=O)[#8][#6]",
    "amide": "[#6,#15,#16](=O)[#7]",
    "amine": "[#7;X3,X4;!$([#7](~[OX1])~[OX1])]",
    "nitro": "[#7](~[OX1])~[OX1]",
    "halo": "[F,Cl,Br,I]",
    "nitrile": "C#N",
    "thiol": "[#16;X2H,X1-]",
    "sulfide": "[#16X2]",
    "disulfide": "[#16][#16]",
    "sulfoxide": "[#16X3](~[OX1])",
    "sulfone": "[#16](~[OX1])~[OX1]",
    "borane": "[#5]",
}
_PATTERNS = {group: Chem.MolFromSmarts(smarts) for group, smarts in CLAIM_SMARTS.items()}

_MOLECULE_FIELDS = ("smiles", "reactants", "product", "given", "reaction")


def fabricated_share(claims: Sequence[str], molecules: Iterable[Molecule]) -> float:
    """The share of claimed groups that none of the molecules has; 0 without claims. Raises KeyError for a group that is not known."""
    present = tuple(molecules)
    fabricated = sum(not any(molecule.mol.HasSubstructMatch(_PATTERNS[group]) for molecule in present) for group in claims)
    return fabricated / len(claims) if claims else 0.0


def grounded(verdict: Verdict, claims: Sequence[str], weight: float, answer: str, inputs: Mapping[str, Any]) -> Verdict:
    """The verdict with the term applied and ``claims`` and ``fabricated`` among its parts; unchanged when no molecule can be read."""
    texts = [answer, *(text for field in _MOLECULE_FIELDS if isinstance(text := inputs.get(field), str))]
    texts += [text for text in inputs.get("candidates") or () if isinstance(text, str)]
    molecules = [molecule for text in texts for molecule in _readable(text)]
    if verdict.value is None or not claims or not molecules:
        return verdict
    share = fabricated_share(claims, molecules)
    value = verdict.value * (1.0 - weight * share)
    reason = Reason.PARTIAL if 0.0 < value < 1.0 else verdict.reason
    return Verdict(value, reason, {**verdict.parts, "claims": float(len(claims)), "fabricated": share})


def _readable(text: str) -> list[Molecule]:
    """The molecules of a SMILES or of the parts of a reaction SMILES; nothing for any other text."""
    found = []
    for part in text.split(">"):
        try:
            found.append(answer_molecule(part))
        except AnswerRejectedError:
            continue
    return found
