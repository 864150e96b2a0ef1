"""Names of a molecule, judged as text and by what OPSIN reads in them."""

from __future__ import annotations

from tests.rewards.board.case import Case

# name, answer, gold: the same name in other typography, full credit without OPSIN too
TYPOGRAPHY = [
    ("as-it-is", "2-acetyloxybenzoic acid", "2-acetyloxybenzoic acid"),
    ("capital", "2-Acetyloxybenzoic acid", "2-acetyloxybenzoic acid"),
    ("full-stop", "2-acetyloxybenzoic acid.", "2-acetyloxybenzoic acid"),
    ("non-breaking-hyphen", "2\u2011acetyloxybenzoic acid", "2-acetyloxybenzoic acid"),
    ("en-dash", "2\u2013acetyloxybenzoic acid", "2-acetyloxybenzoic acid"),
    ("blank-after-commas", "1, 3, 7-trimethylpurine-2, 6-dione", "1,3,7-trimethylpurine-2,6-dione"),
    ("tilde-italics", "(2~{S})-2-amino-3-phenylpropanoic acid", "(2S)-2-amino-3-phenylpropanoic acid"),
    ("markdown-italics", "(2*S*)-2-amino-3-phenylpropanoic acid", "(2S)-2-amino-3-phenylpropanoic acid"),
    ("markdown-italics-of-two", "(2*R*,3*S*)-2,3-dihydroxybutanoic acid", "(2R,3S)-2,3-dihydroxybutanoic acid"),
    ("markdown-italics-of-a-double-bond", "(*E*)-but-2-enoic acid", "(E)-but-2-enoic acid"),
    ("underscore-italics", "_N_,_N_-dimethylformamide", "N,N-dimethylformamide"),
    ("html-italics", "<i>N</i>,<i>N</i>-dimethylformamide", "N,N-dimethylformamide"),
    ("dollars", "$N$,$N$-dimethylformamide", "N,N-dimethylformamide"),
    ("italic-tert", "*tert*-butyl acetate", "tert-butyl acetate"),
    ("hydrogen-in-braces", "9{H}-fluorene", "9H-fluorene"),
    ("hydrogen-in-parentheses", "9(H)-fluorene", "9H-fluorene"),
    ("hydrogen-in-italics", "9*H*-fluorene", "9H-fluorene"),
    ("von-baeyer-caret", "tricyclo[5.2.1.0^{2,6}]decane", "tricyclo[5.2.1.02,6]decane"),
    ("von-baeyer-raised", "tricyclo[5.2.1.0²,⁶]decane", "tricyclo[5.2.1.02,6]decane"),
    ("von-baeyer-sup", "tricyclo[5.2.1.0<sup>2,6</sup>]decane", "tricyclo[5.2.1.02,6]decane"),
    ("von-baeyer-parentheses", "tricyclo[5.2.1.0^(2,6)]decane", "tricyclo[5.2.1.02,6]decane"),
    ("typographic-primes", "N,N\u2032-diphenylurea", "N,N'-diphenylurea"),
    ("curly-quotes-as-primes", "N,N\u2019-diphenylurea", "N,N'-diphenylurea"),
    ("greek-letter", "β-alanine", "beta-alanine"),
    ("greek-word", "alpha-pinene", "α-pinene"),
    ("lambda-word", "1lambda5-phosphole", "1λ5-phosphole"),
    ("salt-with-blank", "sodium; acetate", "sodium;acetate"),
    ("salt-without-blank", "azane;hydrochloride", "azane; hydrochloride"),
    ("outer-blanks", "  ethanol \n", "ethanol"),
    ("upper-case", "ETHANOL", "ethanol"),
]

# name, answer, gold, question
SYNONYMS = [
    ("acetone", "acetone", "propan-2-one", "CC(C)=O"),
    ("dimethyl-ketone", "dimethyl ketone", "propan-2-one", "CC(C)=O"),
    ("older-locant-position", "2-propanone", "propan-2-one", "CC(C)=O"),
    ("alphabetical-order-ignored", "1-fluoro-4-bromobenzene", "1-bromo-4-fluorobenzene", "Fc1ccc(Br)cc1"),
    ("para", "p-xylene", "1,4-dimethylbenzene", "Cc1ccc(C)cc1"),
    ("aniline", "benzenamine", "aniline", "Nc1ccccc1"),
    ("functional-class", "diethyl ether", "ethoxyethane", "CCOCC"),
    ("radicofunctional", "isopropyl alcohol", "propan-2-ol", "CC(C)O"),
    ("tert-butanol", "tert-butanol", "2-methylpropan-2-ol", "CC(C)(C)O"),
    ("acetic", "acetic acid", "ethanoic acid", "CC(=O)O"),
    ("glycine", "glycine", "2-aminoacetic acid", "NCC(=O)O"),
    ("l-alanine", "L-alanine", "(2S)-2-aminopropanoic acid", "C[C@H](N)C(=O)O"),
    ("l-alanine-of-a-flat-question", "L-alanine", "2-aminopropanoic acid", "CC(N)C(=O)O"),
    ("pyridone", "2-pyridone", "1H-pyridin-2-one", "O=c1cccc[nH]1"),
    ("hydroxypyridine-of-a-pyridone", "pyridin-2-ol", "1H-pyridin-2-one", "O=c1cccc[nH]1"),
    ("added-hydrogen", "pyridin-2(1H)-one", "1H-pyridin-2-one", "O=c1cccc[nH]1"),
    ("indicated-hydrogen-left-out", "imidazole", "1H-imidazole", "c1c[nH]cn1"),
    ("other-tautomer-of-a-pyrazole", "5-methyl-1H-pyrazole", "3-methyl-1H-pyrazole", "Cc1cc[nH]n1"),
    ("purine-tautomers", "9H-purine", "7H-purine", "c1ncc2[nH]cnc2n1"),
    ("zwitterion", "azaniumylacetate", "2-aminoacetic acid", "NCC(=O)O"),
    ("catechol", "catechol", "benzene-1,2-diol", "Oc1ccccc1O"),
    ("anisole", "anisole", "methoxybenzene", "COc1ccccc1"),
    ("fumaric", "fumaric acid", "(E)-but-2-enedioic acid", "O=C(O)/C=C/C(=O)O"),
    ("trans", "trans-but-2-ene", "(E)-but-2-ene", "C/C=C/C"),
    ("salt-in-words", "sodium acetate", "sodium;acetate", "CC(=O)[O-].[Na+]"),
    ("hydrochloride", "methylamine hydrochloride", "methanamine;hydrochloride", "CN.Cl"),
    ("replacement-name", "1,4-dioxacyclohexane", "1,4-dioxane", "C1COCCO1"),
    ("styrene", "styrene", "ethenylbenzene", "C=Cc1ccccc1"),
    ("deuterium", "(2H6)benzene", "1,2,3,4,5,6-hexadeuteriobenzene", "[2H]c1c([2H])c([2H])c([2H])c([2H])c1[2H]"),
    ("bis", "bis(2-chloroethyl) ether", "1-chloro-2-(2-chloroethoxy)ethane", "ClCCOCCCl"),
    ("isocyanide", "methyl isocyanide", "isocyanomethane", "C[N+]#[C-]"),
    ("urea", "carbonic diamide", "urea", "NC(N)=O"),
]

# name, answer, gold, question, the most it may earn
NEAR = [
    ("enantiomer", "D-alanine", "(2S)-2-aminopropanoic acid", "C[C@H](N)C(=O)O", 0.2),
    ("stereo-left-out", "2-aminopropanoic acid", "(2S)-2-aminopropanoic acid", "C[C@H](N)C(=O)O", 0.4),
    ("cis-for-trans", "maleic acid", "(E)-but-2-enedioic acid", "O=C(O)/C=C/C(=O)O", 0.2),
    ("diastereomer", "(2R,3R)-butane-2,3-diol", "(2R,3S)-butane-2,3-diol", "C[C@@H](O)[C@H](C)O", 0.2),
    ("locant", "1-bromo-3-fluorobenzene", "1-bromo-4-fluorobenzene", "Fc1ccc(Br)cc1", 0.2),
    ("ortho-for-para", "o-xylene", "1,4-dimethylbenzene", "Cc1ccc(C)cc1", 0.2),
    ("chain-isomer", "butan-1-ol", "butan-2-ol", "CCC(C)O", 0.2),
    ("homologue", "butan-2-one", "propan-2-one", "CC(C)=O", 0.2),
    ("functional-isomer", "propanal", "propan-2-one", "CC(C)=O", 0.2),
    ("enol-for-ketone", "prop-1-en-2-ol", "propan-2-one", "CC(C)=O", 0.2),
    ("alkane-for-alkene", "butane", "but-1-ene", "C=CCC", 0.2),
    ("acid-for-anion", "acetic acid", "acetate", "CC(=O)[O-]", 0.2),
    ("anion-for-acid", "acetate", "acetic acid", "CC(=O)O", 0.2),
    ("amine-for-ammonium", "methylamine", "methylazanium", "C[NH3+]", 0.2),
    ("salt-left-out", "methanamine", "methanamine;hydrochloride", "CN.Cl", 0.2),
    ("salt-added", "sodium acetate", "acetic acid", "CC(=O)O", 0.2),
    ("other-counter-ion", "potassium acetate", "sodium;acetate", "CC(=O)[O-].[Na+]", 0.2),
    ("isotope-left-out", "benzene", "1,2,3,4,5,6-hexadeuteriobenzene", "[2H]c1c([2H])c([2H])c([2H])c([2H])c1[2H]", 0.2),
    ("isotope-added", "(13C)methanol", "methanol", "CO", 0.2),
    ("substituent-forgotten", "pyridin-2-amine", "5-chloropyridin-2-amine", "Nc1ccc(Cl)cn1", 0.2),
    ("substituent-added", "5-chloropyridin-2-amine", "pyridin-2-amine", "Nc1ccccn1", 0.2),
    ("ring-size", "cyclopentanol", "cyclohexanol", "OC1CCCCC1", 0.2),
    ("class", "a ketone", "propan-2-one", "CC(C)=O", 0.0),
    ("trade-name", "Aspirin", "2-acetyloxybenzoic acid", "CC(=O)Oc1ccccc1C(=O)O", 0.0),
    ("smiles", "CC(C)=O", "propan-2-one", "CC(C)=O", 0.0),
    ("formula", "C3H6O", "propan-2-one", "CC(C)=O", 0.0),
    ("inchi", "InChI=1S/C3H6O/c1-3(2)4/h1-2H3", "propan-2-one", "CC(C)=O", 0.0),
    ("two-names", "propan-2-one or propanal", "propan-2-one", "CC(C)=O", 0.2),
    ("two-names-as-components", "propan-2-one; propanal", "propan-2-one", "CC(C)=O", 0.2),
    ("name-and-synonym", "propan-2-one (acetone)", "propan-2-one", "CC(C)=O", 0.2),
    ("sentence", "The name is propan-2-one", "propan-2-one", "CC(C)=O", 0.2),
    ("line-break", "propan-\n2-one", "propan-2-one", "CC(C)=O", 0.0),
    ("relative-configuration", "(2R*)-butan-2-ol", "(2R)-butan-2-ol", "CC[C@@H](C)O", 0.4),
    ("racemate", "rac-(2R)-butan-2-ol", "(2R)-butan-2-ol", "CC[C@@H](C)O", 0.4),
]

CASES = [
    *(Case(f"typography-{name}", "smiles2iupac", answer, {"answer": gold}) for name, answer, gold in TYPOGRAPHY),
    *(
        Case(f"synonym-{name}", "smiles2iupac", answer, {"answer": gold}, {"smiles": smiles}, at_least=0.8, at_most=0.8, reader=True)
        for name, answer, gold, smiles in SYNONYMS
    ),
    *(
        Case(f"near-{name}", "smiles2iupac", answer, {"answer": gold}, {"smiles": smiles}, at_least=0.0, at_most=most, reader=True)
        for name, answer, gold, smiles, most in NEAR
    ),
]
