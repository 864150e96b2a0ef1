"""A handful of rows of every task, with awkward molecules: charges, fused rings, spiro atoms, no carbon, hypervalent sulfur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from chemr.data.example import Example
from rewards.functional_groups import GROUP_NAMES, count_group

SMILES = (
    "C", "CCO", "CC(=O)O", "C#CC", "NO", "ClC(Cl)Cl", "CC(C)(C)Br", "C=CC=C", "N#CCC(=O)O", "OC1CC1", "c1ccccc1", "Cc1cccnc1",
    "c1cc[nH]c1", "Cn1cccc1", "O=[N+]([O-])c1ccccc1", "C[N+](C)(C)C", "CC(=O)[O-]", "CS(C)=O", "CS(=O)(=O)C", "CSSC", "CCS", "C1CC12CC2",
    "c1ccc2ccccc2c1", "CC(=O)NC", "O=C1CCCO1", "CC(C)CC(C)O", "FC(F)(F)C(=O)O", "C1CC1C1CC1", "OCC(O)CO", "NC(N)=O", "CP(C)C",
    "C[Si](C)(C)C", "BrCCI", "CC=O", "CCOC(=O)CC", "CC(=O)OC(C)=O", "OB(O)c1ccccc1", "NCCc1ccccc1", "CC(C)=NO", "N=C=S",
)  # fmt: skip

EDITS = (
    ("moledit_add", {"smiles": "CCCN", "add": "hydroxyl"}, "NCCCO"),
    ("moledit_add", {"smiles": "CC(C)Br", "add": "benzene_ring"}, "CC(Br)Cc1ccccc1"),
    ("moledit_add", {"smiles": "C1CCC1", "add": "nitro"}, "O=[N+]([O-])C1CCC1"),
    ("moledit_del", {"smiles": "CCC(=O)O", "remove": "carboxyl"}, "CC"),
    ("moledit_del", {"smiles": "OCCCl", "remove": "halo"}, "CCO"),
    ("moledit_del", {"smiles": "CC(C)C#N", "remove": "nitrile"}, "CCC"),
    ("moledit_sub", {"smiles": "CCCCl", "remove": "halo", "add": "nitrile"}, "CCCC#N"),
    ("moledit_sub", {"smiles": "CCO", "remove": "hydroxyl", "add": "aldehyde"}, "CCC=O"),
    ("moledit_sub", {"smiles": "CC(C)(C)Br", "remove": "halo", "add": "amine"}, "CC(C)(C)N"),
    ("molopt_logp", {"smiles": "CCCO", "direction": "increase", "by": 1.2}, "CCCCl"),
    ("molopt_logp", {"smiles": "Cc1ccccc1", "direction": "decrease", "by": 0.6}, "Cc1ccccn1"),
    ("molopt_mr", {"smiles": "CC(C)O", "direction": "increase", "by": 5.0}, "CC(C)CO"),
    ("molopt_mr", {"smiles": "BrCCI", "direction": "decrease", "by": 7.0}, "OCCI"),
)

NAMES = (
    ("2-methylbutan-1-ol", "CCC(C)CO"), ("2-chloropropanoic acid", "CC(Cl)C(=O)O"), ("1-nitropyrrole", "O=[N+]([O-])n1cccc1"),
    ("cyclohexanone", "O=C1CCCCC1"), ("but-3-en-2-one", "C=CC(C)=O"), ("methyl propanoate", "CCC(=O)OC"), ("urea", "NC(N)=O"),
    ("hydrazine", "NN"), ("spiro[2.2]pentane", "C1CC12CC2"), ("tetramethylazanium", "C[N+](C)(C)C"),
)  # fmt: skip

REACTIONS = (
    ("CC(=O)O.CCN", "CCNC(C)=O"), ("CC(=O)O.CCO", "CCOC(C)=O"), ("CCBr.CO", "CCOC"), ("CC=O.CN", "CCNC"), ("C=CC=C.C=C", "C1=CCCCC1"),
    ("CC(=O)Cl.CS", "CSC(C)=O"), ("CCBr.[C-]#N", "CCC#N"),
)  # fmt: skip


def _rows() -> Iterator[tuple[str, dict[str, Any], str]]:
    for smiles in SMILES:
        mol = Chem.MolFromSmiles(smiles)
        yield "smiles2formula", {"smiles": smiles}, rdMolDescriptors.CalcMolFormula(mol)
        yield "molcustom_atomnum", {"counts": dict(Counter(atom.GetSymbol() for atom in mol.GetAtoms()))}, smiles
        if mol.GetNumBonds():
            yield "molcustom_bondnum", {"counts": dict(Counter(str(bond.GetBondType()).lower() for bond in mol.GetBonds()))}, smiles
        groups = {name: count_group(mol, name) for name in GROUP_NAMES}
        if any(groups.values()):
            yield "molcustom_functionalgroup", {"counts": {name: count for name, count in groups.items() if count}}, smiles
    for name, smiles in NAMES:
        yield "iupac2formula", {"iupac": name}, rdMolDescriptors.CalcMolFormula(Chem.MolFromSmiles(smiles))
        yield "iupac2smiles", {"iupac": name}, smiles
        yield "smiles2iupac", {"smiles": smiles}, name
        yield "text2mol", {"caption": f"the compound that chemists call {name}"}, smiles
    yield from EDITS
    for reactants, product in REACTIONS:
        yield "forward", {"reactants": reactants}, product
        yield "retro", {"product": product}, ".".join(sorted(reactants.split(".")))
        right, given = reactants.split(".")
        candidates = sorted(["CCCCC", right, "OCCO"], key=len)
        yield "reactant_selection", {"product": product, "given": given, "candidates": candidates}, right


ROWS = tuple(
    Example(f"test/{task}/{number}", task, inputs, {"answer": answer}, 0.5, "chemr tests", "Apache-2.0")
    for number, (task, inputs, answer) in enumerate(_rows())
)
