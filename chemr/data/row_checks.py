"""Faults of a training row that only chemistry shows: unreadable molecules, questions that hold their answer, answers that earn nothing.

OpenMolIns is the reason for the last: more than a third of its published substitutions do not exchange the groups they were asked to
exchange (``Br`` for nitro gives ``NO``), and every thirteenth optimisation hardly moves its property. Its optimisations all go the right
way; that check is for other files of the format.
"""

from __future__ import annotations

from typing import NamedTuple

from chemr.data.example import Example
from chemr.data.row_keys import question_molecules
from chemr.data.sources.molecules import flat_components, parsed
from rewards.errors import BadReferenceError
from rewards.functional_groups import count_group
from rewards.molecule import Molecule
from rewards.property_change import OPTIMISED
from rewards.scoring import score_answer

EARNED = 0.9
"""The least that a row's own answer has to earn from its scorer."""

# The tasks of which some published golds earn less; all of the others earn 1, so that scoring them, minutes for all sources, finds nothing.
_OPEN = ("molcustom", "moledit", "molopt")  # 1 to 10 of 1,000: radicals, hemiaminals, elements that answers may not have
_WRITTEN_DOWN = ("iupac2smiles", "smiles2iupac", "text2mol")  # proteins and nucleic acids beyond the limits of scorers, 1 of 1,000
_WITHIN_LIMITS = 120  # characters: so short, no SMILES has too many atoms, rings or fragments, and no name is too long
_UNUSUAL = "*~$"  # wildcards and bonds that scorers refuse at any length


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
    return _broken(example) or _unpaid(example)


def _broken(example: Example) -> Fault | None:
    """The first fault of a row that has nothing to do with scoring."""
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
    wanted, direction = OPTIMISED[example.task], example.inputs["direction"]
    change = wanted.moved(Molecule(before), Molecule(after), direction)
    found = f"{example.inputs['smiles']} -> {example.reference['answer']} ({change:+.3f})"
    if change <= 0:
        return Fault("the answer breaks the instruction", found, f"{direction} {wanted.name}")
    if change < wanted.margin:
        return Fault("the answer hardly changes the property", found, f"{direction} {wanted.name} by at least {wanted.margin:g}")
    return None


def _unpaid(example: Example) -> Fault | None:
    """A row whose own answer does not earn its reward teaches that the reward is wrong, or the answer."""
    answer: str = example.reference["answer"]
    if example.task in _WRITTEN_DOWN:
        if len(answer) <= _WITHIN_LIMITS and not any(sign in answer for sign in _UNUSUAL):
            return None
    elif not example.task.startswith(_OPEN):
        return None
    reason, expected = "its own answer does not earn its reward", f"at least {EARNED}"
    try:
        verdict = score_answer(example.task, answer, example.inputs, example.reference)
    except BadReferenceError as error:
        return Fault(reason, _ends_of(str(error)), expected)
    value = verdict.value or 0.0
    if value >= EARNED:
        return None
    return Fault(reason, f"{value:.2g} ({verdict.reason}) for {answer}", expected)


def _ends_of(text: str) -> str:
    """Beginning and end of a text that may hold a long SMILES: the end says what is wrong with it."""
    return text if len(text) <= 150 else f"{text[:70]} … {text[-70:]}"
