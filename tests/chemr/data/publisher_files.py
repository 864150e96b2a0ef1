"""A data folder in the publishers' formats with a handful of invented rows in every file, their traps included."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

NAME_HEADER = "CID,smiles,iupac,formula,mol_length,label"
LIGAND = "CC(C)(C)P(C(C)(C)C)C(C)(C)C"
OTHER_LIGAND = "C1CCC(P(C2CCCCC2)C2CCCCC2)CC1"
HALIDE, BORONIC, ESTER = "Clc1ccc2ncccc2c1", "Cc1ccc2[nH]ncc2c1B(O)O", "Cc1ccc2[nH]ncc2c1B1OC(C)(C)C(C)(C)O1"

_ELEMENTS = (
    "carbon,oxygen,nitrogen,sulfur,fluorine,chlorine,bromine,iodine,phosphorus,boron,silicon,selenium,tellurium,arsenic,antimony,"
    "bismuth,polonium"
)
_GROUPS = (
    "benzene rings,hydroxyl,anhydride,aldehyde,ketone,carboxyl,ester,amide,amine,nitro,halo,thioether,nitrile,thiol,sulfide,disulfide,"
    "sulfoxide,sulfone,borane"
)
_EDIT = "index,Instruction,molecule"
TOMG_TESTS = {
    "MolCustom/AtomNum": (
        f"Instruction,{_ELEMENTS}",
        '"Please generate a molecule with 31 carbon atoms, and 1 chlorine atom.",31,0,0,0,0,1' + ",0" * 11,
    ),
    "MolCustom/BondNum": ("Instruction,single,double,triple,rotatable,aromatic", "The molecule contains 33 single bonds.,33,0,0,0,0"),
    "MolCustom/FunctionalGroup": (
        f"Instruction,{_GROUPS}",
        '"Please generate a molecule with 2 benzene rings groups, and 1 thioether group.",2' + ",0" * 10 + ",1" + ",0" * 7,
    ),
    "MolEdit/AddComponent": (
        f"{_EDIT},added_group",
        "1,Please add a hydroxyl to the molecule CCCCCCCCBr.,CCCCCCCCBr,hydroxyl",
    ),
    "MolEdit/DelComponent": (
        f"{_EDIT},removed_group",
        "1,Please remove a benzene_ring from the molecule CCCCCCc1ccccc1.,CCCCCCc1ccccc1,benzene_ring",
    ),
    "MolEdit/SubComponent": (
        f"{_EDIT},removed_group,added_group",
        "1,Replace a halo in the molecule CCCCCCCCCl by nitrile.,CCCCCCCCCl,halo,nitrile",
    ),
    "MolOpt/LogP": (f"{_EDIT},logP", "1,Modify the molecule CCCCCCCCI to decrease its LogP value.,CCCCCCCCI,3"),
    "MolOpt/MR": (f"{_EDIT},MR", "1,Please optimize the molecule CCCCCCCCS to have a higher MR value.,CCCCCCCCS,50"),
    "MolOpt/QED": (f"{_EDIT},QED", "1,Modify the molecule CCCCCCCCF to increase its QED value.,CCCCCCCCF,0.5"),
}


def write_data_folder(root: Path) -> Path:
    """Writes every file that suites and sources read, and returns ``root``."""
    _chemllmbench(root / "chemllmbench")
    _yields(root / "rxn_yields")
    _described(root)
    _tomg(root / "tomg_bench")
    _reactions(root)
    _chemdfm(root / "chemdfm_prompts")
    names = root / "chemicals_names/pubchem_names_opsin_verified.tsv.gz"
    names.parent.mkdir(parents=True)
    header = "cid\tcas\tformula\tsmiles\tcanonical_smiles\tiupac\tcommon\tverified_names"
    rows = [
        header,
        "1\t\tC9H20\tCCCCCCCCC\tCCCCCCCCC\tnonane\tnonane\tnonane|n-nonane",
        "2\t\tC9H20O\tCCCCCCCCCO\tCCCCCCCCCO\toxidanylnonane\t\toxidanylnonane|nonan-1-ol",
    ]
    with gzip.open(names, "wt", encoding="utf-8") as handle:
        handle.write("\n".join(rows) + "\n")
    return root


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write("\n".join(lines) + "\n")


def selection_prompt(roles: Sequence[tuple[str, str]], kind: str, candidates: Sequence[str]) -> str:
    example = "Given the rest of reaction components:\nreactant: reactant 1\n ligand: ligand 1\n base: base 1\n solvent: solvent 1 \n\n"
    asked = "Given the rest of reaction components:\n" + "\n".join(f"{role}: {smiles}" for role, smiles in roles)
    return f"You are an expert chemist.\n{example}{asked}  \n{kind} list for selection:\n{','.join(candidates)}\nOptimal {kind.lower()}:\n"


def selection_item(prompt: str, ranked: Sequence[str]) -> dict[str, object]:
    details = [[[smiles, 90.0 - n]] for n, smiles in enumerate(ranked)]
    return {"task": prompt, "candidate_rank": list(ranked), "candidate_over_30_yield": [], "yield_details": details}


LIGAND_ROLES = (("reactant 1", HALIDE), ("reactant 2", BORONIC), ("base", "CC#N"), ("solvent", "[OH-].[Na+]"))
SOLVENT_ROLES = (("reactant 1", HALIDE), ("reactant 2", BORONIC), ("ligand", LIGAND), ("base", "[OH-].[Na+]"))
REACTANT_ROLES = (("reactant", BORONIC), ("ligand", LIGAND), ("solvent", "CO"), ("base", "[OH-].[Na+]"))
MOVED_ROLES = (("reactant", LIGAND), ("ligand", "CO"), ("solvent", "[OH-].[K+]"), ("base", HALIDE))


def _chemllmbench(root: Path) -> None:
    write(
        root / "name_prediction/llm_test.csv",
        NAME_HEADER,
        "1,CCCCCCC,heptane,C7H16,7,train",
        '2,CCCCCCCO,"(2R)-heptan-1-ol",C7H16O,8,test',
        "3,CCCCCCCN,heptan-1-amine,C7H17N,8,train",
        "4,CCCCCCC(=O)O,heptanoic acid,C7H14O2,11,test",
    )
    tables = root / "property_prediction"
    write(tables / "BACE.csv", "mol,CID,Class", "CCCCCCOC,B1,1", "CCCCCCSC,B2,0")
    write(tables / "BACE_test.csv", "mol,CID,Class", "COCCCCCC,B1,1")
    write(tables / "BBBP.csv", "num,name,p_np,smiles", "1,a,1,[Cl].CCCCCCNC", "2,b,0,CCCCCC=C", "3,c,0,C1CC")
    write(tables / "BBBP_test.csv", "smiles,p_np", "CCCCCCNC,1")
    # as published: a blank line after every row
    write(tables / "HIV.csv", "smiles,activity,HIV_active", "", "CCCCCC#N,CI,0", "", "CCCCCC(F)F,CM,1", "")
    write(tables / "HIV_test.csv", "smiles,activity,HIV_active", "N#CCCCCC,CI,0")
    assays = "NR-AR,SR-p53,mol_id,smiles"
    write(tables / "Tox21.csv", assays, "0,1,T1,CCCCCCCl", "1,,T2,CCCCCCBr", "1,0,T3,CCCCCCI")
    write(tables / "Tox_test.csv", assays, ",1.0,T1,ClCCCCCC")
    write(tables / "ClinTox.csv", "smiles,FDA_APPROVED,CT_TOX", "CCCCCCP,1,0", "CCCCCC[Si],0,1")
    write(tables / "ClinTox_test.csv", "smiles,FDA_APPROVED,CT_TOX", "PCCCCCC,Yes,0")
    for name, columns in (("molecule_design", "description,SMILES"), ("molecule_captioning", "SMILES,description")):
        cells = {"SMILES": "CCCCCCCCCC(=O)O", "description": '"The molecule is a fatty acid, a ""long"" one."'}
        write(root / f"{name}/{name}_test.csv", columns, ",".join(cells[column] for column in columns.split(",")))
    write(root / "reaction_prediction/uspto_test.csv", "reactant,product", "CCCCCCCCCCBr.[OH-].[Na+],CCCCCCCCCCO")
    write(root / "retro/uspto50k_retro_test.csv", "products_smiles,reactants_smiles", "CCCCCCCCCCOC,CCCCCCCCCCBr.CO")
    folder = root / "reagent_selection"
    ligands, solvents, reactants = (LIGAND, OTHER_LIGAND), ("CO", "CC#N"), (ESTER, BORONIC)
    rows = {
        "reactant": [
            selection_item(selection_prompt(REACTANT_ROLES, "Reactants", (HALIDE, "Brc1ccc2ncccc2c1")), ("Brc1ccc2ncccc2c1", HALIDE)),
            selection_item(selection_prompt(MOVED_ROLES, "Reactants", reactants), reactants),
        ],
        "ligand": [
            selection_item(selection_prompt(LIGAND_ROLES, "Ligand", ligands), ligands),
            selection_item(selection_prompt((*LIGAND_ROLES[:3], ("solvent", "CCN(CC)CC")), "Ligand", ligands), ligands),
        ],
        "solvent": [
            selection_item(selection_prompt(SOLVENT_ROLES, "Solvent", solvents), solvents),
            selection_item(selection_prompt((*SOLVENT_ROLES[:3], ("base", "CCN(CC)CC")), "Solvent", solvents), solvents),
        ],
    }
    for kind, items in rows.items():
        write(folder / f"{kind}_selection.json", json.dumps(items))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(items[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerow(items[-1])  # the sample is taken from the full list
        write(folder / f"{'reagent' if kind == 'reactant' else kind}_sample.csv", buffer.getvalue().rstrip("\n"))


def _yields(root: Path) -> None:
    palladium = "O=S(=O)(O[Pd]1c2ccccc2-c2ccccc2N{}1)C(F)(F)F"
    amine = "Cc1ccc(N)cc1"
    reactions = [f"{halide}.{amine}.{palladium.format('-')}>>Cc1ccc(Nc2ccccn2)cc1" for halide in ("Clc1ccccn1", "Brc1ccccn1", "Ic1ccccn1")]
    write(
        root / "derived/buchwald_hartwig.tsv",
        "rxn\tyield",
        *(f"{r}\t{y}" for r, y in zip(reactions, ("62.5", "70.4", "1e-1"), strict=True)),
    )
    write(root / "derived/chemllmbench_BH_test100.tsv", "rxn\thigh_yield", f"{reactions[0].replace('N-1', 'N~1')}\tYes")
    suzuki = [f"{HALIDE}.CC(=O)O~CC(=O)O~[Pd].{solvent}>>c1ccc2ncccc2c1" for solvent in ("CO", "CC#N")]
    write(root / "Suzuki-Miyaura/random_split_0.tsv", "\trxn\ty", f"464\t{suzuki[0]}\t0.64", f"98\t{suzuki[1]}\t0.7004")
    write(root / "derived/chemllmbench_SU_test100.tsv", "rxn\thigh_yield", f"{suzuki[0]}\tYes")


def _described(root: Path) -> None:
    header = "CID\tSMILES\tdescription"
    write(
        root / "chebi20/molt5/validation.txt",
        header,
        '1\tC/C=C\\\\CCCCC\tThe molecule is a "trans octene.',
        "2\tCCCCCCCCOCC\tThe molecule is an ether.",
    )
    write(root / "chebi20/molt5/test.txt", header, "1\tCC/C=C\\\\CCCCCC\tThe molecule is a decene.")
    for part, smiles in (("train", "CCCCCCOCCC"), ("validation", "CCCCCCOCCCC"), ("test", "CCCCCCOCCCCC")):
        write(
            root / f"tomg_bench/targeted_generation/IUPAC/PubChem/{part}.txt", "cid\tSMILES\tdescription", f"1\t{smiles}\tname of {smiles}"
        )
        if part != "train":
            file = root / f"tomg_bench/targeted_generation/CapMol/PubChem/{part}.txt"
            write(file, header, f"1\t{smiles.replace('O', 'S')}\tThe molecule smells, {part}.")


def _tomg(root: Path) -> None:
    for name, lines in TOMG_TESTS.items():
        write(root / f"benchmarks/open_generation/{name}/test.csv", *lines)
    write(
        root / "OpenMolIns/small/train.csv",
        "SubTask,Instruction,molecule",
        'AtomNum,"The molecule is composed of 3 carbon atoms, and 1 oxygen atom.",CCCO',
        "BondNum,Please generate a molecule with 2 single bonds and 1 triple bond.,CCC#N",
        "FunctionalGroup,The molecule has and 1 amide group.,CCC(N)=O",
        'FunctionalGroup,"The molecule has 1 sulfide group, and 1 thioether group.",CCSCC',
        "FunctionalGroup,The molecule has 1 carboxyl group.,CCC(=O)O",
        "AddComponent,Add a benzene ring to the molecule CCCCN,NCCCCc1ccccc1",
        "DelComponent,Please remove a CCCCCO from the molecule hydroxyl.,CCCCC",
        "SubComponent,Please substitute a halo in the molecule CCCCCBr with a nitrile.,CCCCCC#N",
        "SubComponent,Please substitute a halo in the molecule CCCCCCBr with a nitro.,CCCCCCNO",
        "LogP,Modify the molecule CCCCCO to have a higher LogP value.,CCCCCCCl",
        "LogP,Modify the molecule CCCCCN to have a higher LogP value.,CCCCC(O)N",
        "MR,Modify the molecule CCCCCS to increase its MR value.,CCCCCCCS",
        "QED,Please optimize the molecule CCCCCCCCCCCC to have a higher QED value.,CCCCCCO",
    )


MAPPED = "[CH3:1][CH2:2][CH2:3][CH2:4][CH2:5][CH2:6][{}:7].[OH2:8]>>[CH3:1][CH2:2][CH2:3][CH2:4][CH2:5][CH2:6][{}:8] 7-8;7-6-1.0"


def _reactions(root: Path) -> None:
    folder = root / "uspto50k/pandegroup"
    for part, tail in (("train", "C C C"), ("valid", "C C C C"), ("test", "C C C C C")):
        write(folder / f"{part}_sources", f"<RX_1> C C C C C C N C ( = O ) {tail}")
        write(folder / f"{part}_targets", f"C C C C C C N . O C ( = O ) {tail}")
    with zipfile.ZipFile(_made(root / "uspto15k/data.zip"), "w") as archive:
        for part, halogen, other in (("train", "Br", "SH"), ("valid", "Cl", "PH2"), ("test", "I", "AsH2")):
            archive.writestr(f"data/{part}.txt", MAPPED.format(halogen, other) + "\n")
    write_uspto480k(root, MAPPED.format("F", "NH2"))


def write_uspto480k(root: Path, *lines: str) -> None:
    with tarfile.open(_made(root / "uspto480k/valid.txt.tar.gz"), "w:gz") as archive:
        content = ("\n".join(lines) + "\n").encode()
        member = tarfile.TarInfo("valid.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _chemdfm(root: Path) -> None:
    def lines(*rows: tuple[str, str, str]) -> list[str]:
        return [json.dumps({"question": question, "answer": answer, "task_name": name}) for question, answer, name in rows]

    formula = "Please tell me the molecular formula of the following molecules given by {}. The molecule is {}."
    names = root / "MoleculeRecognition"
    write(names / "iupac_to_smiles.jsonl", *lines(("Please give the canonical SMILES of heptan-1-ol.", "CCCCCCCO", "iupac_to_smiles")))
    question = "Please give the IUPAC name of the molecule given by SMILES: CCCCCCCO."
    write(names / "smiles_to_iupac.jsonl", *lines((question, "heptan-1-ol", "smiles_to_iupac")))
    rows = (formula.format("SMILES", "CCCCCCCO"), "C7H16O", "smiles_to_molecular_formula")
    write(names / "smiles_to_molecular_formula.jsonl", *lines(rows))
    rows = (formula.format("IUPAC", "heptan-1-ol"), "C7H16O", "iupac_to_molecular_formula")
    write(names / "iupac_to_molecular_formula.jsonl", *lines(rows))
    asked = "Please answer with only Yes or No.SMILES: {}\n{}:"
    tables = root / "MolecularPropertyPrediction"
    write(tables / "bace.jsonl", *lines((asked.format("CCCCCCSCC", "BACE-1 Inhibit"), "No", "bace")))
    write(tables / "bbbp.jsonl", *lines((asked.format("CCCCCCSCCC", "Penetration"), "No", "bbbp")))
    write(tables / "hiv.jsonl", *lines((asked.format("CCCCCCSCCCC", "HIV Inhibition"), "No", "hiv")))
    both = [(asked.format("CCCCCCSCCCCC", "x"), "Yes", name) for name in ("clintox-FDA", "clintox-tox")]
    write(tables / "clintox.jsonl", *lines(*both))
