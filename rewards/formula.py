"""Molecular formulas as element counts and a charge. Pure Python: no RDKit, no recursion, no regular expression, no big integers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn
Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf
Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
ELEMENTS = frozenset(_SYMBOLS.split())

MAX_FORMULA_CHARS = 240
MAX_DIGITS = 4
MAX_NESTING = 3
MAX_ATOMS = 100_000

_DIGITS = "0123456789"
_SIGNS = "+-"
_OPENING, _CLOSING = "([{", ")]}"
_PLAIN = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-") | dict.fromkeys("\u22c5\u00b7\u2022\u2219", "."))
_RAISED = dict(zip("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-", strict=True))
_MARKUP = ("\\ce", "\\mathrm", "\\text", "\\,", "\\(", "\\)", "\\[", "\\]", "$", "_", "<sub>", "</sub>", "</sup>", " ")
_DOTS = ("\\cdot", "&middot;", "*")
_ISOTOPES = {"D": "H", "T": "H"}  # a formula does not tell isotopes apart
# Solvates and salts are written with these after a dot: water, mineral acids, and counter-ions of one atom.
_ADDENDS = frozenset({"H2O", "OH2", "HF", "HCl", "HBr", "HI", "ClH", "BrH", "FH", "IH"}) | frozenset(
    {"H2SO4", "H2O4S", "HNO3", "H3PO4", "H3O4P", "HClO4", "ClHO4", "F", "Cl", "Br", "I", "Li", "Na", "K", "Cs", "Mg", "Ca", "Zn"}
)
MAX_ADDENDS = 2


class FormulaError(ValueError):
    """The text is not a molecular formula."""


@dataclass(frozen=True, slots=True)
class Formula:
    """``atoms`` counts every element, hydrogen included; ``charge`` is the total charge in units of e.

    ``summed``: whether the text had one entry for each element, so that its writer has counted; ``CH3CH2OH`` only lists the atoms. Water or
    other simple addends may stand apart after a dot, each once (``CuSO4.5H2O``, ``C16H36N+.Cl-``). It is no part of what is compared.
    """

    atoms: Mapping[str, int]
    charge: int = 0
    summed: bool = field(default=True, compare=False)

    @property
    def size(self) -> int:
        return sum(self.atoms.values())

    def distance(self, other: Formula) -> int:
        """L1 distance of the element counts, plus the difference of the charges."""
        elements = self.atoms.keys() | other.atoms.keys()
        return sum(abs(self.atoms.get(e, 0) - other.atoms.get(e, 0)) for e in elements) + abs(self.charge - other.charge)


def parse_formula(text: str) -> Formula:
    """The first of :func:`readings`, in which ``C4H12N2+`` has two nitrogens and one charge, as RDKit writes it. Raises FormulaError."""
    return readings(text)[0]


def readings(text: str) -> tuple[Formula, ...]:
    """What a text may mean: ``C2H6O``, ``C6H5O-``, ``Cu+2``, ``Ca(OH)2``, ``C\u2082H\u2086O``, ``C_2H_6O``, ``\\ce{C2H6O}``,
    ``[C4H12N2]2+``, ``SO\u2084\u00b2\u207b``, ``CuSO4\u00b75H2O``, ``C16H36N+.Cl-``, ``C6D6``.

    Elements may come in any order and more than once. Plain digits before a sign at the end have two meanings (``Cu2+``, ``SO42-``): a
    count and one charge, or with their last digit that many charges. Everything else has one.

    Raises:
        FormulaError: on anything else: unknown elements, a count of 0 or with more than four digits, nesting deeper than three,
            anything left over after the charge (REWARDS T5, T6, T9).
    """
    if len(text) > MAX_FORMULA_CHARS:
        raise FormulaError(f"longer than {MAX_FORMULA_CHARS} characters")
    found: list[Formula] = []
    refusal: FormulaError | None = None
    for parts in _parts(_plain(text)):
        try:
            found.append(_sum_of_parts(parts))
        except FormulaError as error:
            refusal = refusal or error
    if not found:
        raise refusal or FormulaError("no formula")
    return tuple(found)


def _plain(text: str) -> str:
    """Without markup: raised digits and signs stand after one ``^``, lowered ones on the line, dots of addition are ``.``."""
    characters: list[str] = []
    raised = False
    for char in text:
        if char in _RAISED and not raised:
            characters.append("^")
        raised = char in _RAISED
        characters.append(_RAISED.get(char, char))
    plain = unicodedata.normalize("NFKC", "".join(characters)).translate(_PLAIN).replace("<sup>", "^")
    for mark in _MARKUP:
        plain = plain.replace(mark, "")
    for dot in _DOTS:
        plain = plain.replace(dot, ".")
    return plain.removesuffix(".")


def _parts(text: str) -> list[list[tuple[str, int]]]:
    """The (formula, charge) of the parts between dots, in each way ``text`` can be divided. Raises FormulaError.

    Either several parts have charges of their own, or one charge at the end is that of the whole.
    """
    parts = _inside(text).split(".")
    if any(set(part) & set(_SIGNS) for part in parts[:-1]):
        divided = [_charges(part) for part in parts]
        first, last = [ways[0] for ways in divided], [ways[-1] for ways in divided]
        return [first] if first == last else [first, last]
    ways = []
    for body, charge in _charges(text):
        first_body, *others = body.split(".")
        ways.append([(first_body, charge), *((other, 0) for other in others)])
    return ways


def _charges(text: str) -> list[tuple[str, int]]:
    """(formula, charge) in each way ``text`` can be divided. Raises FormulaError."""
    text = _inside(text)
    body, raised, exponent = text.partition("^")
    if raised:
        return [(_inside(body), _amount(_inside(exponent)))]
    group = _start_of_last_group(text) if text[-1:] in tuple(_CLOSING) else None
    if group and text[-2] in _SIGNS + _DIGITS and set(text[group:]) & set(_SIGNS):  # SO4(2-)
        return [(_inside(text[:group]), _amount(text[group + 1 : -1]))]
    body = text.partition("+")[0].partition("-")[0]
    amount = text[len(body) :]
    if not amount:
        return [(text, 0)]
    if len(amount) > 1 or body[-1:] not in tuple(_DIGITS[1:]):  # O20- has twenty oxygens, and no charge of 0
        return [(_inside(body), _amount(amount))]
    return [(body, _amount(amount)), (_inside(body[:-1]), _amount(body[-1] + amount))]


def _inside(text: str) -> str:
    """What one pair of brackets around everything holds; any other text as it is."""
    if text[:1] in tuple(_OPENING) and text[-1:] in tuple(_CLOSING) and _start_of_last_group(text) == 0:
        return text[1:-1]
    return text


def _start_of_last_group(text: str) -> int | None:
    """Where the bracket is opened that the last character closes."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] in _CLOSING) - (text[place] in _OPENING)
        if depth == 0:
            return place
    return None


def _amount(text: str) -> int:
    """A charge: ``+``, ``-``, ``+2``, ``2-``. Raises FormulaError."""
    sign, digits = (text[:1], text[1:]) if text[:1] in _SIGNS else (text[-1:], text[:-1])
    if not sign or sign not in _SIGNS:
        raise FormulaError(f"charge {text!r} has no sign")
    if not digits:
        return 1 if sign == "+" else -1
    count, end = _read_count(digits, 0)
    if end == 0 or end != len(digits):
        raise FormulaError(f"charge {text!r} is not a sign and a number")
    return count if sign == "+" else -count


def _sum_of_parts(parts: list[tuple[str, int]]) -> Formula:
    """The parts added up; a number before a later part multiplies it. Raises FormulaError."""
    atoms: Counter[str] = Counter()
    charge = 0
    addends: list[str] = []
    summed = True
    for number, (part, part_charge) in enumerate(parts):
        count, start = _read_count(part, 0) if number else (1, 0)
        entries, once = _entries(part[start:])
        summed = summed and once
        if number:
            addends.append(part[start:])
        for element, amount in entries.items():
            atoms[_ISOTOPES.get(element, element)] += amount * count
        charge += part_charge * count
    if sum(atoms.values()) > MAX_ATOMS:
        raise FormulaError(f"more than {MAX_ATOMS} atoms")
    summed = summed and len(addends) <= MAX_ADDENDS and len(set(addends)) == len(addends) and _ADDENDS.issuperset(addends)
    return Formula(dict(atoms), charge, summed)


def _entries(body: str) -> tuple[Counter[str], bool]:
    """Counts by symbol, and whether no symbol came twice and no bracket was multiplied out. Raises FormulaError."""
    stack: list[Counter[str]] = [Counter()]
    brackets: list[str] = []
    once = True
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
            once = once and len(group) == 1 and stack[-1].keys().isdisjoint(group)  # \mathrm{C}_{9} is one entry
            for element, number in group.items():
                stack[-1][element] += number * count
        else:
            element = body[at : at + 2] if body[at : at + 2] in ELEMENTS else char
            if element not in ELEMENTS and element not in _ISOTOPES:
                raise FormulaError(f"no element starts at {body[at : at + 2]!r}")
            count, at = _read_count(body, at + len(element))
            once = once and element not in stack[-1]
            stack[-1][element] += count
    if brackets:
        raise FormulaError("unclosed bracket")
    if not stack[0]:
        raise FormulaError("no element at all")
    return stack[0], once


def _read_count(text: str, start: int) -> tuple[int, int]:
    """The count that starts at ``start`` (1 when there is none), perhaps in braces, and the position after it."""
    braced = text[start : start + 1] == "{"
    begin = end = start + braced
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    digits = text[begin:end]
    if not digits or (braced and text[end : end + 1] != "}"):
        return 1, start
    if len(digits) > MAX_DIGITS or digits[0] == "0":
        raise FormulaError(f"count {digits[:8]!r} is not a plain number between 1 and {10**MAX_DIGITS - 1}")
    return int(digits), end + braced
