"""Protocols of the name tasks and of design from a caption: see the parts first, then write the whole."""

from __future__ import annotations

from chemr.data.example import Example
from chemr.protocols.facts import composition_text, molecule, skeleton_and_groups, unsaturation
from chemr.protocols.steps import Protocol
from rewards.formula import parse_formula

_FORMULA_TITLES = ("Heavy atoms", "Unsaturation")
_STRUCTURE_TITLES = ("Skeleton", "Groups")
_FORMULA_RATIONALE = (
    "Heavy atoms can be counted in the text; the degree of unsaturation is the number of rings and multiple bonds; the hydrogens follow "
    "from these two alone."
)
_STRUCTURE_RATIONALE = "A name is a skeleton with groups on it. Once both are written down, only the positions are left to be found."


def _formula(example: Example) -> tuple[str, ...]:
    formula = parse_formula(example.reference["answer"])
    heavy = {symbol: count for symbol, count in formula.atoms.items() if symbol != "H"}
    return composition_text(heavy), str(unsaturation(formula.atoms, formula.charge))


def _structure_of_answer(example: Example) -> tuple[str, ...]:
    return skeleton_and_groups(molecule(example.reference["answer"]))


def _structure_of_input(example: Example) -> tuple[str, ...]:
    return skeleton_and_groups(molecule(example.inputs["smiles"]))


PROTOCOLS = (
    Protocol("smiles2formula", _FORMULA_TITLES, _formula, _FORMULA_RATIONALE),
    Protocol("iupac2formula", _FORMULA_TITLES, _formula, _FORMULA_RATIONALE),
    Protocol("iupac2smiles", _STRUCTURE_TITLES, _structure_of_answer, _STRUCTURE_RATIONALE),
    Protocol("smiles2iupac", _STRUCTURE_TITLES, _structure_of_input, _STRUCTURE_RATIONALE),
    Protocol("text2mol", _STRUCTURE_TITLES, _structure_of_answer, _STRUCTURE_RATIONALE),
)
