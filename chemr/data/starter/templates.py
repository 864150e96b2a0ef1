"""Named reactions as templates, and the kinds of building blocks they join.

Every template joins two building blocks, each of which has exactly one reactive group, into one product. A pair of kinds has one
template, so two reactants have one product. ``disconnects`` marks the templates that retrosynthesis questions use: one way of cutting
per kind of product (an ester is taken apart into acid and alcohol, not into acyl chloride and alcohol).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rdkit import Chem

REACTIVE_GROUPS: Mapping[str, str] = {
    "acid": "[CX3;$(C[#6]),$([CX3H1])](=O)[OX2H1]",
    "acyl chloride": "[CX3;$(C[#6])](=O)[Cl]",
    "alcohol": "[OX2H1][$([CX4]);!$(C([OX2H1])[!#6])]",
    "phenol": "[OX2H1]c",
    "primary amine": "[NX3H2][#6;!$(C=[!#6]);!$(C#*)]",
    "secondary amine": "[NX3H1]([#6;!$(C=[!#6]);!$(C#*)])[#6;!$(C=[!#6]);!$(C#*)]",
    "thiol": "[SX2H1][#6;!$(C=[!#6])]",
    "aldehyde": "[CX3H1,CX3H2;!$(C[!#6;!#1])]=[OX1]",
    "ketone": "[#6][CX3](=[OX1])[#6]",
    "bromide": "[Br][CX4;H1,H2,H3]",
    "iodide": "[I][CX4;H1,H2,H3]",
    "isocyanate": "[#6][NX2]=C=[OX1]",
    "isothiocyanate": "[#6][NX2]=C=[SX1]",
    "epoxide": "[CH2r3]1[OX2r3][CX4r3]1",
    "terminal alkyne": "[CX2H1]#[CX2]",
    "Michael acceptor": "[CX3H2]=[CX3H1,CX3H0][$(C#N),$([CX3]=O),$([NX3+](=O)[O-])]",
}
# What a building block must not have besides its group: groups that would react too, or that the templates do not know.
HINDRANCES: tuple[str, ...] = (
    "[OX2H1,SX2H1]",
    "[NX3;H1,H2;!$(N[CX3]=[O,S])]",
    "[NX3;!$(N[CX3]=[O,S]);!$([NX3+]);!a]([#6])([#6])[#6]",  # tertiary amine
    "[#7;!$([NX3+])]-[#7,#8]",
    "[NX2;!$(N=C=[O,S]);!a]",
    "[#7,#8,#16;!$([NX3+])][CX3]=[CX3]",  # enol, enamine
    "[nH]",
    "[#16][#16]",
    "[CX3](=[O,S])[F,Cl,Br,I,CX3,$(C#*)]",  # halides that are not the group; dicarbonyls
    "[CX3]=[SX1]",
    "[CX3](=[OX1])([OX2,NX3,SX2])[OX2,NX3,SX2]",
    "[CX3](=[OX1])[SX2,OX2][CX3]=[OX1]",
    "[CX4]([#7,#8,#16,F,Cl,Br,I])[#7,#8,#16,Br,I]",
    "[Br,I]",
    "[Cl][CX4;$(C[$(C=O),$(C#N),$(C=C),$(c)])]",
    "[#6]=[#6]=[#6]",
    "[#6]#[CX2]-[#7,#8,#16,F,Cl,Br,I]",
    "c=O",
)


@dataclass(frozen=True, slots=True)
class Template:
    """``smarts`` maps a pair of blocks (of kind ``first`` and ``second``) to the product."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    smarts: str
    disconnects: bool = True


_ACID, _CHLORIDE, _CARBONYLS = ("acid",), ("acyl chloride",), ("aldehyde", "ketone")
_ALCOHOLS, _AMINES, _THIOL = ("alcohol", "phenol"), ("primary amine", "secondary amine"), ("thiol",)
_BROMIDE, _IODIDE, _ALKYNE = ("bromide",), ("iodide",), ("terminal alkyne",)
_PRIMARY, _SECONDARY = ("primary amine",), ("secondary amine",)
_ISOCYANATE, _ISOTHIOCYANATE, _EPOXIDE, _ACCEPTOR = ("isocyanate",), ("isothiocyanate",), ("epoxide",), ("Michael acceptor",)
_OH, _NH, _SH = "[OX2H1:9]", "[NX3;H1,H2:9]", "[SX2H1:9]"

TEMPLATES: tuple[Template, ...] = (
    Template("esterification", _ACID, _ALCOHOLS, f"[C:1](=[O:2])[OX2H1].{_OH}>>[C:1](=[O:2])[O:9]"),
    Template("alcoholysis of an acyl chloride", _CHLORIDE, _ALCOHOLS, f"[C:1](=[O:2])Cl.{_OH}>>[C:1](=[O:2])[O:9]", disconnects=False),
    Template("amide coupling", _ACID, _AMINES, f"[C:1](=[O:2])[OX2H1].{_NH}>>[C:1](=[O:2])[N:9]"),
    Template("aminolysis of an acyl chloride", _CHLORIDE, _AMINES, f"[C:1](=[O:2])Cl.{_NH}>>[C:1](=[O:2])[N:9]", disconnects=False),
    Template("thioesterification", _ACID, _THIOL, f"[C:1](=[O:2])[OX2H1].{_SH}>>[C:1](=[O:2])[S:9]"),
    Template("Williamson ether synthesis", _BROMIDE, _ALCOHOLS, f"[CX4:1]Br.{_OH}>>[C:1][O:9]"),
    Template("Williamson ether synthesis with an iodide", _IODIDE, _ALCOHOLS, f"[CX4:1]I.{_OH}>>[C:1][O:9]", disconnects=False),
    Template("thioether synthesis", _BROMIDE, _THIOL, f"[CX4:1]Br.{_SH}>>[C:1][S:9]"),
    Template("thioether synthesis with an iodide", _IODIDE, _THIOL, f"[CX4:1]I.{_SH}>>[C:1][S:9]", disconnects=False),
    Template("N-alkylation", _BROMIDE, _SECONDARY, f"[CX4:1]Br.{_NH}>>[C:1][N:9]"),
    Template("N-alkylation with an iodide", _IODIDE, _SECONDARY, f"[CX4:1]I.{_NH}>>[C:1][N:9]", disconnects=False),
    Template("reductive amination", _CARBONYLS, _SECONDARY, f"[C:1]=[OX1].{_NH}>>[C:1][N:9]", disconnects=False),
    Template("imine condensation", _CARBONYLS, _PRIMARY, f"[C:1]=[OX1].{_NH}>>[C:1]=[N:9]"),
    Template("Grignard addition", _CARBONYLS, _BROMIDE, "[C:1]=[OX1:2].[CX4:9]Br>>[C:1]([OH:2])[C:9]"),
    Template("alkyne alkylation", _ALKYNE, _BROMIDE, "[CX2H1:1]#[C:2].[CX4:9]Br>>[C:9][C:1]#[C:2]"),
    Template("alkyne addition", _ALKYNE, _CARBONYLS, "[CX2H1:1]#[C:2].[C:8]=[OX1:9]>>[C:2]#[C:1][C:8][OH:9]", disconnects=False),
    Template("urea formation", _ISOCYANATE, _AMINES, f"[N:1]=[C:2]=[O:3].{_NH}>>[N:1][C:2](=[O:3])[N:9]"),
    Template("carbamate formation", _ISOCYANATE, _ALCOHOLS, f"[N:1]=[C:2]=[O:3].{_OH}>>[N:1][C:2](=[O:3])[O:9]"),
    Template("thiourea formation", _ISOTHIOCYANATE, _AMINES, f"[N:1]=[C:2]=[S:3].{_NH}>>[N:1][C:2](=[S:3])[N:9]"),
    Template("epoxide opening by an amine", _EPOXIDE, _AMINES, f"[CH2:1]1[O:2][C:3]1.{_NH}>>[N:9][C:1][C:3][OH:2]"),
    Template("epoxide opening by a thiol", _EPOXIDE, _THIOL, f"[CH2:1]1[O:2][C:3]1.{_SH}>>[S:9][C:1][C:3][OH:2]"),
    Template("epoxide opening by an alcohol", _EPOXIDE, _ALCOHOLS, f"[CH2:1]1[O:2][C:3]1.{_OH}>>[O:9][C:1][C:3][OH:2]"),
    Template("aza-Michael addition", _ACCEPTOR, _AMINES, f"[CH2:1]=[C:2].{_NH}>>[N:9][C:1][C:2]"),
    Template("thia-Michael addition", _ACCEPTOR, _THIOL, f"[CH2:1]=[C:2].{_SH}>>[S:9][C:1][C:2]"),
)

_GROUP_PATTERNS = {kind: Chem.MolFromSmarts(smarts) for kind, smarts in REACTIVE_GROUPS.items()}
_HINDRANCE_PATTERNS = tuple(Chem.MolFromSmarts(smarts) for smarts in HINDRANCES)


def block_kind(mol: Chem.Mol) -> tuple[str, tuple[int, ...]] | None:
    """The kind of building block a molecule is and the atoms of its reactive group, or ``None``: no group, several, or hindrances."""
    found: tuple[str, tuple[int, ...]] | None = None
    for kind, pattern in _GROUP_PATTERNS.items():
        for match in mol.GetSubstructMatches(pattern):
            if found is not None:
                return None
            found = kind, match
    if found is None:
        return None
    inside = set(found[1])
    for pattern in _HINDRANCE_PATTERNS:
        if any(not set(match) <= inside for match in mol.GetSubstructMatches(pattern)):
            return None
    return found
