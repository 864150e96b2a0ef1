"""Names as people write them, and reactions as textbooks have them."""

from __future__ import annotations

import pytest
from rdkit import Chem

from chemr.data.starter.compounds import Compound
from chemr.data.starter.iupac_style import conventional_name, is_everyday
from chemr.data.starter.molecules import flat, heavy_counts, is_ordinary
from chemr.data.starter.reactions import building_blocks, react_all
from chemr.data.starter.splits import split_of
from chemr.data.starter.templates import TEMPLATES, block_kind


def _compound(smiles: str) -> Compound:
    mol = Chem.MolFromSmiles(smiles)
    return Compound(flat(mol), mol, heavy_counts(mol), split_of(mol), None)


@pytest.mark.parametrize(
    ("listed", "everyday"),
    [
        ("2,4-bis(bromanyl)-1-chloranyl-benzene", "2,4-dibromo-1-chlorobenzene"),
        ("1-chloranyl-2-methyl-benzene", "1-chloro-2-methylbenzene"),
        ("ethanoic acid", "acetic acid"),
        ("methanoic acid", "formic acid"),
        ("ethyl 2-iodanylethanoate", "ethyl 2-iodoacetate"),
        ("2-methyl-4-oxidanylidene-pentanoic acid", "2-methyl-4-oxopentanoic acid"),
        ("2-azanyl-3-oxidanyl-butanoic acid", "2-amino-3-hydroxybutanoic acid"),
        ("2-methyl-3-oxidanyl-butanoic acid", "3-hydroxy-2-methylbutanoic acid"),
        ("(2s)-2-azanylpropanoic acid", "2-aminopropanoic acid"),
        ("(4e)-2,3-dimethylhexa-2,4-diene", "2,3-dimethylhexa-2,4-diene"),
        ("n,n-dimethylmethanamide", "N,N-dimethylformamide"),
        ("5-bromanyl-1h-pyrimidin-6-one", "5-bromo-1H-pyrimidin-6-one"),
        ("n-tert-butylmethanimine", "N-tert-butylmethanimine"),
        ("2-diazanylethanol", "2-diazanylethanol"),
        ("3-sulfanyloxolan-2-one", "3-sulfanyloxolan-2-one"),
        ("s-(2-bromoethyl) ethanethioate", "S-(2-bromoethyl) ethanethioate"),
    ],
)
def test_a_listed_name_is_respelt_as_people_write_it(listed: str, everyday: str) -> None:
    assert conventional_name(listed) == everyday


@pytest.mark.parametrize(("name", "common"), [("2-methylbutan-1-ol", True), ("N,N-dimethylformamide", True), ("thietane 1-oxide", False)])
def test_only_names_of_common_morphemes_are_asked_for(name: str, common: bool) -> None:
    assert is_everyday(name) is common


@pytest.mark.parametrize(
    "listed",
    [
        "",
        "$l^{1}-selanylmethanimidamide",
        "5-methylbicyclo[2.2.1]hept-2-ene",
        "chloranyl thiohypochlorite",
        "n,n-dipropylnitrous amide",
        "4-chloranyl-2-fluoranyl-1-methyl-benzene",  # too long for the starter
    ],
)
def test_a_name_that_cannot_be_respelt_safely_is_given_up(listed: str) -> None:
    assert conventional_name(listed) is None


@pytest.mark.parametrize(
    ("name", "first", "second", "product"),
    [
        ("esterification", "CC(=O)O", "CO", "COC(C)=O"),
        ("alcoholysis of an acyl chloride", "CC(=O)Cl", "CCO", "CCOC(C)=O"),
        ("amide coupling", "CC(=O)O", "CNC", "CC(=O)N(C)C"),
        ("aminolysis of an acyl chloride", "CC(=O)Cl", "CN", "CNC(C)=O"),
        ("thioesterification", "CC(=O)O", "CS", "CSC(C)=O"),
        ("Williamson ether synthesis", "CCBr", "CO", "CCOC"),
        ("Williamson ether synthesis with an iodide", "CI", "Oc1ccccc1", "COc1ccccc1"),
        ("thioether synthesis", "CCBr", "CS", "CCSC"),
        ("N-alkylation", "CCBr", "CNC", "CCN(C)C"),
        ("reductive amination", "CC=O", "CNC", "CCN(C)C"),
        ("imine condensation", "CC(C)=O", "CN", "CN=C(C)C"),
        ("Grignard addition", "CC=O", "CCBr", "CCC(C)O"),
        ("alkyne alkylation", "C#CC", "CCBr", "CC#CCC"),
        ("alkyne addition", "C#CC", "CC=O", "CC#CC(C)O"),
        ("urea formation", "CN=C=O", "CN", "CNC(=O)NC"),
        ("carbamate formation", "CN=C=O", "CO", "CNC(=O)OC"),
        ("thiourea formation", "CN=C=S", "CN", "CNC(=S)NC"),
        ("epoxide opening by an amine", "CC1CO1", "CNC", "CC(O)CN(C)C"),
        ("epoxide opening by a thiol", "CC1CO1", "CS", "CSCC(C)O"),
        ("epoxide opening by an alcohol", "CC1CO1", "CO", "COCC(C)O"),
        ("aza-Michael addition", "C=CC#N", "CNC", "CN(C)CCC#N"),
        ("thia-Michael addition", "C=CC#N", "CS", "CSCCC#N"),
    ],
)
def test_a_named_reaction_gives_the_textbook_product(name: str, first: str, second: str, product: str) -> None:
    made = [
        reaction
        for reaction in react_all(building_blocks([_compound(first), _compound(second)]), max_heavy_atoms=12)
        if {block.smiles for block in reaction.blocks} == {first, second} or reaction.template.name == name
    ]
    found = {reaction.template.name: reaction.product for reaction in made}
    # Blocks in different splits are only combined by templates that disconnect; those are checked by their product alone.
    template = next(template for template in TEMPLATES if template.name == name)
    if template.disconnects or split_of(Chem.MolFromSmiles(first)) is split_of(Chem.MolFromSmiles(second)):
        assert found == {name: product}


def test_a_product_is_written_in_the_order_of_its_reactants() -> None:
    (reaction,) = react_all(building_blocks([_compound("CC(=O)O"), _compound("CCO")]), max_heavy_atoms=8)
    assert [block.smiles for block in reaction.blocks] == ["CC(=O)O", "CCO"]
    assert reaction.product_text == "CC(=O)OCC", f"ethyl acetate is written {reaction.product_text}"
    assert reaction.product == "CCOC(C)=O"
    assert reaction.blocks_text == "CCO.C(O)(C)=O", f"its reactants, in the order of its own text, are written {reaction.blocks_text}"


@pytest.mark.parametrize(
    ("smiles", "why"),
    [
        ("OCCO", "two alcohols"),
        ("NCCO", "an amine and an alcohol"),
        ("BrCCBr", "two bromides"),
        ("CCC", "nothing reactive"),
        ("CN(C)CCO", "a tertiary amine beside the alcohol"),
        ("C=CO", "an enol"),
    ],
)
def test_a_molecule_that_could_react_twice_or_not_at_all_is_no_building_block(smiles: str, why: str) -> None:
    assert block_kind(Chem.MolFromSmiles(smiles)) is None, f"{smiles} has {why}"


def test_every_pair_of_kinds_has_one_template_at_most() -> None:
    pairs = [frozenset((first, second)) for template in TEMPLATES for first in template.first for second in template.second]
    assert len(pairs) == len(set(pairs)), "two templates compete for the same reactants, so their product would be a guess"


@pytest.mark.parametrize("smiles", ["CC[O]", "[13CH4]", "COOC", "CN=[N+]=[N-]", "C[NH3+]", "C[Si](C)C", "NCl", "O"])
def test_unusual_molecules_are_left_out(smiles: str) -> None:
    assert not is_ordinary(Chem.MolFromSmiles(smiles)), f"{smiles} counts as ordinary"


@pytest.mark.parametrize("smiles", ["C[N+](=O)[O-]", "CS(C)(=O)=O", "c1ccsc1", "CC#N", "O=C(Cl)CBr"])
def test_usual_molecules_are_kept(smiles: str) -> None:
    assert is_ordinary(Chem.MolFromSmiles(smiles)), f"{smiles} does not count as ordinary"
