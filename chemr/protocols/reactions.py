"""Protocols of reactions: what kind of bond is made or cut, what leaves, how large the parts are."""

from __future__ import annotations

from collections import Counter

from rdkit import Chem

from chemr.data.example import Example
from chemr.protocols.facts import bond_kinds, composition, composition_text, heavy_atoms, list_text, molecule
from chemr.protocols.steps import Protocol
from rewards.functional_groups import GROUP_NAMES, count_group


def formed(reactants: Chem.Mol, product: Chem.Mol) -> str:
    """Claim text: the functional groups the product has more of than the reactants, in the order of TOMG-Bench.

    A reaction that makes none of those (an ether, a new C-C bond) is told by the kinds of bonds it makes: ``C-O``.
    """
    groups = [name.replace("_", " ") for name in GROUP_NAMES if count_group(product, name) > count_group(reactants, name)]
    return list_text(groups or sorted((bond_kinds(product) - bond_kinds(reactants)).elements()))


def _leaving(reactants: Chem.Mol, product: Chem.Mol) -> str:
    """Formula of the atoms, hydrogens included, that the reactants have and the product does not."""
    return composition_text(composition(reactants) - composition(product))


def _forward(example: Example) -> tuple[str, ...]:
    reactants, product = molecule(example.inputs["reactants"]), molecule(example.reference["answer"])
    return formed(reactants, product), _leaving(reactants, product), composition_text(heavy_atoms(product))


def _retro(example: Example) -> tuple[str, ...]:
    product, reactants = molecule(example.inputs["product"]), molecule(example.reference["answer"])
    parts = [composition_text(heavy_atoms(molecule(part))) for part in example.reference["answer"].split(".")]
    return formed(reactants, product), _leaving(reactants, product), list_text(parts)


def _selection(example: Example) -> tuple[str, ...]:
    product, given = molecule(example.inputs["product"]), molecule(example.inputs["given"])
    missing: Counter[str] = heavy_atoms(product) - heavy_atoms(given)
    choice = list(example.inputs["candidates"]).index(example.reference["answer"]) + 1
    return composition_text(missing), str(choice)


PROTOCOLS = (
    Protocol(
        "forward",
        ("Forms", "Leaves", "Product atoms"),
        _forward,
        "The group or bond that forms names the reaction class; what leaves tells which atoms of the reactants are not copied.",
    ),
    Protocol(
        "retro",
        ("Cut", "Add back", "Part atoms"),
        _retro,
        "What is cut names the reaction class and what has to be added back; the sizes of the parts follow from where it is cut.",
    ),
    Protocol(
        "reactant_selection",
        ("Missing atoms", "Choice"),
        _selection,
        "The atoms that the given reactant cannot supply have to come from the right candidate; its number makes the answer a copy.",
    ),
)
