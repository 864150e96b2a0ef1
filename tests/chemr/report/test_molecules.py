"""Molecules on the page: what is drawn, what is not, and where two of them differ."""

from __future__ import annotations

import pytest

from chemr.report import molecules
from chemr.report.molecules import MoleculeTable, asked_texts, differing_atoms, drawing, read_molecule


@pytest.mark.parametrize("text", ["", "no molecule", "C1CC", "C" * 401, "<script>", "CCO>>CC", "*CC", "C(C)(C)(C)(C)C"])
def test_what_is_no_molecule_is_not_drawn(text: str) -> None:
    assert MoleculeTable().place(text) is None


def test_a_drawing_is_small_integers_with_kekulised_bonds_and_labels() -> None:
    mol = read_molecule("c1ccccc1[N+](=O)[O-]")
    assert mol is not None
    made = drawing(mol)
    assert len(made["p"]) == 2 * 9 and all(isinstance(value, int) and value >= 0 for value in made["p"])
    kinds = made["b"][2::3]
    assert sorted(kinds) == [1] * 5 + [2] * 4, "aromatic bonds have to be single and double ones"
    assert sorted((label[1], label[2], label[3]) for label in made["l"]) == [("N", 0, 1), ("O", 0, -1), ("O", 0, 0)]


def test_stereo_centres_get_wedges_and_methane_a_label() -> None:
    chiral, methane = read_molecule("C[C@H](N)O"), read_molecule("C")
    assert chiral is not None and methane is not None
    assert {4, 5} & set(drawing(chiral)["b"][2::3]), "no bond of a stereo centre is a wedge"
    assert drawing(methane)["l"] == [[0, "C", 4, 0, 0, 1]]


def test_each_distinct_text_is_drawn_once() -> None:
    table = MoleculeTable()
    assert [table.place(text) for text in ("CCO", "CCN", "CCO")] == [0, 1, 0] and len(table.drawings) == 2


def symbols_apart(one: str, other: str) -> tuple[list[str], list[str]] | None:
    left, right = read_molecule(one), read_molecule(other)
    assert left is not None and right is not None
    found = differing_atoms(left, right)
    if found is None:
        return None
    return [left.GetAtomWithIdx(at).GetSymbol() for at in found[0]], [right.GetAtomWithIdx(at).GetSymbol() for at in found[1]]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("OCC", "CCO", ([], [])),
        ("Nc1ccccc1", "Oc1ccccc1", (["N"], ["O"])),
        ("c1ccccc1", "Oc1ccccc1", ([], ["O"])),
        ("CCO.CC", "CC.CCN", (["O"], ["N"])),
        ("O", "C", (["O"], ["C"])),
        ("C", "C", ([], [])),
    ],
)
def test_the_atoms_that_differ_are_those_outside_of_what_is_common(one: str, other: str, apart: tuple[list[str], list[str]]) -> None:
    assert symbols_apart(one, other) == apart


def test_what_is_too_large_to_compare_has_no_difference_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(molecules, "MAX_COMPARED_ATOMS", 3)
    table = MoleculeTable()
    one, other = table.place("CCCC"), table.place("CCCN")
    assert one is not None and other is not None
    assert table.difference(one, other) is None and table.difference(one, other) is None
    assert table.skipped_pairs == 1, "a pair is counted once"


def test_without_time_left_no_pair_is_compared() -> None:
    table = MoleculeTable(budget_s=0.0)
    one, other = table.place("CCCC"), table.place("CCCN")
    assert one is not None and other is not None
    assert table.difference(one, other) is None and table.skipped_pairs == 1


def test_a_question_s_molecules_are_found_by_field() -> None:
    assert asked_texts({"reaction": "CCO.CC>>CC", "smiles": "C"}) == ["C", "CCO.CC", "CC"]
    assert asked_texts({"counts": {"C": 1}}) == [] and asked_texts(None) == []
