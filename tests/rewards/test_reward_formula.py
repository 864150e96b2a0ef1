"""Formulas: what they mean, and attacks T5, T6, T7, T9 (REWARDS §4.1)."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.formula import ELEMENTS, FormulaError, parse_formula


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
        "((((C))))",
        "(" * 100,
        "CH" * 600,
        "C2h6o",
        "C2H6O1abc",
        "Xx5",
        "C2H6O or C3H8O",
        "C2H6O.",
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
