"""Reactants: every order and form of the set, and sets that lack, add or exchange something."""

from __future__ import annotations

from tests.rewards.board.case import Case

AMIDE = ("CC(=O)NCCc1ccncc1", "CC(=O)Cl.NCCc1ccncc1")
SUZUKI = ("COc1ccc(-c2ccccc2)cc1", "OB(O)c1ccccc1.Brc1ccc(OC)cc1")
ESTER = ("CCOC(=O)c1ccccc1", "CCO.O=C(O)c1ccccc1")
NITRO = ("Cc1ccc(N)cc1", "Cc1ccc([N+](=O)[O-])cc1")
WITTIG = ("CCOC(=O)/C=C/c1ccccc1", "O=Cc1ccccc1.CCOC(=O)C=P(c1ccccc1)(c1ccccc1)c1ccccc1")
PYRIDONE = ("COc1ccccn1", "O=c1cccc[nH]1.CI")
CENTRE = ("CC(=O)N[C@@H](C)c1ccccc1", "C[C@H](N)c1ccccc1.CC(=O)Cl")
AZIDE = ("[N-]=[N+]=NCc1ccccc1", "BrCc1ccccc1.[N-]=[N+]=[N-].[Na+]")
UREA = ("O=C(NCc1ccccc1)Nc1ccccc1", "NCc1ccccc1.O=C=Nc1ccccc1")
BOC = ("NCCc1ccccc1", "CC(C)(C)OC(=O)NCCc1ccccc1")
IMIDAZOLE = ("Cn1cnc(C)c1", "Cc1c[nH]cn1.CI")
TWICE = ("CCOC(=O)CC(=O)OCC", "O=C(O)CC(=O)O.CCO.CCO")

RIGHT = [
    ("amide", AMIDE, "CC(=O)Cl.NCCc1ccncc1"),
    ("amide-other-order", AMIDE, "NCCc1ccncc1.CC(=O)Cl"),
    ("amide-kekule", AMIDE, "ClC(C)=O.NCCC1=CC=NC=C1"),
    ("amide-mapped", AMIDE, "[CH3:1][C:2](Cl)=[O:3].[NH2:4]CCc1ccncc1"),
    ("amide-hydrogens-written", AMIDE, "CC(=O)Cl.[H]N([H])CCc1ccncc1"),
    ("suzuki", SUZUKI, "COc1ccc(Br)cc1.c1ccccc1B(O)O"),
    ("suzuki-other-order", SUZUKI, "OB(O)c1ccccc1.COc1ccc(Br)cc1"),
    ("suzuki-kekule", SUZUKI, "OB(O)C1=CC=CC=C1.COC1=CC=C(Br)C=C1"),
    ("ester", ESTER, "OCC.OC(=O)c1ccccc1"),
    ("ester-reversed", ESTER, "OC(=O)c1ccccc1.CCO"),
    ("ester-kekule", ESTER, "OC(=O)C1=CC=CC=C1.CCO"),
    ("nitro", NITRO, "Cc1ccc(cc1)[N+]([O-])=O"),
    ("nitro-pentavalent", NITRO, "Cc1ccc(N(=O)=O)cc1"),
    ("nitro-kekule", NITRO, "CC1=CC=C([N+](=O)[O-])C=C1"),
    ("ylide-as-ylene", WITTIG, "O=Cc1ccccc1.CCOC(=O)C=P(c1ccccc1)(c1ccccc1)c1ccccc1"),
    ("ylide-charge-separated", WITTIG, "O=Cc1ccccc1.CCOC(=O)[CH-][P+](c1ccccc1)(c1ccccc1)c1ccccc1"),
    ("aldehyde-first", WITTIG, "c1ccccc1C=O.O=C(OCC)C=P(c1ccccc1)(c1ccccc1)c1ccccc1"),
    ("pyridone", PYRIDONE, "CI.O=C1C=CC=CN1"),
    ("hydroxypyridine", PYRIDONE, "CI.Oc1ccccn1"),
    ("pyridone-first", PYRIDONE, "O=c1cccc[nH]1.IC"),
    ("centre", CENTRE, "CC(=O)Cl.C[C@H](N)c1ccccc1"),
    ("centre-mirror-spelling", CENTRE, "CC(=O)Cl.N[C@@H](C)c1ccccc1"),
    ("azide", AZIDE, "BrCc1ccccc1.[Na+].[N-]=[N+]=[N-]"),
    ("azide-bound", AZIDE, "BrCc1ccccc1.[Na]N=[N+]=[N-]"),
    ("azide-other-drawing", AZIDE, "[Na+].[N-]=[N+]=[N-].c1ccccc1CBr"),
    ("urea", UREA, "c1ccccc1N=C=O.c1ccccc1CN"),
    ("urea-kekule", UREA, "O=C=NC1=CC=CC=C1.NCC1=CC=CC=C1"),
    ("boc", BOC, "O=C(OC(C)(C)C)NCCc1ccccc1"),
    ("boc-other-tautomer", BOC, "OC(OC(C)(C)C)=NCCc1ccccc1"),
    ("imidazole", IMIDAZOLE, "Cc1c[nH]cn1.CI"),
    ("imidazole-other-tautomer", IMIDAZOLE, "Cc1cnc[nH]1.CI"),
    ("two-of-one", TWICE, "CCO.O=C(O)CC(=O)O.CCO"),
    ("two-of-one-reversed", TWICE, "OC(=O)CC(O)=O.OCC.OCC"),
]

# name, (product, reactants), answer, the most it may earn
NEAR = [
    ("product-itself", AMIDE, "CC(=O)NCCc1ccncc1", 0.0),
    ("product-and-reactant", AMIDE, "CC(=O)NCCc1ccncc1.CC(=O)Cl", 0.0),
    ("product-protonated", AMIDE, "CC(=O)NCCc1cc[nH+]cc1.CC(=O)Cl", 0.0),
    ("one-reactant", AMIDE, "NCCc1ccncc1", 0.5),
    ("acid-for-chloride", AMIDE, "CC(=O)O.NCCc1ccncc1", 0.5),
    ("anhydride-for-chloride", AMIDE, "CC(=O)OC(C)=O.NCCc1ccncc1", 0.5),
    ("solvent-besides", AMIDE, "CC(=O)Cl.NCCc1ccncc1.ClCCl", 0.5),
    ("amine-homologue", AMIDE, "CC(=O)Cl.NCCCc1ccncc1", 0.5),
    ("amine-isomer", AMIDE, "CC(=O)Cl.NCCc1cccnc1", 0.5),
    ("both-wrong", AMIDE, "CCC(=O)O.NCc1ccncc1", 0.1),
    ("six-components", AMIDE, "CC(=O)Cl.NCCc1ccncc1.O.O.Cl.Cl", 0.0),
    ("partners-exchanged", SUZUKI, "COc1ccc(B(O)O)cc1.Brc1ccccc1", 0.5),
    ("iodide-for-bromide", SUZUKI, "OB(O)c1ccccc1.Ic1ccc(OC)cc1", 0.5),
    ("pinacol-ester", SUZUKI, "CC1(C)OB(c2ccccc2)OC1(C)C.Brc1ccc(OC)cc1", 0.5),
    ("acid-twice", ESTER, "O=C(O)c1ccccc1.O=C(O)c1ccccc1", 0.5),
    ("acid-chloride", ESTER, "CCO.O=C(Cl)c1ccccc1", 0.5),
    ("carboxylate", ESTER, "CCO.O=C([O-])c1ccccc1", 0.5),
    ("alcohol-only", ESTER, "CCO", 0.5),
    ("nitroso", NITRO, "Cc1ccc(N=O)cc1", 0.1),
    ("nitro-isomer", NITRO, "Cc1ccccc1[N+](=O)[O-]", 0.1),
    ("aniline-salt", NITRO, "Cc1ccc([NH3+])cc1.[Cl-]", 0.0),
    ("aldehyde-only", WITTIG, "O=Cc1ccccc1", 0.5),
    ("phosphonate-for-ylide", WITTIG, "O=Cc1ccccc1.CCOC(=O)CP(=O)(OCC)OCC", 0.5),
    ("n-methyl-pyridone", PYRIDONE, "Cn1ccccc1=O.CI", 0.5),
    ("bromide-for-iodide", PYRIDONE, "O=c1cccc[nH]1.CBr", 0.5),
    ("centre-inverted", CENTRE, "C[C@@H](N)c1ccccc1.CC(=O)Cl", 0.5),
    ("centre-left-out", CENTRE, "CC(N)c1ccccc1.CC(=O)Cl", 0.5),
    ("azide-ion-forgotten", AZIDE, "BrCc1ccccc1.[Na+]", 0.5),
    ("chloride-for-bromide", AZIDE, "ClCc1ccccc1.[N-]=[N+]=[N-].[Na+]", 0.5),
    ("isocyanate-of-the-other", UREA, "Nc1ccccc1.O=C=NCc1ccccc1", 0.5),
    ("carbamate", BOC, "O=C(OCc1ccccc1)NCCc1ccccc1", 0.1),
    ("boc-with-acid", BOC, "CC(C)(C)OC(=O)NCCc1ccccc1.Cl", 0.5),
    ("imidazole-isomer", IMIDAZOLE, "Cc1ncc[nH]1.CI", 0.5),
    ("ethanol-once", TWICE, "O=C(O)CC(=O)O.CCO", 0.5),
    ("reaction-smiles", ESTER, "CCO.O=C(O)c1ccccc1>>CCOC(=O)c1ccccc1", 0.0),
    ("names", ESTER, "ethanol.benzoic acid", 0.0),
    ("comma", ESTER, "CCO,O=C(O)c1ccccc1", 0.0),
    ("plus", ESTER, "CCO + O=C(O)c1ccccc1", 0.0),
]

CASES = [
    *(Case(name, "retro", answer, {"answer": row[1]}, {"product": row[0]}) for name, row, answer in RIGHT),
    *(Case(name, "retro", answer, {"answer": row[1]}, {"product": row[0]}, at_least=0.0, at_most=most) for name, row, answer, most in NEAR),
]
