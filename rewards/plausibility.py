"""Would a chemist accept this molecule as an answer? Stops the shapes that optimisers find (REWARDS §2.1, §3.3): radicals, isotopes,
exotic elements, charges put on for effect, chains of heteroatoms, groups where they fall off, strained rings, and heteroatoms bound as in
no known compound (:mod:`rewards.environments`).

What the row's own molecules contain is exempt: a question about hydrogen peroxide may be answered with a peroxide.
"""

from __future__ import annotations

from rdkit import Chem

from rewards.environments import unknown_environments
from rewards.errors import AnswerRejectedError
from rewards.molecule import Molecule
from rewards.verdict import Reason

ORGANIC_ELEMENTS = frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Se", "Cl", "Br", "I"})
DRUG_ELEMENTS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"})

_NITRO = "[$([NX3](=O)=O),$([NX3+](=O)[O-])]"
_PROTIC = "[$([OX2H]),$([SX2H]),$([NX3;H2])]"
_IMPLAUSIBLE_SMARTS = (
    "[#8;!a]-[#8;!a]",  # peroxides and oxygen chains
    "[#7;!a]-[#7;!a]-[#7;!a]",  # nitrogen chains
    "[#16;X2;!a]-[#16;X2;!a]-[#16;X2;!a]",  # polysulfides
    "[#7;X3;+0;!a](-[#8;X2])-[#8;X2]",  # two oxygens on one amine nitrogen
    "[#8;X2]-[#8,#7]-[#8;X2]",
    "[NX3]-[OX2H]",  # hydroxylamines and hydroxamic acids; an oxime is fine
    "[#7]-[NX3;H2]",  # hydrazines and N-amino compounds
    f"[#7]-{_NITRO}",  # nitramines
    "[#7;!a]~[#7;!a;!$([#7+]=[#7-]);!$([#7+]#[#7])]~[#7;!a]",  # triazenes and longer; an azide is fine
    f"{_PROTIC}-[CX4]-[$([OX2]),$([SX2]),$([NX3;!$(N-C=O);!$(N-S=O)]),F,Cl,Br,I]",  # hemiacetals and the like lose water
    f"{_PROTIC}-[CX3;!a;!$(C=[O,S,N])]=[CX3;!a]",  # enols and primary enamines
    f"{_NITRO}-[CX4]-{_NITRO}",
    "[#16X2]-[#8X2]",  # sulfenates
    "[#16;v4;!a;!$([#16]=[#8])]",  # sulfur(IV) that is no sulfoxide: sulfuranes, sulfilimines, thiones drawn with S-H
    "[#16;v4,v6;!H0]",
    "[#16;v6;!$([#16](=[#8,#7])=[#8,#7])]",
    "[#15;v5;!$([#15]=[#7,#8,#16])]",  # phosphoranes and ylides
    "[#5;!a]=,#*",
    "[#6]=[#6]=[#8,#16]",  # ketenes
    "[#7;!a]-;!@[#16X2]",  # sulfenamides
    "[#15,#14,#5,#34]-[#15,#14,#5,#34]",
    "[#15]=[#15]",
    "[#6]=[#6]=[#6]=[#6]",  # cumulenes; an allene is fine
    "[#6;R]=[#6;R]=[#6;R]",
    "[#6;r3,r4,r5,r6,r7]#[#6;R]",
    "[#6;r3]=;@[#6;r3]",
    "-".join([f"[CX4;$(C-{_PROTIC})]"] * 5),  # a chain of five such carbons is a sugar, and none was asked for
    "[#9,#17,#35,#53]-[#7,#8,#9,#16X2,#17,#35,#53]",  # halogen on a heteroatom
    "[#6;!+0;!$([#6-]#[#7+])]",  # carbanions, carbocations and ylides; isonitriles are fine
    "[#8,#9,#17,#35,#53;+]",  # oxonium and halonium ions
    "[#7;+;!H0]",  # protonated nitrogen that sits next to its counter-ion
)
_IMPLAUSIBLE = tuple(Chem.MolFromSmarts(smarts) for smarts in _IMPLAUSIBLE_SMARTS)


def require_plausible(answer: Molecule, like: tuple[Molecule, ...], elements: frozenset[str] = ORGANIC_ELEMENTS) -> None:
    """Raises AnswerRejectedError(UNREASONABLE) for an implausible answer; ``like`` are the row's molecules, whose features are exempt."""
    exempt_elements = elements.union(*(molecule.heavy_elements for molecule in like))
    loose_charges = max((_loose_charges(molecule) for molecule in like), default=0)
    if not exempt_elements.issuperset(answer.heavy_elements) or _loose_charges(answer) > loose_charges:
        raise AnswerRejectedError(Reason.UNREASONABLE)
    for atom in answer.mol.GetAtoms():
        if atom.GetIsotope() or atom.GetNumRadicalElectrons() or atom.GetAtomicNum() == 1:
            raise AnswerRejectedError(Reason.UNREASONABLE)
    unknown = unknown_environments(answer.mol)
    if unknown and unknown.difference(*(unknown_environments(molecule.mol) for molecule in like)):
        raise AnswerRejectedError(Reason.UNREASONABLE)
    for pattern in _IMPLAUSIBLE:
        if answer.mol.HasSubstructMatch(pattern) and not any(molecule.mol.HasSubstructMatch(pattern) for molecule in like):
            raise AnswerRejectedError(Reason.UNREASONABLE)


def _loose_charges(molecule: Molecule) -> int:
    """Charged atoms without an oppositely charged neighbour: nitro groups, N-oxides, azides and isonitriles have none."""
    if molecule.formal_charges == (0, 0):
        return 0
    return sum(
        1
        for atom in molecule.mol.GetAtoms()
        if atom.GetFormalCharge() and not any(n.GetFormalCharge() * atom.GetFormalCharge() < 0 for n in atom.GetNeighbors())
    )
