"""Surroundings that no known compound has: found in odd molecules, never in known ones, whichever way their charges are drawn."""

from __future__ import annotations

import random
from importlib.resources import files

import pytest
from rdkit import Chem

from chemr.data.known_environments import known
from chemr.data.starter.compounds import table_smiles
from rewards.environments import FILE, HASH_BYTES, environments, unknown_environments
from rewards.scoring import score_answer
from rewards.verdict import Reason


def test_the_file_is_made_of_the_table_that_it_names() -> None:
    stored = files("rewards").joinpath(FILE).read_bytes()
    pieces = [stored[at : at + HASH_BYTES] for at in range(0, len(stored), HASH_BYTES)]
    assert pieces == sorted(set(pieces)) and len(pieces) > 4_000
    sample = random.Random(5).sample(list(table_smiles()), 2_000)
    missing = set(known(sample)) - set(pieces)
    assert not missing, "run python -m chemr.data.known_environments: the file is of another table or of other descriptions"


@pytest.mark.parametrize(
    "odd",
    ["CN=NC(C)[SH]=N", "C=CC(C)[SH]=C", "CC(C)=C[SH](CC)CBr", "C=BNC", "CC1CS1(C#C)[N+](=O)[O-]", "C1NS1", 
     "CS1(C)(C)CC1", "CN1SN1", "CB=BC", "CN=S(C)C=O", "COS(C)OC"],
)  # fmt: skip
def test_what_no_known_compound_has_is_unreasonable(odd: str) -> None:
    mol = Chem.MolFromSmiles(odd)
    counts: dict[str, int] = {}
    for atom in mol.GetAtoms():
        counts[atom.GetSymbol()] = counts.get(atom.GetSymbol(), 0) + 1
    assert score_answer("molcustom_atomnum", odd, {"counts": counts}, {}).reason is Reason.UNREASONABLE


@pytest.mark.parametrize(
    "usual",
    ["CC(=O)Nc1ccc(O)cc1", "CS(C)(=O)=O", "CC1CO1", "C1CN1C", "CN=[N+]=[N-]", "O=[N+]([O-])c1ccccc1", "CB(O)O", "CP(=O)(OC)OC",
     "CC#N", "CN(C)C=O", "c1cc[nH]c1", "c1csc(N)n1", "C1COCCN1", "FC(F)(F)c1ccccc1", "CSC", "CSSC", "NS(=O)(=O)c1ccccc1"],
)  # fmt: skip
def test_usual_groups_are_known(usual: str) -> None:
    assert not unknown_environments(Chem.MolFromSmiles(usual))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CS(C)=O", "C[S+](C)[O-]"),
        ("CS(C)(=O)=O", "C[S+](C)(=O)[O-]"),
        ("CS(C)(=O)=O", "C[S+2](C)([O-])[O-]"),
        ("CP(C)(C)=O", "C[P+](C)(C)[O-]"),
    ],
)
def test_the_ways_to_draw_a_bond_are_one(one: str, other: str) -> None:
    drawn = [sorted(environments(Chem.MolFromSmiles(smiles))) for smiles in (one, other)]
    assert drawn[0] == drawn[1]


def test_a_feature_of_the_row_s_own_molecules_is_exempt() -> None:
    odd = "CCCCCC1NS1"
    verdict = score_answer("moledit_add", odd.replace("CC", "OCC", 1), {"smiles": odd, "add": "hydroxyl"}, {})
    assert verdict.value and verdict.value > 0.5, verdict
