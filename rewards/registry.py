"""Which tasks can be scored, and by what.

Names are known without importing RDKit; a scorer's module is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from rewards.errors import UnknownTaskError
from rewards.verdict import Verdict

SCORER_VERSION = "3"
"""Changes whenever the value of any answer may change; part of the key of remembered verdicts and of :mod:`rewards.manifest`."""

Scorer = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Verdict]
"""``scorer(answer, inputs, reference)``. Raises AnswerRejectedError for a worthless answer, BadReferenceError for an unusable row."""

_MODULE_OF_TASK: dict[str, str] = {
    "smiles2formula": "rewards.scorers.formulas",
    "iupac2formula": "rewards.scorers.formulas",
    "iupac2smiles": "rewards.scorers.names",
    "smiles2iupac": "rewards.scorers.names",
    "molcustom_atomnum": "rewards.scorers.custom",
    "molcustom_bondnum": "rewards.scorers.custom",
    "molcustom_functionalgroup": "rewards.scorers.custom",
    "moledit_add": "rewards.scorers.editing",
    "moledit_del": "rewards.scorers.editing",
    "moledit_sub": "rewards.scorers.editing",
    "molopt_logp": "rewards.scorers.optimisation",
    "molopt_mr": "rewards.scorers.optimisation",
    "molopt_qed": "rewards.scorers.optimisation",
    "forward": "rewards.scorers.reactions",
    "retro": "rewards.scorers.reactions",
    "reactant_selection": "rewards.scorers.selection",
    "solvent_selection": "rewards.scorers.selection",
    "ligand_selection": "rewards.scorers.selection",
    "text2mol": "rewards.scorers.design",
    "mol2text": "rewards.scorers.captions",
    "property_bace": "rewards.scorers.yes_no",
    "property_bbbp": "rewards.scorers.yes_no",
    "property_hiv": "rewards.scorers.yes_no",
    "property_tox21": "rewards.scorers.yes_no",
    "property_clintox": "rewards.scorers.yes_no",
    "yield_bh": "rewards.scorers.yes_no",
    "yield_suzuki": "rewards.scorers.yes_no",
}

_SCORERS: dict[str, Scorer] = {}

IN_CALLER: frozenset[str] = frozenset(
    {
        *("smiles2formula", "iupac2formula", "property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox"),
        *("yield_bh", "yield_suzuki"),
    }
)
"""Tasks whose scorers are plain Python without RDKit, regular expressions, recursion or any loop beyond some hundred steps, and read
the reference but no inputs. They cannot hang, crash or grow, so a pool scores them in its own process: sending them to another one would
take several times as long."""

_F = TypeVar("_F", bound=Scorer)


def scorer(*tasks: str) -> Callable[[_F], _F]:
    """Registers a function as the scorer of these tasks. Two scorers for one task are refused: which one counts would be luck."""

    def register(function: _F) -> _F:
        for task in tasks:
            present = _SCORERS.get(task)
            if present is not None:
                raise ValueError(f"task {task!r} already has the scorer {present.__module__}.{present.__qualname__}")
            _SCORERS[task] = function
        return function

    return register


def task_names() -> tuple[str, ...]:
    """All tasks of this package and of plugins imported so far, sorted. Imports nothing."""
    return tuple(sorted(_MODULE_OF_TASK.keys() | _SCORERS.keys()))


def require_known(tasks: Iterable[str], known: Iterable[str] | None = None) -> None:
    """Raises UnknownTaskError for the first task without a scorer."""
    names = frozenset(task_names() if known is None else known)
    for task in set(tasks):
        if task not in names:
            raise UnknownTaskError(task, names)


def scorer_for(task: str) -> Scorer:
    """The scorer of a task; imports RDKit with it. Raises UnknownTaskError, which lists the known tasks."""
    require_known((task,))
    if task not in _SCORERS:
        importlib.import_module(_MODULE_OF_TASK[task])
    return _SCORERS[task]


def import_all() -> None:
    """Imports every scorer of this package (a zygote does this once, so that its children need not)."""
    for module in sorted(set(_MODULE_OF_TASK.values())):
        importlib.import_module(module)
