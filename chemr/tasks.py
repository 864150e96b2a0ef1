"""The tasks: what they are called, which macro-task of Chem-R they belong to, how long an answer may be.

What a row of each task holds is in docs/tasks.md; how an answer is scored is in ``rewards.scorers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chemr.data.example import Example
    from chemr.data.task_data import TaskData


class MacroTask(StrEnum):
    """The nine groups of Chem-R's evaluation."""

    name_prediction = "name_prediction"
    property_prediction = "property_prediction"
    open_generation = "open_generation"
    reaction_prediction = "reaction_prediction"
    retrosynthesis = "retrosynthesis"
    reagent_selection = "reagent_selection"
    yield_prediction = "yield_prediction"
    text_based_design = "text_based_design"
    captioning = "captioning"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task.

    Attributes:
        max_answer_chars: bounds the text between the answer tags for starter-sized molecules.
        in_starter: the embedded starter data have rows of it; the others need the published files.
        classes: the answers of a question of choice between fixed words, which training draws in equal shares; empty for all others.
    """

    name: str
    macro_task: MacroTask
    title: str
    max_answer_chars: int
    in_starter: bool = True
    classes: tuple[str, ...] = ()


_NAMES, _OPEN = MacroTask.name_prediction, MacroTask.open_generation
_PROPERTY, _YIELD, _SELECTION = MacroTask.property_prediction, MacroTask.yield_prediction, MacroTask.reagent_selection
_YES_NO = ("Yes", "No")

TASKS: Mapping[str, TaskSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            TaskSpec("smiles2formula", _NAMES, "SMILES → formula", 40),
            TaskSpec("iupac2formula", _NAMES, "IUPAC name → formula", 40),
            TaskSpec("iupac2smiles", _NAMES, "IUPAC name → SMILES", 80),
            TaskSpec("smiles2iupac", _NAMES, "SMILES → IUPAC name", 80),
            TaskSpec("molcustom_atomnum", _OPEN, "MolCustom, atoms", 80),
            TaskSpec("molcustom_bondnum", _OPEN, "MolCustom, bonds", 80),
            TaskSpec("molcustom_functionalgroup", _OPEN, "MolCustom, functional groups", 80),
            TaskSpec("moledit_add", _OPEN, "MolEdit, add a group", 80),
            TaskSpec("moledit_del", _OPEN, "MolEdit, remove a group", 80),
            TaskSpec("moledit_sub", _OPEN, "MolEdit, exchange a group", 80),
            TaskSpec("molopt_logp", _OPEN, "MolOpt, logP", 80),
            TaskSpec("molopt_mr", _OPEN, "MolOpt, molar refractivity", 80),
            TaskSpec("molopt_qed", _OPEN, "MolOpt, drug-likeness (QED)", 80, in_starter=False),
            TaskSpec("forward", MacroTask.reaction_prediction, "Reaction → product", 80),
            TaskSpec("retro", MacroTask.retrosynthesis, "Product → reactants", 80),
            TaskSpec("reactant_selection", _SELECTION, "Choice of reactant", 80),
            TaskSpec("ligand_selection", _SELECTION, "Choice of ligand", 120, in_starter=False),
            TaskSpec("solvent_selection", _SELECTION, "Choice of solvent", 40, in_starter=False),
            TaskSpec("text2mol", MacroTask.text_based_design, "Description → molecule", 80),
            TaskSpec("mol2text", MacroTask.captioning, "Molecule → description", 2_000, in_starter=False),
            TaskSpec("property_bace", _PROPERTY, "BACE-1 inhibition", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("property_bbbp", _PROPERTY, "Blood-brain barrier penetration", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("property_hiv", _PROPERTY, "HIV inhibition", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("property_tox21", _PROPERTY, "Toxicity, assay SR-p53", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("property_clintox", _PROPERTY, "Clinical toxicity", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("yield_bh", _YIELD, "Buchwald-Hartwig, high yield", 3, in_starter=False, classes=_YES_NO),
            TaskSpec("yield_suzuki", _YIELD, "Suzuki-Miyaura, high yield", 3, in_starter=False, classes=_YES_NO),
        )
    }
)


def has_one_answer(task: str) -> bool:
    """Whether a question of the task has one right answer, which may be written in several ways; not known of tasks that are not listed."""
    return task in TASKS and TASKS[task].macro_task not in (MacroTask.open_generation, MacroTask.captioning)


def select_tasks(data: TaskData, tasks: Sequence[str]) -> TaskData:
    """The rows of the named tasks only; all rows when none is named.

    Raises:
        ValueError: a task has no training or no test rows: it is unknown, or the data are too small for it.
    """
    wanted = set(tasks) or {example.task for example in data.train}
    for task in sorted(wanted):
        for split, rows in (("training", data.train), ("test", data.test)):
            if not any(row.task == task for row in rows):
                known = ", ".join(_tasks_in(rows))
                raise ValueError(f"data.tasks: task {task!r} has no {split} rows in these data; tasks that have some: {known}")
    return replace(
        data,
        train=[row for row in data.train if row.task in wanted],
        validation=[row for row in data.validation if row.task in wanted],
        test=[row for row in data.test if row.task in wanted],
    )


def _tasks_in(rows: Iterable[Example]) -> list[str]:
    return sorted({row.task for row in rows})
