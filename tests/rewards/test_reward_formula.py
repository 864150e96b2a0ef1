"""Formulas: what they mean, and attacks T5, T6, T7, T9 (REWARDS §4.1)."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.formula import ELEMENTS, FormulaError, parse_formula, readings
from rewards.scorers.formulas import score_formula


@pytest.mark.parametrize(
    ("text", "atoms", "charge"),
    [
        ("C2H6O", {"C": 2, "H": 6, "O": 1}, 0),
        ("OH6C2", {"C": 2, "H": 6, "O": 1}, 0),
        ("CH3CH2OH", {"C": 2, "H": 6, "O": 1}, 0),
        ("C₂H₆O", {"C": 2, "H": 6, "O": 1}, 0),
        ("Ca(OH)2", {"Ca": 1, "O": 2, "H": 2}, 0),
        ("C1H4", {"C": 1, "H": 4}, 0),
        ("H4N+", {"H": 4, "N": 1}, 1),
        ("C2H3O2-", {"C": 2, "H": 3, "O": 2}, -1),
        ("C2H3O2−", {"C": 2, "H": 3, "O": 2}, -1),
        ("Cu+2", {"Cu": 1}, 2),
        ("CCl2F2", {"C": 1, "Cl": 2, "F": 2}, 0),
        ("CO", {"C": 1, "O": 1}, 0),
        ("Co", {"Co": 1}, 0),
        ("[C4H12N2]2+", {"C": 8, "H": 24, "N": 4}, 1),
        ("C4H12N2\u00b2\u207a", {"C": 4, "H": 12, "N": 2}, 2),
        ("C\u2084H\u2081\u2082N\u2082\u00b2\u207a", {"C": 4, "H": 12, "N": 2}, 2),
        ("SO\u2084\u00b2\u207b", {"S": 1, "O": 4}, -2),
        ("SO4^{2-}", {"S": 1, "O": 4}, -2),
        ("SO4(2-)", {"S": 1, "O": 4}, -2),
        ("\\ce{SO4^2-}", {"S": 1, "O": 4}, -2),
        ("C<sub>2</sub>H<sub>6</sub>O", {"C": 2, "H": 6, "O": 1}, 0),
        ("$\\mathrm{C_{10}H_{15}N}$", {"C": 10, "H": 15, "N": 1}, 0),
        ("C_2H_6O", {"C": 2, "H": 6, "O": 1}, 0),
        ("C2 H6 O", {"C": 2, "H": 6, "O": 1}, 0),
        ("C2H6O.", {"C": 2, "H": 6, "O": 1}, 0),
        ("C6D6", {"C": 6, "H": 6}, 0),
        ("CuSO4\u00b75H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}, 0),
        ("C10H15N.2HCl", {"C": 10, "H": 17, "N": 1, "Cl": 2}, 0),
    ],
)
def test_a_formula_is_its_element_counts_and_its_charge(text, atoms, charge):
    formula = parse_formula(text)
    assert (formula.atoms, formula.charge) == (atoms, charge)


@pytest.mark.parametrize(
    "text",
    [
        "C" + "9" * 5000,
        "C99999",
        "(((((C)))))",
        "(" * 100,
        "CH" * 600,
        "C2h6o",
        "C2H6O1abc",
        "Xx5",
        "C2H6O or C3H8O",
        "C0",
        "C02",
        "C()",
        "C)",
        "C(",
        "2C",
        "",
        "+",
        "C+-",
        "C++",
        "C+2+",
        "C-x",
        "C2H6О",  # a Cyrillic O
        "\ud800C2H6O",
        "C2\nH6",
        "C²⁹⁹⁹⁹",
        "C1.5",
        "Cnan",
    ],
)
def test_t5_t6_t7_t9_anything_else_is_not_a_formula(text):
    with pytest.raises(FormulaError):
        parse_formula(text)


@pytest.mark.parametrize(
    ("text", "atoms", "charge"),
    [
        ("Cu2+", {"Cu": 1}, 2),
        ("SO42-", {"S": 1, "O": 4}, -2),
        ("[C4H12N2]2+", {"C": 4, "H": 12, "N": 2}, 2),
        ("(C4H12N2)2+", {"C": 4, "H": 12, "N": 2}, 2),
        ("C4H12N22+", {"C": 4, "H": 12, "N": 2}, 2),
    ],
)
def test_digits_before_a_last_sign_may_belong_to_the_charge(text, atoms, charge):
    other = readings(text)[1]
    assert (other.atoms, other.charge, other.summed) == (atoms, charge, True)


@pytest.mark.parametrize("text", ["C10H15N", "CuSO4.5H2O", "C10H15N\u00b7HCl", "[C4H12N2]+2", "\\ce{C2H6O}", "C6D5H"])
def test_one_entry_an_element_is_a_sum(text):
    assert parse_formula(text).summed


@pytest.mark.parametrize("text", ["CH3CH2OH", "Ca(OH)2", "C.C.O", "CH3.H2O.H2O", "C2H5.OH", "CC", "(CH2)3O", "C2H6O.CH4"])
def test_atoms_written_one_after_another_are_none(text):
    assert not parse_formula(text).summed


def test_a_smiles_written_out_atom_by_atom_is_a_small_near_miss():
    def score(answer, gold):
        return score_formula(answer, {}, {"answer": gold}).value

    assert score("C3H9N", "C3H9N") == score("[C4H12N2]2+", "C4H12N2+2") == score("Cu2+", "Cu+2") == 1.0
    for listed in ("CH3CHNH2CH3", "(CH3)2CHNH2", "CHHHCHHHCHHHN", "C.C.C.H.H.H.H.H.H.H.H.H.N", "C2H9NC"):
        assert score(listed, "C3H9N") == pytest.approx(0.1), listed
    assert score("CH3CH2NH2", "C3H9N") < 0.1
    assert score("C3H8N", "C3H9N") > 0.2, "counted, and one off"


@given(st.text(st.characters(exclude_categories=()), max_size=130))
def test_no_text_breaks_the_formula_parser(text):
    started = time.process_time()
    with contextlib.suppress(FormulaError):
        parse_formula(text)
    assert time.process_time() - started < 0.1


@given(st.dictionaries(st.sampled_from(sorted(ELEMENTS)), st.integers(1, 9999), min_size=1, max_size=9), st.integers(-9, 9))
def test_writing_and_reading_a_formula_loses_nothing(atoms, charge):
    suffix = "" if charge == 0 else f"{charge:+d}"
    formula = parse_formula("".join(f"{element}{count}" for element, count in atoms.items()) + suffix)
    assert formula.atoms == atoms
    assert formula.charge == charge


def test_the_distance_of_formulas_counts_atoms_and_charges():
    assert parse_formula("C2H6O").distance(parse_formula("C2H5O-")) == 2
    assert parse_formula("C2H6O").distance(parse_formula("CH4S")) == 5
