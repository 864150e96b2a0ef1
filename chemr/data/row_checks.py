"""Faults of a training row that only chemistry shows: unreadable molecules, questions that hold their answer, answers that break the rule.

OpenMolIns is the reason for the last: a third of its published substitutions do not exchange the groups they were asked to exchange
(``Br`` for nitro gives ``NO``), and some optimisations go the wrong way.
"""

from __future__ import annotations

from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import QED, rdMolDescriptors

from chemr.data.example import Example
from chemr.data.row_keys import question_molecules
from chemr.data.sources.molecules import flat_components, parsed
from rewards.functional_groups import count_group


class Fault(NamedTuple):
    """Why a row cannot be trained on."""

    reason: str
    found: str
    expected: str


def fault(example: Example) -> Fault | None:
    """The first fault of a training row, or None. Test rows are not judged: they are what was published."""
    for smiles in question_molecules(example):
        if flat_components(smiles) is None:
            return Fault("SMILES not readable", smiles, "a SMILES that RDKit reads")
    match example.task:
        case "retro":
            return _retro(example.inputs["product"], example.reference["answer"])
        case "forward":
            # Both sides were written by the same RDKit, part by part, so equal molecules are equal texts.
            product, reactants = example.reference["answer"], example.inputs["reactants"]
            if set(product.split(".")) <= set(reactants.split(".")):
                return Fault("the product is among the reactants", f"{reactants}>>{product}", "another molecule than was put in")
        case "moledit_add" | "moledit_del" | "moledit_sub":
            return _edit(example)
        case "molopt_logp" | "molopt_mr" | "molopt_qed":
            return _optimisation(example)
    return None


def _retro(product: str, reactants: str) -> Fault | None:
    parts, made = flat_components(reactants), flat_components(product)
    if parts is None:
        return Fault("SMILES not readable", reactants, "a SMILES that RDKit reads")
    if made is not None and {part.smiles for part in made} & {part.smiles for part in parts}:
        return Fault("the product is among the reactants", f"{reactants}>>{product}", "another molecule than was put in")
    return None


def _edit(example: Example) -> Fault | None:
    before, after = parsed(example.inputs["smiles"]), parsed(example.reference["answer"])
    if before is None or after is None:
        return None  # reported as unreadable
    wanted = {example.inputs.get("add"): 1, example.inputs.get("remove"): -1}
    for group, change in wanted.items():
        if group is not None and count_group(after, group) - count_group(before, group) != change:
            asked = ", ".join(f"{step:+d} {name}" for name, step in wanted.items() if name is not None)
            return Fault("the answer breaks the instruction", f"{example.inputs['smiles']} -> {example.reference['answer']}", asked)
    return None


def _optimisation(example: Example) -> Fault | None:
    before, after = parsed(example.inputs["smiles"]), parsed(example.reference["answer"])
    if before is None or after is None:
        return None
    change = _property(example.task, after) - _property(example.task, before)
    if (change > 0) is (example.inputs["direction"] == "increase") and change != 0:
        return None
    return Fault(
        "the answer breaks the instruction",
        f"{example.inputs['smiles']} -> {example.reference['answer']} ({change:+.3f})",
        f"{example.inputs['direction']} {example.task.removeprefix('molopt_')}",
    )


def _property(task: str, mol: Chem.Mol) -> float:
    if task == "molopt_qed":
        return float(QED.qed(mol))
    log_p, refractivity = rdMolDescriptors.CalcCrippenDescriptors(mol)
    return float(log_p if task == "molopt_logp" else refractivity)
