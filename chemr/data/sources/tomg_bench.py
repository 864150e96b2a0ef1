"""TOMG-Bench: nine tests of open generation, and OpenMolIns, its training set.

The tests have no gold answer: ``reference`` is empty. Counts are taken from the columns (tests) or the instruction (OpenMolIns).

Traps handled: groups are written with blanks or underscores and in the plural; OpenMolIns swaps group and molecule in some instructions
("remove a CCO from the molecule hydroxyl"), leaves the full stop out, and lets lists begin with "and"; "thioether" is asked for but not
scored by the benchmark, which then wants 0 sulfides: it stands apart in ``inputs["not_scored"]``, and such rows are not trained on; more
carboxyls than hydroxyls cannot be had, since each carboxyl is a hydroxyl too: kept in the tests, not trained on; optimisations name no
size, so training rows get ``inputs["by"]``, what their answer moves the property by (the tests have no answer and ask as published).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, table_rows
from chemr.data.sources.smiles_text import difficulty, looks_like_smiles
from rewards.errors import BadReferenceError
from rewards.molecule import reference_molecule
from rewards.property_change import OPTIMISED

LICENCE = "LicenseRef-TOMG-Bench"  # no licence file upstream
_SOURCE = "TOMG-Bench"

SUBTASKS: Mapping[str, tuple[str, str]] = {
    "molcustom_atomnum": ("MolCustom", "AtomNum"),
    "molcustom_bondnum": ("MolCustom", "BondNum"),
    "molcustom_functionalgroup": ("MolCustom", "FunctionalGroup"),
    "moledit_add": ("MolEdit", "AddComponent"),
    "moledit_del": ("MolEdit", "DelComponent"),
    "moledit_sub": ("MolEdit", "SubComponent"),
    "molopt_logp": ("MolOpt", "LogP"),
    "molopt_mr": ("MolOpt", "MR"),
    "molopt_qed": ("MolOpt", "QED"),
}
_TASK_OF_SUBTASK = {subtask: task for task, (_, subtask) in SUBTASKS.items()}

ELEMENTS: Mapping[str, str] = {
    "carbon": "C", "oxygen": "O", "nitrogen": "N", "sulfur": "S", "fluorine": "F", "chlorine": "Cl", "bromine": "Br", "iodine": "I",
    "phosphorus": "P", "boron": "B", "silicon": "Si", "selenium": "Se", "tellurium": "Te", "arsenic": "As", "antimony": "Sb",
    "bismuth": "Bi", "polonium": "Po",
}  # fmt: skip
BONDS = ("single", "double", "triple", "aromatic", "rotatable")
GROUPS = (
    "benzene_ring", "hydroxyl", "anhydride", "aldehyde", "ketone", "carboxyl", "ester", "amide", "amine", "nitro", "halo", "nitrile",
    "thiol", "sulfide", "disulfide", "sulfoxide", "sulfone", "borane",
)  # fmt: skip
NOT_SCORED = ("thioether",)

Inputs = dict[str, Any]


def test_path(tomg_dir: Path, task: str) -> Path:
    kind, subtask = SUBTASKS[task]
    return tomg_dir / "benchmarks" / "open_generation" / kind / subtask / "test.csv"


def tomg_test_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """One test file; ``inputs["instruction"]`` is the published question."""
    columns = {
        "molcustom_atomnum": tuple(ELEMENTS),
        "molcustom_bondnum": BONDS,
        "molcustom_functionalgroup": ("benzene rings", *GROUPS[1:], *NOT_SCORED),
        "moledit_add": ("molecule", "added_group"),
        "moledit_del": ("molecule", "removed_group"),
        "moledit_sub": ("molecule", "added_group", "removed_group"),
    }.get(task, ("molecule",))
    for cells in table_rows(path, log, ("Instruction", *columns)):
        inputs = _from_columns(task, cells, columns, log)
        if inputs is not None:
            yield _example(
                task, {**inputs, "instruction": cells["Instruction"]}, {}, f"{prefix}/{task}/{log.row}", inputs.get("smiles", "")
            )


def openmolins_rows(path: Path, prefix: str, log: RowLog, part: str = "") -> Iterator[Example]:
    """Rows of OpenMolIns, the instruction turned back into the fields it was made from."""
    for cells in table_rows(path, log, ("SubTask", "Instruction", "molecule")):
        task, instruction, answer = _TASK_OF_SUBTASK.get(cells["SubTask"]), cells["Instruction"].strip(), cells["molecule"].strip()
        if task is None:
            log.reject("unknown sub-task", cells["SubTask"], ", ".join(_TASK_OF_SUBTASK))
            continue
        if not looks_like_smiles(answer):
            log.reject("no SMILES", answer, "a SMILES in column molecule")
            continue
        inputs = _READERS[task.partition("_")[0]](task, instruction)
        if inputs is None:
            log.reject("instruction not understood", instruction, f"an instruction of {cells['SubTask']}")
        elif "not_scored" in inputs:
            log.skip("asks for thioethers, which the benchmark does not score")
        elif task == "molcustom_functionalgroup" and inputs["counts"].get("carboxyl", 0) > inputs["counts"].get("hydroxyl", 0):
            log.skip("asks for more carboxyls than hydroxyls, which no molecule has")
        else:
            asked = inputs | _size_asked(task, inputs, answer)
            yield _example(task, asked, {"answer": answer}, f"{prefix}/{task}/{part}{log.row}", answer)


def _example(task: str, inputs: Inputs, reference: Mapping[str, str], uid: str, molecule: str) -> Example:
    size = difficulty(molecule) if molecule else min(1.0, sum(inputs["counts"].values()) / 60)
    return Example(uid, task, inputs, reference, size, _SOURCE, LICENCE)


def _size_asked(task: str, inputs: Inputs, answer: str) -> Inputs:
    """``by`` of an optimisation whose answer moves the property; nothing for any other row (:mod:`chemr.data.row_checks` says why)."""
    if task not in OPTIMISED:
        return {}
    try:
        source, changed = reference_molecule(inputs["smiles"]), reference_molecule(answer)
    except BadReferenceError:
        return {}
    by = OPTIMISED[task].asked(OPTIMISED[task].moved(source, changed, inputs["direction"]))
    return {} if by is None else {"by": by}


def _from_columns(task: str, cells: Mapping[str, str], columns: tuple[str, ...], log: RowLog) -> Inputs | None:
    if task.startswith("molcustom"):
        for column in columns:
            if not re.fullmatch(r"\d{1,4}", cells[column]):
                log.reject("no count", cells[column], f"an integer in column {column}")
                return None
        return _counts(task, {column: int(cells[column]) for column in columns})
    inputs: Inputs = {"smiles": cells["molecule"].strip()}
    if not looks_like_smiles(inputs["smiles"]):
        log.reject("no SMILES", inputs["smiles"], "a SMILES in column molecule")
        return None
    for column, field in (("added_group", "add"), ("removed_group", "remove")):
        if column in columns:
            group = _group(cells[column])
            if group is None:
                log.reject("unknown group", cells[column], ", ".join(GROUPS))
                return None
            inputs[field] = group
    if task.startswith("molopt"):
        direction = _direction(cells["Instruction"])
        if direction is None:
            log.reject("no direction", cells["Instruction"], "lower, decrease, higher or increase")
            return None
        inputs["direction"] = direction
    return inputs


def _counts(task: str, asked: Mapping[str, int]) -> Inputs | None:
    """Counts by the names that scorers use, zeros left out; None for a name nobody knows."""
    counts: dict[str, int] = {}
    not_scored: dict[str, int] = {}
    for name, count in asked.items():
        key: str | None
        match task:
            case "molcustom_atomnum":
                key = ELEMENTS.get(name)
            case "molcustom_bondnum":
                key = name if name in BONDS else None
            case _:
                key = name if name in NOT_SCORED else _group(name)
        if key is None:
            return None
        if count:
            (not_scored if key in NOT_SCORED else counts)[key] = count
    return {"counts": counts, "not_scored": not_scored} if not_scored else {"counts": counts}


def _group(name: str) -> str | None:
    key = name.strip().lower().replace(" ", "_")
    key = "benzene_ring" if key == "benzene_rings" else key
    return key if key in GROUPS else None


def _direction(instruction: str) -> str | None:
    """As the benchmark decides it: by the words of the instruction."""
    if "lower" in instruction or "decrease" in instruction:
        return "decrease"
    return "increase" if "higher" in instruction or "increase" in instruction else None


_COUNT = re.compile(r"(\d{1,4}) ([a-z_]+(?: rings?)?)(?: (?:atom|bond|group)s?)?")


def _read_counts(task: str, instruction: str) -> Inputs | None:
    found = {name: int(count) for count, name in _COUNT.findall(instruction)}
    inputs = _counts(task, found) if found else None
    return inputs if inputs is not None and (inputs["counts"] or "not_scored" in inputs) else None


_A = r"(?P<a>\S(?:.*\S)?)"
_B = r"(?P<b>\S(?:.*\S)?)"
_ADD = (re.compile(rf"(?:Please )?[Aa]dd an? {_A} to the molecule {_B}"), re.compile(rf"Modify the molecule {_B} by adding an? {_A}"))
_DEL = (
    re.compile(rf"(?:Please )?[Rr]emove an? {_A} from the molecule {_B}"),
    re.compile(rf"Modify the molecule {_B} by removing an? {_A}"),
)
_SUB = (
    re.compile(rf"(?:Please )?(?:[Ss]ubstitute|[Rr]eplace) an? {_A} in the molecule {_B} (?:with|by)(?: an?)? (?P<c>[a-z_ ]+)"),
    re.compile(rf"Modify the molecule {_B} by (?:substituting|replacing) an? {_A} (?:with|by)(?: an?)? (?P<c>[a-z_ ]+)"),
)
_OPT = re.compile(r"(?:Please )?(?:[Mm]odify|[Oo]ptimize) the molecule (\S+) to .* value")


def _read_edit(task: str, instruction: str) -> Inputs | None:
    patterns = {"moledit_add": _ADD, "moledit_del": _DEL}.get(task, _SUB)
    text = instruction.removesuffix(".")
    match = next((found for pattern in patterns if (found := pattern.fullmatch(text))), None)
    if match is None:
        return None
    group, smiles = _group(match["a"]), match["b"]
    if group is None:  # group and molecule may have changed places
        group, smiles = _group(match["b"]), match["a"]
    if group is None or not looks_like_smiles(smiles):
        return None
    if task == "moledit_sub":
        added = _group(match["c"])
        return None if added is None else {"smiles": smiles, "remove": group, "add": added}
    return {"smiles": smiles, "add" if task == "moledit_add" else "remove": group}


def _read_optimisation(task: str, instruction: str) -> Inputs | None:
    match, direction = _OPT.fullmatch(instruction.removesuffix(".")), _direction(instruction)
    if match is None or direction is None or not looks_like_smiles(match[1]):
        return None
    return {"smiles": match[1], "direction": direction}


_READERS: Mapping[str, Callable[[str, str], Inputs | None]] = {
    "molcustom": _read_counts,
    "moledit": _read_edit,
    "molopt": _read_optimisation,
}
