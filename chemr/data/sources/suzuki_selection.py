"""ChemLLMBench's reagent selection (Suzuki HTE): which reactant, ligand or solvent gives the highest yield.

Traps handled: ``ligand_selection.json`` labels the solvent "base" and the base "solvent"; in half of ``reactant_selection.json`` all labels
are moved by one (the ligand is called "reactant"); ``candidate_over_30_yield`` may be empty and is not used; the CSV samples write lists as
Python literals; the best reactant stands first in 68 of 100 tests, so candidates of training rows are shuffled (by a hash of the uid).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, json_list, table_rows
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles

LICENCE = "LicenseRef-ChemLLMBench"  # no licence file upstream
SELECTION_FILES: Mapping[str, tuple[str, str]] = {
    "reactant_selection": ("reactant_selection.json", "reagent_sample.csv"),
    "ligand_selection": ("ligand_selection.json", "ligand_sample.csv"),
    "solvent_selection": ("solvent_selection.json", "solvent_sample.csv"),
}
_MARK = "Given the rest of reaction components:\n"
_ROLE_LINE = re.compile(r" *(reactant|ligand|base|solvent)(?: \d)?: (\S+) *")
_ROLE_ORDER = ("reactant", "ligand", "base", "solvent")


def selection_training_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """Rows of a *_selection.json, candidates shuffled."""
    for item in json_list(path, log):
        example = _example(item.get("task"), item.get("candidate_rank"), task, f"{prefix}/{task}/{log.row}", log)
        if example is not None:
            candidates = _shuffled(example.inputs["candidates"], example.uid)
            yield Example(
                example.uid,
                task,
                {**example.inputs, "candidates": candidates},
                example.reference,
                example.difficulty,
                example.source,
                LICENCE,
            )


def selection_test_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """Rows of a *_sample.csv, candidates in the order of the published prompt."""
    for cells in table_rows(path, log, ("task", "candidate_rank")):
        try:
            ranked = ast.literal_eval(cells["candidate_rank"])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            ranked = None
        example = _example(cells["task"], ranked, task, f"{prefix}/{task}/{log.row}", log)
        if example is not None:
            yield example


def _example(prompt: Any, ranked: Any, task: str, uid: str, log: RowLog) -> Example | None:
    if not isinstance(ranked, list) or len(ranked) < 2 or not all(isinstance(item, str) and looks_like_smiles(item) for item in ranked):
        log.reject("no ranking", str(ranked), "a list of two or more SMILES in candidate_rank")
        return None
    if not isinstance(prompt, str) or _MARK not in prompt:
        log.reject("another prompt", str(prompt), f"a text with the line {_MARK.strip()!r}")
        return None
    roles: list[tuple[str, str]] = []
    candidates: list[str] = []
    for line in prompt.rpartition(_MARK)[2].split("\n"):
        role = _ROLE_LINE.fullmatch(line)
        if role is not None and not candidates:
            roles.append((role[1], role[2]))
        elif "," in line and not candidates:
            candidates = line.strip().split(",")
    if len(roles) != 4 or not all(looks_like_smiles(smiles) for _, smiles in roles):
        log.reject("another number of components", str(roles), "four components with their roles")
        return None
    if sorted(candidates) != sorted(ranked):
        log.reject("candidates differ from the ranking", ",".join(candidates), ",".join(ranked))
        return None
    reaction = ", ".join(f"{role} {smiles}" for role, smiles in _true_roles(task, roles))
    return Example(
        uid=uid,
        task=task,
        inputs={"reaction": reaction, "candidates": candidates},
        reference={"answer": ranked[0], "ranked": ranked},
        difficulty=difficulty(max(ranked, key=len)),
        source="ChemLLMBench, Suzuki HTE (Perera 2018)",
        licence=LICENCE,
    )


def _true_roles(task: str, roles: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Components under the names that are true of them, in a fixed order of the roles."""
    if task == "ligand_selection":
        swapped = {"base": "solvent", "solvent": "base"}
        roles = [(swapped.get(role, role), smiles) for role, smiles in roles]
    elif task == "reactant_selection" and "P" in roles[0][1]:  # every ligand of the table is a phosphine, no reactant holds phosphorus
        roles = list(zip(("ligand", "solvent", "base", "reactant"), (smiles for _, smiles in roles), strict=True))
    return sorted(roles, key=lambda item: _ROLE_ORDER.index(item[0]))


def _shuffled(candidates: list[str], uid: str) -> list[str]:
    return sorted(candidates, key=lambda smiles: hashlib.blake2b(f"{uid}/{smiles}".encode(), digest_size=8).digest())
