"""Every task with its prompt, its scoring and its reward, from the registries that training uses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from field_docs import plain

from chemr.data.example import Example
from chemr.prompts import prompted_tasks, render_prompt
from chemr.protocols.teacher import PROTOCOLS
from chemr.tasks import TASKS, MacroTask, TaskSpec
from rewards.registry import IN_CALLER, scorer_for

# What stands in a prompt for the fields of a row that are no plain texts.
_COUNTS: Mapping[str, Mapping[str, int]] = {
    "molcustom_atomnum": {"C": 3, "O": 1},
    "molcustom_bondnum": {"single": 3, "double": 1},
    "molcustom_functionalgroup": {"hydroxyl": 1, "carboxyl": 1},
}
_FIELDS: Mapping[str, Any] = {"direction": "increase", "by": 0.6, "candidates": ["SMILES", "SMILES", "SMILES"], "counts": {"C": 3}}


class _Row(dict[str, Any]):
    """Inputs of any task: a field that is asked for and not named here is shown by its name."""

    def __missing__(self, name: str) -> str:
        return f"‹{name}›"


def prompt_of(task: str) -> str:
    """The wording, with ‹field› where a row's text stands."""
    row = _Row(_FIELDS)
    if task in _COUNTS:
        row["counts"] = _COUNTS[task]
    return render_prompt(Example(f"docs/{task}", task, row, {}, 0.0, "docs", "Apache-2.0"))


def tasks_markdown() -> str:
    """A table of all tasks, then a section for each macro-task."""
    rows = [
        f"| [`{task}`](#{task}) | {spec.title} | {_words(spec.macro_task)} | {'yes' if spec.in_starter else 'no'} "
        f"| {'yes' if task in PROTOCOLS else 'no'} |"
        for task, spec in TASKS.items()
    ]
    head = ["| task | what is asked | macro-task | in the starter data | built-in protocol |", "|---|---|---|---|---|"]
    parts = [f"{len(TASKS)} tasks in {len(MacroTask)} macro-tasks.\n\n" + "\n".join([*head, *rows])]
    for macro in MacroTask:
        parts.append(f"## {_words(macro).capitalize()}")
        parts += [_task(spec) for spec in TASKS.values() if spec.macro_task is macro]
    return "\n\n".join(parts) + "\n"


def _task(spec: TaskSpec) -> str:
    if spec.name not in prompted_tasks():
        raise ValueError(f"task {spec.name!r} has no wording in chemr/prompts.py; give it one")
    scorer = scorer_for(spec.name)
    module = scorer.__module__.replace(".", "/") + ".py"
    reward = inspect.cleandoc(scorer.__doc__ or "")
    if not reward:
        raise ValueError(f"the scorer of {spec.name!r}, {scorer.__module__}.{scorer.__name__}, has no docstring that says what it rewards")
    where = "in the reward worker itself" if spec.name in IN_CALLER else "in a process that may be killed"
    lines = [
        f"### {spec.name}",
        f"{spec.title}.",
        f"* **Prompt**: “{prompt_of(spec.name)}”",
        f"* **Answer**: {_answer(spec)}",
        f"* **Scored by** `{scorer.__name__}` in [`{module}`](../{module}), {where}.",
        f"* **Reasoning steps** of the built-in teacher: {_steps(spec.name)}.",
        "* **Reward**: " + "\n\n  ".join(plain(paragraph) for paragraph in re.split(r"\n\s*\n", reward)),
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def _answer(spec: TaskSpec) -> str:
    if spec.classes:
        return f"one of {', '.join(f'`{one}`' for one in spec.classes)}, drawn in equal shares in training."
    return f"up to {spec.max_answer_chars:,} characters between the answer tags for starter-sized molecules."


def _steps(task: str) -> str:
    return ", ".join(PROTOCOLS[task].titles) if task in PROTOCOLS else "none; traces are mined ([mining.md](mining.md))"


def _words(macro: MacroTask) -> str:
    return macro.value.replace("_", " ")
