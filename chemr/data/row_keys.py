"""What a row is about, as strings: two rows that share one must not stand on both sides of the line between training and evaluation.

* Molecules, for every task but those below: each component of the question's and the answer's molecules, flat (no stereo, isotopes, maps).
* Reactions (forward, retro): the components of the **product** only. Reactants and reagents are shared by all chemistry.
* Yield and selection: the whole reaction, with its candidates. A few hundred substances make up thousands of these reactions, products
  included, so their tests lend no molecule to the comparison; their training rows still show their product.
* Text, where it is the question or the answer: names, captions and the counts of MolCustom, and a SMILES that RDKit cannot read.

A component of a mixture counts when it has carbon and at least MIN_HEAVY_ATOMS heavy atoms; otherwise water, sodium, chloride, methanol
or acetate beside one test molecule would remove every salt and solvate. If no component is that large, the largest one counts. A molecule
on its own always counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from chemr.data.example import Example
from chemr.data.sources.molecules import Component, flat_components
from chemr.data.sources.rxn_yields import plain_bonds

MIN_HEAVY_ATOMS = 6

YIELD_TASKS = frozenset({"yield_bh", "yield_suzuki"})
SELECTION_TASKS = frozenset({"reactant_selection", "ligand_selection", "solvent_selection"})

Key = tuple[str, str]
"""(kind, text), e.g. ("molecule", "CCO")."""


def row_keys(example: Example) -> frozenset[Key]:
    """Everything that must not be on both sides."""
    return frozenset(_keys(example, evaluation=False))


def evaluation_keys(example: Example) -> frozenset[Key]:
    """The same for a test row, whose yield or selection reaction lends no molecule."""
    return frozenset(_keys(example, evaluation=True))


def question_molecules(example: Example) -> tuple[str, ...]:
    """The SMILES of a row that decide what it is about (see above); empty for yield and selection."""
    inputs, reference = example.inputs, example.reference
    answer: str = reference.get("answer", "")
    match example.task:
        case "forward":
            return (answer,)
        case "retro":
            return (inputs["product"],)
        case task if task in YIELD_TASKS or task in SELECTION_TASKS:
            return ()
        case "iupac2smiles" | "text2mol":
            return (answer,)
        case "iupac2formula":
            return (reference["smiles"],) if "smiles" in reference else ()
        case task if task.startswith("mol") and task != "mol2text":  # MolCustom, MolEdit, MolOpt
            return tuple(smiles for smiles in (inputs.get("smiles"), answer) if smiles)
        case _:
            return (inputs["smiles"],)


def _keys(example: Example, *, evaluation: bool) -> Iterable[Key]:
    inputs, reference = example.inputs, example.reference
    if example.task in YIELD_TASKS:
        left, _, product = inputs["reaction"].partition(">>")
        yield "reaction", _mixture([*left.split("."), ">>", *product.split(".")])
        if not evaluation:
            yield from molecule_keys(product)
        return
    if example.task in SELECTION_TASKS and "reaction" in inputs:
        given = [part.rpartition(" ")[2] for part in inputs["reaction"].split(", ")]
        yield "selection", f"{example.task} {_mixture(given)} | {_mixture(inputs['candidates'])}"
        return
    for smiles in question_molecules(example):
        yield from molecule_keys(smiles)
    yield from _text_keys(example.task, inputs, reference)


def molecule_keys(smiles: str) -> Iterable[Key]:
    """Keys of the components that count; the text itself when it cannot be read."""
    components = flat_components(smiles)
    if components is None:
        yield "text", smiles
        return
    for component in counting(components):
        yield "molecule", component.smiles


def counting(components: tuple[Component, ...]) -> tuple[Component, ...]:
    """Those of the components that say what a mixture is (MIN_HEAVY_ATOMS)."""
    if len(components) == 1:
        return components
    large = tuple(part for part in components if part.has_carbon and part.heavy_atoms >= MIN_HEAVY_ATOMS)
    if large:
        return large
    most = max(part.heavy_atoms for part in components)
    return tuple(part for part in components if part.heavy_atoms == most)


def _text_keys(task: str, inputs: Any, reference: Any) -> Iterable[Key]:
    if "iupac" in inputs:
        yield "name", _folded(inputs["iupac"])
    if task == "smiles2iupac":
        yield "name", _folded(reference["answer"])
    if "caption" in inputs:
        yield "caption", _folded(inputs["caption"])
    if task == "mol2text":
        yield "caption", _folded(reference["answer"])
    if task.startswith("molcustom"):
        asked = {**inputs["counts"], **inputs.get("not_scored", {})}
        yield "question", f"{task} {json.dumps(asked, sort_keys=True)}"


def _mixture(parts: Iterable[str]) -> str:
    """One text for a mixture, whatever the order and spelling of its parts (``N~1`` and ``N-1`` are one bond)."""
    return ".".join(sorted(_flat(plain_bonds(part)) for part in parts))


def _flat(part: str) -> str:
    components = flat_components(part)
    return part if components is None else ".".join(component.smiles for component in components)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
