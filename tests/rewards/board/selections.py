"""A choice among listed molecules: its number, its name in the laboratory, or its structure in any spelling; the best one and no other."""

from __future__ import annotations

from tests.rewards.board.case import Case

SOLVENTS = ["CO", "CC#N", "C1CCOC1", "CN(C)C=O", "Cc1ccccc1", "O", "C1COCCO1", "CS(C)=O"]
REACTANTS = [
    "Cc1cc[nH]n1",
    "OB(O)c1ccccc1",
    "CCOC(=O)c1ccc(Br)cc1",
    "[K+].F[B-](F)(F)c1ccccc1",
    "O=[N+]([O-])c1ccc(Br)cc1",
    "N[C@@H](C)C(=O)O",
]
LIGANDS = ["CC(C)(C)P(C(C)(C)C)C(C)(C)C", "c1ccc(P(c2ccccc2)c2ccccc2)cc1", "Cc1ccccc1P(c1ccccc1C)c1ccccc1C", "CP(C)C"]
OTHER_LIGANDS = ["CCP(CC)CC", "C1CCC(P(C2CCCCC2)C2CCCCC2)CC1"]

# name, candidates, the best one's place, answer
RIGHT = [
    ("smiles-as-listed", SOLVENTS, 2, "C1CCOC1"),
    ("smiles-other-start", SOLVENTS, 2, "O1CCCC1"),
    ("number", SOLVENTS, 2, "3"),
    ("number-with-stop", SOLVENTS, 2, "3."),
    ("number-with-bracket", SOLVENTS, 2, "3)"),
    ("number-and-smiles", SOLVENTS, 2, "3. C1CCOC1"),
    ("number-colon-smiles", SOLVENTS, 2, "3: O1CCCC1"),
    ("number-and-abbreviation", SOLVENTS, 2, "3. THF"),
    ("thf", SOLVENTS, 2, "THF"),
    ("thf-lower", SOLVENTS, 2, "thf"),
    ("thf-name", SOLVENTS, 2, "tetrahydrofuran"),
    ("thf-stop", SOLVENTS, 2, "THF."),
    ("dmf", SOLVENTS, 3, "DMF"),
    ("dmf-name", SOLVENTS, 3, "N,N-dimethylformamide"),
    ("dmf-spelling", SOLVENTS, 3, "O=CN(C)C"),
    ("dmf-short-name", SOLVENTS, 3, "dimethylformamide"),
    ("methanol", SOLVENTS, 0, "methanol"),
    ("methanol-formula-name", SOLVENTS, 0, "MeOH"),
    ("methanol-spelling", SOLVENTS, 0, "OC"),
    ("acetonitrile", SOLVENTS, 1, "Acetonitrile"),
    ("mecn", SOLVENTS, 1, "MeCN"),
    ("acn", SOLVENTS, 1, "ACN"),
    ("nitrile-spelling", SOLVENTS, 1, "N#CC"),
    ("toluene", SOLVENTS, 4, "toluene"),
    ("toluene-kekule", SOLVENTS, 4, "CC1=CC=CC=C1"),
    ("phme", SOLVENTS, 4, "PhMe"),
    ("water", SOLVENTS, 5, "water"),
    ("water-formula", SOLVENTS, 5, "H2O"),
    ("water-smiles", SOLVENTS, 5, "O"),
    ("water-subscript", SOLVENTS, 5, "H₂O"),
    ("dioxane", SOLVENTS, 6, "1,4-dioxane"),
    ("dioxane-capital", SOLVENTS, 6, "Dioxane"),
    ("dmso", SOLVENTS, 7, "DMSO"),
    ("dmso-name", SOLVENTS, 7, "dimethyl sulfoxide"),
    ("dmso-charge-separated", SOLVENTS, 7, "C[S+](C)[O-]"),
    ("pyrazole-hydrogen", REACTANTS, 0, "Cc1ccn[nH]1"),
    ("boronic-acid-kekule", REACTANTS, 1, "C1=CC=CC=C1B(O)O"),
    ("ester-other-end", REACTANTS, 2, "Brc1ccc(cc1)C(=O)OCC"),
    ("trifluoroborate-order", REACTANTS, 3, "c1ccccc1[B-](F)(F)F.[K+]"),
    ("nitro-pentavalent", REACTANTS, 4, "O=N(=O)c1ccc(Br)cc1"),
    ("centre-mirror-spelling", REACTANTS, 5, "C[C@H](N)C(=O)O"),
    ("zwitterion", REACTANTS, 5, "[NH3+][C@@H](C)C(=O)[O-]"),
    ("reactant-number", REACTANTS, 5, "6"),
    ("reactant-mapped", REACTANTS, 1, "[OH:1]B(O)c1ccccc1"),
]

# name, candidates, the best one's place, answer, the most it may earn
NEAR = [
    ("second-by-number", SOLVENTS, 2, "2", 0.3),
    ("second-by-name", SOLVENTS, 2, "MeCN", 0.3),
    ("number-out-of-range", SOLVENTS, 2, "9", 0.0),
    ("number-zero", SOLVENTS, 2, "0", 0.0),
    ("number-negative", SOLVENTS, 2, "-3", 0.0),
    ("number-decimal", SOLVENTS, 2, "3.0", 0.0),
    ("number-word", SOLVENTS, 2, "three", 0.0),
    ("number-and-another", SOLVENTS, 2, "3. MeCN", 0.0),
    ("two-numbers", SOLVENTS, 2, "3 or 2", 0.0),
    ("range", SOLVENTS, 2, "1-8", 0.0),
    ("letter", SOLVENTS, 2, "C", 0.0),
    ("unlisted-abbreviation", SOLVENTS, 2, "DCM", 0.0),
    ("unlisted-name", SOLVENTS, 2, "ethanol", 0.0),
    ("unlisted-smiles", SOLVENTS, 2, "CCO", 0.0),
    ("related-ring", SOLVENTS, 2, "C1CCOCC1", 0.0),
    ("substituted", SOLVENTS, 2, "CC1CCCO1", 0.0),
    ("aromatic-relative", SOLVENTS, 2, "c1ccoc1", 0.0),
    ("mixture", SOLVENTS, 2, "C1CCOC1.O", 0.0),
    ("mixture-in-words", SOLVENTS, 2, "THF/H2O", 0.0),
    ("all-of-them", SOLVENTS, 2, ".".join(SOLVENTS), 0.0),
    ("list", SOLVENTS, 2, "C1CCOC1, CC#N", 0.0),
    ("twice", SOLVENTS, 2, "C1CCOC1.C1CCOC1", 0.0),
    ("deuterated", SOLVENTS, 7, "[2H]C([2H])([2H])S(=O)C([2H])([2H])[2H]", 0.0),
    ("protonated", SOLVENTS, 5, "[OH3+]", 0.0),
    ("sentence", SOLVENTS, 2, "The best solvent is THF", 0.0),
    ("polymer", SOLVENTS, 2, "*CCCCO*", 0.0),
    ("enantiomer", REACTANTS, 5, "N[C@H](C)C(=O)O", 0.0),
    ("regioisomer", REACTANTS, 2, "CCOC(=O)c1cccc(Br)c1", 0.0),
    ("methyl-ester", REACTANTS, 2, "COC(=O)c1ccc(Br)cc1", 0.0),
    ("iodide", REACTANTS, 2, "CCOC(=O)c1ccc(I)cc1", 0.0),
    ("cation-only", REACTANTS, 3, "[K+]", 0.0),
    ("ion-missing", REACTANTS, 3, "F[B-](F)(F)c1ccccc1", 0.0),
    ("other-counter-ion", REACTANTS, 3, "[Na+].F[B-](F)(F)c1ccccc1", 0.0),
    ("phenol-for-boronic-acid", REACTANTS, 1, "Oc1ccccc1", 0.0),
    ("another-candidate", REACTANTS, 1, "3", 0.3),
]

# of ligands too only the best one is right, not the better half that the benchmark counts
LIGAND_RIGHT = [
    ("best", LIGANDS[0]),
    ("best-by-number", "1"),
    ("best-by-number-and-smiles", f"1. {LIGANDS[0]}"),
    ("best-other-start", "P(C(C)(C)C)(C(C)(C)C)C(C)(C)C"),
]
LIGAND_NEAR = [
    ("second", LIGANDS[1]),
    ("second-by-number", "2"),
    ("second-kekule", "C1=CC=CC=C1P(C1=CC=CC=C1)C1=CC=CC=C1"),
    ("third", LIGANDS[2]),
    ("last", LIGANDS[3]),
    ("last-by-number", "4"),
    ("unlisted", OTHER_LIGANDS[0]),
    ("oxide", "O=P(c1ccccc1)(c1ccccc1)c1ccccc1"),
    ("salt", "CC(C)(C)[PH+](C(C)(C)C)C(C)(C)C.F[B-](F)(F)F"),
    ("two", f"{LIGANDS[0]}.{LIGANDS[1]}"),
]


def _case(name: str, candidates: list[str], best: int, answer: str, at_least: float = 1.0, at_most: float = 1.0) -> Case:
    task = "solvent_selection" if candidates is SOLVENTS else "reactant_selection"
    gold = candidates[best]
    ranked = [gold, *(one for one in candidates if one != gold)]
    inputs = {"reaction": "Brc1ccccc1.OB(O)c1ccccc1>___>", "candidates": candidates}
    return Case(f"{task.partition('_')[0]}-{name}", task, answer, {"answer": gold, "ranked": ranked}, inputs, at_least, at_most)


_LIGAND_ROW = ({"answer": LIGANDS[0], "ranked": LIGANDS}, {"reaction": "-", "candidates": LIGANDS})
CASES = [
    *(_case(*entry) for entry in RIGHT),
    *(_case(*entry[:-1], at_least=0.0, at_most=entry[-1]) for entry in NEAR),
    *(Case(f"ligand-{name}", "ligand_selection", answer, *_LIGAND_ROW) for name, answer in LIGAND_RIGHT),
    *(Case(f"ligand-near-{name}", "ligand_selection", answer, *_LIGAND_ROW, at_least=0.0, at_most=0.0) for name, answer in LIGAND_NEAR),
]
