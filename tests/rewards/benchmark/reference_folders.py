"""Reads the published test files and the reference prediction folders, with nothing of chemr, so that loaders cannot share a mistake."""

from __future__ import annotations

import ast
import csv
import json
import os
from pathlib import Path

from rewards.benchmark.request import BenchmarkRow

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("CHEMR_DATA", ROOT.parent / "shared/data"))
SCORES = Path(os.environ.get("CHEMR_REFERENCE_SCORES", ROOT.parent / "shared/reference-scores"))

csv.field_size_limit(1 << 30)

TASKS = {
    "chebi20_design": "text2mol",
    "chebi20_caption": "mol2text",
    "chemllmbench/name_prediction/iupac2smiles": "iupac2smiles",
    "chemllmbench/name_prediction/smiles2iupac": "smiles2iupac",
    "chemllmbench/name_prediction/smiles2formula": "smiles2formula",
    "chemllmbench/name_prediction/formula2smiles": "formula2smiles",
    "chemllmbench/property_prediction/BACE": "property_bace",
    "chemllmbench/property_prediction/BBBP": "property_bbbp",
    "chemllmbench/property_prediction/HIV": "property_hiv",
    "chemllmbench/property_prediction/Tox21": "property_tox21",
    "chemllmbench/property_prediction/ClinTox": "property_clintox",
    "chemllmbench/reaction_prediction": "forward",
    "chemllmbench/retrosynthesis": "retro",
    "chemllmbench/reagent_selection/reactant": "reactant_selection",
    "chemllmbench/reagent_selection/ligand": "ligand_selection",
    "chemllmbench/reagent_selection/solvent": "solvent_selection",
    "chemllmbench/yield_prediction/Buchwald-Hartwig": "yield_bh",
    "chemllmbench/yield_prediction/Suzuki": "yield_suzuki",
}
for _family, _kinds in {"molcustom": ("AtomNum", "BondNum", "FunctionalGroup"), "molopt": ("LogP", "MR", "QED")}.items():
    TASKS |= {f"tomg/{kind}/{style}": f"{_family}_{kind.lower()}" for kind in _kinds for style in ("mixed", "random", "hacks")}
for _kind, _task in {"AddComponent": "moledit_add", "DelComponent": "moledit_del", "SubComponent": "moledit_sub"}.items():
    TASKS |= {f"tomg/{_kind}/{style}": _task for style in ("mixed", "random", "hacks")}

_CLB = DATA / "chemllmbench"
_NAMES = {"iupac2smiles": "smiles", "formula2smiles": "smiles", "smiles2iupac": "iupac", "smiles2formula": "formula"}
_PROPERTIES = {
    "property_bace": ("BACE_test.csv", "mol", "Class"),
    "property_bbbp": ("BBBP_test.csv", "smiles", "p_np"),
    "property_hiv": ("HIV_test.csv", "smiles", "HIV_active"),
    "property_tox21": ("Tox_test.csv", "smiles", "SR-p53"),
    "property_clintox": ("ClinTox_test.csv", "smiles", "CT_TOX"),
}
_SELECTIONS = {"reactant_selection": "reagent", "ligand_selection": "ligand", "solvent_selection": "solvent"}
_ELEMENTS = {
    "carbon": "C", "oxygen": "O", "nitrogen": "N", "sulfur": "S", "fluorine": "F", "chlorine": "Cl", "bromine": "Br", "iodine": "I",
    "phosphorus": "P", "boron": "B", "silicon": "Si", "selenium": "Se", "tellurium": "Te", "arsenic": "As", "antimony": "Sb",
    "bismuth": "Bi", "polonium": "Po",
}  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predictions(path: Path) -> list[str]:
    rows = table(path)
    assert [int(row["row"]) for row in rows] == list(range(len(rows)))
    return [row["prediction"] for row in rows]


def samples_of(folder: Path) -> list[list[str]]:
    return [predictions(path) for path in sorted(folder.glob("predictions*.csv"))]


def golds(task: str) -> list[BenchmarkRow]:
    """The first 500 test rows of a task, in the fields of docs/tasks.md."""
    if task in _NAMES:
        rows = [row for row in table(_CLB / "name_prediction/llm_test.csv") if row["label"] == "test"]
        return [BenchmarkRow({}, {"answer": row[_NAMES[task]]}) for row in rows]
    if task in _PROPERTIES:
        name, column, label = _PROPERTIES[task]
        rows = table(_CLB / "property_prediction" / name)
        return [BenchmarkRow({"smiles": r[column]}, {"answer": "Yes" if float(r[label]) == 1 else "No"}) for r in rows]
    if task in _SELECTIONS:
        ranked = [ast.literal_eval(r["candidate_rank"]) for r in table(_CLB / f"reagent_selection/{_SELECTIONS[task]}_sample.csv")]
        return [BenchmarkRow({"candidates": texts}, {"answer": texts[0], "ranked": texts}) for texts in ranked]
    if task == "forward":
        return [BenchmarkRow({}, {"answer": r["product"]}) for r in table(_CLB / "reaction_prediction/uspto_test.csv")]
    if task == "retro":
        return [BenchmarkRow({}, {"answer": r["reactants_smiles"]}) for r in table(_CLB / "retro/uspto50k_retro_test.csv")]
    if task.startswith("yield_"):
        name = {"yield_bh": "BH", "yield_suzuki": "SU"}[task]
        lines = (DATA / f"rxn_yields/derived/chemllmbench_{name}_test100.tsv").read_text(encoding="utf-8").splitlines()[1:]
        return [BenchmarkRow({}, {"answer": line.split("\t")[1]}) for line in lines]
    if task in ("text2mol", "mol2text"):
        lines = (DATA / "chebi20/molt5/test.txt").read_text(encoding="utf-8").split("\n")[1:501]
        fields = [line.rstrip("\r").split("\t") for line in lines]
        column = 1 if task == "text2mol" else 2
        return [BenchmarkRow({}, {"answer": f[column].replace("\\\\", "\\") if column == 1 else f[column]}) for f in fields]
    return [BenchmarkRow(_tomg_inputs(task, row), {}) for row in table(next(_tomg_folder(task).glob("test.csv")))]


def _tomg_folder(task: str) -> Path:
    kind = next(key for key, name in TASKS.items() if name == task).split("/")[1]
    return next((DATA / "tomg_bench/benchmarks/open_generation").glob(f"*/{kind}"))


def _tomg_inputs(task: str, row: dict[str, str]) -> dict:
    if task == "molcustom_atomnum":
        return {"counts": {symbol: int(row[name]) for name, symbol in _ELEMENTS.items() if int(row[name])}}
    if task.startswith("molcustom_"):
        return {"counts": {name: int(value) for name, value in row.items() if name not in ("Instruction", "thioether") and int(value)}}
    inputs = {"smiles": row["molecule"]}
    if task.startswith("molopt_"):
        decrease = "lower" in row["Instruction"] or "decrease" in row["Instruction"]
        return inputs | {"direction": "decrease" if decrease else "increase"}
    columns = {"removed_group": "remove", "added_group": "add"}
    return inputs | {field: row[column] for column, field in columns.items() if column in row}


def novelty_molecules() -> list[str]:
    return [row["molecule"] for row in table(DATA / "tomg_bench/OpenMolIns/light/train.csv")]


def expected(folder: Path) -> dict[str, float]:
    """``scores.json`` flattened: ``raw.success_rate``, ``accuracy`` (the mean), ``accuracy.stdev``, ``accuracy.sample_3`` …"""
    document = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return flatten(document["scores"]) | flatten(document.get("not_official", {}))


def flatten(tree: dict, prefix: str = "") -> dict[str, float]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat |= {f"{prefix}{name}.{place}": item for place, item in enumerate(value)}
        else:
            flat[prefix + name] = value
    return flat
