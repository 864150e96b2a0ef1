"""Products: every form of the product, with or without what a work-up removes, and what chemists confuse it with."""

from __future__ import annotations

from tests.rewards.board.case import Case

AMIDE = ("CC(=O)Cl.NCCc1ccncc1", "CC(=O)NCCc1ccncc1")
SUZUKI = ("OB(O)c1ccccc1.Brc1ccc(OC)cc1", "COc1ccc(-c2ccccc2)cc1")
ESTER = ("CCO.O=C(O)c1ccccc1", "CCOC(=O)c1ccccc1")
NITRO = ("Cc1ccc([N+](=O)[O-])cc1.[H][H]", "Cc1ccc(N)cc1")
HYDROLYSIS = ("COC(=O)CCc1ccccc1.[Na+].[OH-]", "O=C(O)CCc1ccccc1")
QUAT = ("CN(C)C.BrCc1ccccc1", "C[N+](C)(C)Cc1ccccc1.[Br-]")
RESOLVED = ("C[C@H](N)c1ccccc1.CC(=O)Cl", "CC(=O)N[C@@H](C)c1ccccc1")
PYRAZOLE = ("CC(=O)CC(=O)CC.NN", "CCc1cc(C)[nH]n1")
OXIDATION = ("CSc1ccccc1.OO", "CS(=O)c1ccccc1")
WITTIG = ("O=Cc1ccccc1.CCOC(=O)C=P(c1ccccc1)(c1ccccc1)c1ccccc1", "CCOC(=O)/C=C/c1ccccc1")
BOC = ("CC(C)(C)OC(=O)NCCc1ccccc1.Cl", "NCCc1ccccc1")
AZIDE = ("BrCc1ccccc1.[Na+].[N-]=[N+]=[N-]", "[N-]=[N+]=NCc1ccccc1")

# name, (reactants, product), answer
RIGHT = [
    ("amide", AMIDE, "CC(=O)NCCc1ccncc1"),
    ("amide-kekule", AMIDE, "CC(=O)NCCC1=CC=NC=C1"),
    ("amide-other-end", AMIDE, "c1cnccc1CCNC(C)=O"),
    ("amide-mapped", AMIDE, "[CH3:1][C:2](=[O:3])[NH:4]CCc1ccncc1"),
    ("amide-hydrochloride", AMIDE, "CC(=O)NCCc1ccncc1.Cl"),
    ("amide-hydrochloride-ions", AMIDE, "[Cl-].CC(=O)NCCc1cc[nH+]cc1"),
    ("amide-protonated", AMIDE, "CC(=O)NCCc1cc[nH+]cc1.[Cl-]"),
    ("amide-trifluoroacetate", AMIDE, "CC(=O)NCCc1ccncc1.OC(=O)C(F)(F)F"),
    ("amide-with-water", AMIDE, "CC(=O)NCCc1ccncc1.O"),
    ("suzuki", SUZUKI, "COc1ccc(-c2ccccc2)cc1"),
    ("suzuki-bond-implied", SUZUKI, "COc1ccc(cc1)c1ccccc1"),
    ("suzuki-kekule", SUZUKI, "COC1=CC=C(C=C1)C1=CC=CC=C1"),
    ("suzuki-with-boric-acid", SUZUKI, "COc1ccc(-c2ccccc2)cc1.OB(O)O"),
    ("ester", ESTER, "CCOC(=O)c1ccccc1"),
    ("ester-with-water", ESTER, "O.CCOC(=O)c1ccccc1"),
    ("aniline", NITRO, "Cc1ccc(N)cc1"),
    ("aniline-hydrochloride", NITRO, "Cc1ccc([NH3+])cc1.[Cl-]"),
    ("aniline-with-water", NITRO, "Cc1ccc(N)cc1.O.O"),
    ("acid", HYDROLYSIS, "OC(=O)CCc1ccccc1"),
    ("carboxylate-before-acidifying", HYDROLYSIS, "O=C([O-])CCc1ccccc1.[Na+]"),
    ("sodium-salt-bound", HYDROLYSIS, "[Na]OC(=O)CCc1ccccc1"),
    ("ammonium-salt", QUAT, "[Br-].C[N+](C)(C)Cc1ccccc1"),
    ("ammonium-alone", QUAT, "C[N+](C)(C)Cc1ccccc1"),
    ("ammonium-chloride-after-exchange", QUAT, "C[N+](C)(C)Cc1ccccc1.[Cl-]"),
    ("centre-kept", RESOLVED, "C[C@H](NC(C)=O)c1ccccc1"),
    ("pyrazole-hydrogen", PYRAZOLE, "CCc1cc(C)n[nH]1"),
    ("sulfoxide-charge-separated", OXIDATION, "C[S+]([O-])c1ccccc1"),
    ("sulfoxide-with-a-centre", OXIDATION, "C[S@](=O)c1ccccc1"),
    ("wittig", WITTIG, "O=C(OCC)\\C=C\\c1ccccc1"),
    ("free-amine", BOC, "NCCc1ccccc1"),
    ("amine-hydrochloride", BOC, "[NH3+]CCc1ccccc1.[Cl-]"),
    ("amine-with-carbon-dioxide", BOC, "NCCc1ccccc1.O=C=O"),
    ("azide-other-drawing", AZIDE, "N#[N+][N-]Cc1ccccc1"),
    ("azide-with-sodium-bromide", AZIDE, "[N-]=[N+]=NCc1ccccc1.[Na+].[Br-]"),
    ("azide-pentavalent", AZIDE, "N#N=NCc1ccccc1"),
    ("phosphine-oxide-by-product-left-out", WITTIG, "CCOC(=O)/C=C/c1ccccc1"),
]

# name, (reactants, product), answer, the most it may earn
NEAR = [
    ("amine-back", AMIDE, "NCCc1ccncc1", 0.0),
    ("amine-back-protonated", AMIDE, "[NH3+]CCc1ccncc1", 0.0),
    ("chloride-back", AMIDE, "CC(=O)Cl", 0.0),
    ("both-back", AMIDE, "CC(=O)Cl.NCCc1ccncc1", 0.0),
    ("product-and-amine", AMIDE, "CC(=O)NCCc1ccncc1.NCCc1ccncc1", 0.0),
    ("product-twice", AMIDE, "CC(=O)NCCc1ccncc1.CC(=O)NCCc1ccncc1", 0.0),
    ("only-the-acid-by-product", AMIDE, "Cl", 0.0),
    ("acetylated-twice", AMIDE, "CC(=O)N(CCc1ccncc1)C(C)=O", 0.2),
    ("acetylated-at-the-ring", AMIDE, "CC(=O)c1cnccc1CCN", 0.2),
    ("propionamide", AMIDE, "CCC(=O)NCCc1ccncc1", 0.2),
    ("n-oxide", AMIDE, "CC(=O)NCCc1cc[n+]([O-])cc1", 0.2),
    ("homocoupling", SUZUKI, "c1ccc(-c2ccccc2)cc1", 0.2),
    ("meta-coupled", SUZUKI, "COc1cccc(-c2ccccc2)c1", 0.2),
    ("demethylated", SUZUKI, "Oc1ccc(-c2ccccc2)cc1", 0.2),
    ("boronic-acid-kept", SUZUKI, "COc1ccc(-c2ccccc2B(O)O)cc1", 0.2),
    ("both-biaryls", SUZUKI, "COc1ccc(-c2ccccc2)cc1.c1ccc(-c2ccccc2)cc1", 0.0),
    ("transposed-ester", ESTER, "CC(=O)OCc1ccccc1", 0.2),
    ("ketone-for-ester", ESTER, "CCC(=O)c1ccccc1", 0.2),
    ("anhydride", ESTER, "O=C(OC(=O)c1ccccc1)c1ccccc1", 0.2),
    ("methyl-ester", ESTER, "COC(=O)c1ccccc1", 0.2),
    ("ester-and-solvent", ESTER, "CCOC(=O)c1ccccc1.Cc1ccccc1", 0.0),
    ("hydroxylamine", NITRO, "Cc1ccc(NO)cc1", 0.2),
    ("nitroso", NITRO, "Cc1ccc(N=O)cc1", 0.2),
    ("ring-reduced", NITRO, "CC1CCC(N)CC1", 0.2),
    ("ester-back", HYDROLYSIS, "COC(=O)CCc1ccccc1", 0.0),
    ("alcohol-of-the-ester-only", HYDROLYSIS, "CO", 0.1),
    ("amide-for-acid", HYDROLYSIS, "NC(=O)CCc1ccccc1", 0.2),
    ("not-quaternised", QUAT, "CN(C)Cc1ccccc1", 0.2),
    ("centre-inverted", RESOLVED, "C[C@@H](NC(C)=O)c1ccccc1", 0.2),
    ("centre-lost", RESOLVED, "CC(NC(C)=O)c1ccccc1", 0.2),
    ("isoxazole", PYRAZOLE, "CCc1cc(C)on1", 0.2),
    ("hydrazone", PYRAZOLE, "CCC(=O)CC(C)=NN", 0.2),
    ("sulfone", OXIDATION, "CS(=O)(=O)c1ccccc1", 0.2),
    ("sulfide-back", OXIDATION, "CSc1ccccc1", 0.0),
    ("z-olefin", WITTIG, "CCOC(=O)/C=C\\c1ccccc1", 0.2),
    ("phosphine-oxide", WITTIG, "O=P(c1ccccc1)(c1ccccc1)c1ccccc1", 0.2),
    ("reaction-smiles", BOC, "CC(C)(C)OC(=O)NCCc1ccccc1>>NCCc1ccccc1", 0.0),
    ("isobutene", BOC, "C=C(C)C", 0.1),
    ("name", AZIDE, "benzyl azide", 0.0),
    ("labelled", AZIDE, "[N-]=[N+]=[15N]Cc1ccccc1", 0.2),
]

CASES = [
    *(Case(name, "forward", answer, {"answer": row[1]}, {"reactants": row[0]}) for name, row, answer in RIGHT),
    *(
        Case(name, "forward", answer, {"answer": row[1]}, {"reactants": row[0]}, at_least=0.0, at_most=most)
        for name, row, answer, most in NEAR
    ),
]
