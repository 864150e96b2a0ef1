"""Edits of one functional group: any form and any sensible place, and nothing but the edit."""

from __future__ import annotations

from tests.rewards.board.case import Case

DRUG = "CC(C)Cc1ccc(C(C)C(=O)O)cc1"
AMINE = "CCC(N)Cc1ccccc1"

# name, source, (added, removed), reference, answer, and the least that one earns whose place is not the reference's
RIGHT = [
    ("add-hydroxyl-reference", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "OCCCc1ccccc1"),
    ("add-hydroxyl-on-the-ring", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CCCc1ccc(O)cc1", 0.85),
    ("add-hydroxyl-in-the-chain", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CC(O)Cc1ccccc1"),
    ("add-hydroxyl-kekule", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CCCC1=CC=C(O)C=C1", 0.85),
    ("add-hydroxyl-from-the-other-end", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "c1ccccc1CCCO"),
    ("add-hydroxyl-hydrogens-written", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "[H]OCCCc1ccccc1"),
    ("add-hydroxyl-with-a-centre", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "C[C@H](O)Cc1ccccc1"),
    ("add-hydroxyl-mapped", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "[OH:1][CH2:2]CCc1ccccc1"),
    ("add-fluorine-for-halo", DRUG, ("halo", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1Cl", "CC(C)Cc1ccc(C(C)C(=O)O)cc1F"),
    ("add-iodine-for-halo", DRUG, ("halo", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1Cl", "CC(C)Cc1ccc(C(C)C(=O)O)c(I)c1"),
    ("add-nitro-pentavalent", DRUG, ("nitro", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1[N+](=O)[O-]", "CC(C)Cc1ccc(C(C)C(=O)O)cc1N(=O)=O"),
    ("add-nitrile", DRUG, ("nitrile", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1C#N", "CC(C)Cc1ccc(C(C)C(=O)O)c(C#N)c1"),
    ("add-amine-primary", DRUG, ("amine", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1N", "CC(C)Cc1ccc(C(C)C(=O)O)c(N)c1"),
    ("add-thiol", "CCCc1ccccc1", ("thiol", ""), "SCCCc1ccccc1", "CCCc1ccc(S)cc1", 0.85),
    ("add-aldehyde", DRUG, ("aldehyde", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1C=O", "CC(C)Cc1ccc(C(C)C(=O)O)c(C=O)c1"),
    ("add-carboxyl", AMINE, ("carboxyl", ""), "CCC(N)Cc1ccc(C(=O)O)cc1", "CCC(N)Cc1cccc(C(O)=O)c1"),
    ("add-benzene", "CCCCCCN", ("benzene ring", ""), "NCCCCCCc1ccccc1", "NCCCCCCC1=CC=CC=C1"),
    ("add-to-a-salt", "CCCC[NH3+].[Cl-]", ("hydroxyl", ""), "OCCCC[NH3+].[Cl-]", "[Cl-].CC(O)CC[NH3+]", 0.85),
    ("add-to-an-imidazole-other-tautomer", "CCc1c[nH]cn1", ("hydroxyl", ""), "OCCc1c[nH]cn1", "OCCc1cnc[nH]1"),
    ("remove-amine-reference", AMINE, ("", "amine"), "CCCCc1ccccc1", "CCCCc1ccccc1"),
    ("remove-amine-kekule", AMINE, ("", "amine"), "CCCCc1ccccc1", "CCCCC1=CC=CC=C1"),
    ("remove-carboxyl", DRUG, ("", "carboxyl"), "CCc1ccc(CC(C)C)cc1", "CC(C)CC1=CC=C(CC)C=C1"),
    ("remove-halo", "Clc1ccc(CCO)cc1", ("", "halo"), "OCCc1ccccc1", "c1ccccc1CCO"),
    ("remove-one-of-two-halides", "Clc1ccc(CCO)cc1F", ("", "halo"), "OCCc1ccc(Cl)cc1", "OCCc1ccc(F)cc1"),
    ("remove-nitro", "CCOc1ccc([N+](=O)[O-])cc1", ("", "nitro"), "CCOc1ccccc1", "c1ccc(OCC)cc1"),
    ("remove-nitro-written-pentavalent", "CCOc1ccc(N(=O)=O)cc1", ("", "nitro"), "CCOc1ccccc1", "CCOc1ccccc1"),
    ("remove-hydroxyl-keeps-stereo", "C[C@H](N)CCO", ("", "hydroxyl"), "CC[C@H](C)N", "CC[C@H](C)N"),
    ("remove-hydroxyl-of-a-flat-source", "CC(N)CCO", ("", "hydroxyl"), "CCC(C)N", "CC[C@@H](C)N"),
    ("remove-benzene", "NCCCCCCc1ccccc1", ("", "benzene ring"), "CCCCCCN", "NCCCCCC"),
    ("exchange-hydroxyl-chlorine", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CCC(Cl)CCC1=CC=CC=C1"),
    ("exchange-hydroxyl-bromine", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CC[C@H](Br)CCc1ccccc1"),
    ("exchange-acid-nitrile", DRUG, ("nitrile", "carboxyl"), "CC(C)Cc1ccc(C(C)C#N)cc1", "N#CC(C)c1ccc(CC(C)C)cc1"),
    ("exchange-nitro-amine", "CCOc1ccc(N(=O)=O)cc1", ("amine", "nitro"), "CCOc1ccc(N)cc1", "Nc1ccc(OCC)cc1"),
    ("exchange-halo-thiol", "Clc1ccc(CCO)cc1", ("thiol", "halo"), "OCCc1ccc(S)cc1", "SC1=CC=C(CCO)C=C1"),
]

# the same, and the most it may earn
NEAR = [
    ("add-copy", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CCCc1ccccc1", 0.0),
    ("add-copy-kekule", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "C1=CC=CC=C1CCC", 0.0),
    ("add-methanol-beside", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CCCc1ccccc1.CO", 0.0),
    ("add-two-hydroxyls", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "OCCCc1ccc(O)cc1", 0.0),
    ("add-acid-for-hydroxyl", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "O=C(O)CCc1ccccc1CCCCCCCC", 0.0),
    ("add-ether-for-hydroxyl", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "CCCc1ccc(OC)cc1", 0.0),
    ("add-thiol-for-hydroxyl", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "SCCCc1ccccc1", 0.0),
    ("add-peroxide", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "OOCCCc1ccccc1", 0.0),
    ("add-enol", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "OC(=CC)c1ccccc1", 0.0),
    ("add-oxonium", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "[OH2+]CCCc1ccccc1", 0.0),
    ("add-alkoxide", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "[O-]CCCc1ccccc1", 0.0),
    ("add-labelled", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "[18OH]CCCc1ccccc1", 0.0),
    ("add-radical", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "O[CH]CCc1ccccc1", 0.0),
    ("add-other-molecule", DRUG, ("hydroxyl", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1O", "OCCO", 0.0),
    ("add-long-tail", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "OCCCCCCCCCCCCCCCCCc1ccccc1", 0.0),
    ("add-by-protonating", "CCCC(=O)[O-]", ("hydroxyl", ""), "OCCCC(=O)[O-]", "CCCC(=O)O", 0.0),
    ("add-name", "CCCc1ccccc1", ("hydroxyl", ""), "OCCCc1ccccc1", "3-phenylpropan-1-ol", 0.0),
    ("add-halo-on-oxygen", "OCCCc1ccccc1", ("halo", ""), "OCCCc1ccc(Cl)cc1", "ClOCCCc1ccccc1", 0.0),
    ("add-amine-with-a-methyl", DRUG, ("amine", ""), "CC(C)Cc1ccc(C(C)C(=O)O)cc1N", "CC(C)Cc1ccc(C(C)C(=O)O)cc1NC", 0.3),
    ("add-amine-nitrogen-chain", AMINE, ("amine", ""), "CCC(N)Cc1ccc(N)cc1", "CCC(NN)Cc1ccccc1", 0.0),
    ("remove-copy", AMINE, ("", "amine"), "CCCCc1ccccc1", "NC(CC)Cc1ccccc1", 0.0),
    ("remove-methylate", AMINE, ("", "amine"), "CCCCc1ccccc1", "CCC(N(C)C)Cc1ccccc1", 0.0),
    ("remove-protonate", AMINE, ("", "amine"), "CCCCc1ccccc1", "CCC([NH3+])Cc1ccccc1", 0.0),
    ("remove-oxidise", AMINE, ("", "amine"), "CCCCc1ccccc1", "CCC([N+](=O)[O-])Cc1ccccc1", 0.0),
    ("remove-too-much", AMINE, ("", "amine"), "CCCCc1ccccc1", "C", 0.0),
    ("remove-acid-to-aldehyde", DRUG, ("", "carboxyl"), "CCc1ccc(CC(C)C)cc1", "CC(C)Cc1ccc(C(C)C=O)cc1", 0.0),
    ("remove-acid-to-ester", DRUG, ("", "carboxyl"), "CCc1ccc(CC(C)C)cc1", "CC(C)Cc1ccc(C(C)C(=O)OC)cc1", 0.0),
    ("remove-acid-to-carboxylate", DRUG, ("", "carboxyl"), "CCc1ccc(CC(C)C)cc1", "CC(C)Cc1ccc(C(C)C(=O)[O-])cc1", 0.0),
    ("remove-both-halides", "Clc1ccc(CCO)cc1F", ("", "halo"), "OCCc1ccc(Cl)cc1", "OCCc1ccccc1", 0.0),
    ("remove-ring-by-saturating", "NCCCCCCc1ccccc1", ("", "benzene ring"), "CCCCCCN", "NCCCCCCC1CCCCC1", 0.0),
    ("remove-fragments", DRUG, ("", "carboxyl"), "CCc1ccc(CC(C)C)cc1", "CCc1ccc(CC(C)C)cc1.O=C=O", 0.0),
    ("exchange-only-removed", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CCCCCc1ccccc1", 0.0),
    ("exchange-only-added", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CCC(O)CCc1ccc(Cl)cc1", 0.0),
    ("exchange-elsewhere", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CCCCCc1ccc(Cl)cc1", 0.3),
    ("exchange-to-ether-and-halide", "CCC(O)CCc1ccccc1", ("halo", "hydroxyl"), "CCC(Cl)CCc1ccccc1", "CCC(OC)CCc1ccc(Cl)cc1", 0.0),
    ("exchange-nitro-to-nitroso", "CCOc1ccc(N(=O)=O)cc1", ("amine", "nitro"), "CCOc1ccc(N)cc1", "CCOc1ccc(N=O)cc1", 0.0),
]


def _case(name, source, groups, reference, answer, at_least=1.0, at_most=1.0) -> Case:
    inputs = {key: group for key, group in zip(("add", "remove"), groups, strict=True) if group}
    task = "moledit_sub" if len(inputs) == 2 else "moledit_add" if "add" in inputs else "moledit_del"
    return Case(name, task, answer, {"answer": reference}, {"smiles": source} | inputs, at_least, at_most)


CASES = [*(_case(*entry) for entry in RIGHT), *(_case(*entry[:-1], at_least=0.0, at_most=entry[-1]) for entry in NEAR)]
