"""ChemDFM's question-and-answer lines, for evaluation only: the four name tasks, and the scaffold test sets of four property tables.

Traps handled: ``clintox.jsonl`` holds two questions for each molecule; only ``clintox-tox`` is ours (the other, FDA approval, is counted as
skipped, but decontamination sees the same molecules). The other files repeat ChemLLMBench's tests, which are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from chemr.data.example import Example
from chemr.data.sources.reading import RowLog, json_lines
from chemr.data.sources.smiles_text import difficulty, heavy_atoms, looks_like_smiles

LICENCE = "Apache-2.0"
CHEMDFM_FILES: Mapping[str, tuple[str, str]] = {
    "iupac2smiles": ("MoleculeRecognition/iupac_to_smiles.jsonl", "iupac_to_smiles"),
    "smiles2iupac": ("MoleculeRecognition/smiles_to_iupac.jsonl", "smiles_to_iupac"),
    "smiles2formula": ("MoleculeRecognition/smiles_to_molecular_formula.jsonl", "smiles_to_molecular_formula"),
    "iupac2formula": ("MoleculeRecognition/iupac_to_molecular_formula.jsonl", "iupac_to_molecular_formula"),
    "property_bace": ("MolecularPropertyPrediction/bace.jsonl", "bace"),
    "property_bbbp": ("MolecularPropertyPrediction/bbbp.jsonl", "bbbp"),
    "property_hiv": ("MolecularPropertyPrediction/hiv.jsonl", "hiv"),
    "property_clintox": ("MolecularPropertyPrediction/clintox.jsonl", "clintox-tox"),
}
_OTHER_QUESTIONS = {"property_clintox": "clintox-FDA"}
_PATTERNS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "iupac2smiles": ("iupac", re.compile(r"Please give the canonical SMILES of (.+)\.")),
    "smiles2iupac": ("smiles", re.compile(r"Please give the IUPAC name of the molecule given by SMILES: (\S+)\.")),
    "smiles2formula": ("smiles", re.compile(r"Please tell me the molecular formula .* given by SMILES\. The molecule is (\S+)\.")),
    "iupac2formula": ("iupac", re.compile(r"Please tell me the molecular formula .* given by IUPAC\. The molecule is (.+)\.")),
}
_PROPERTY_PATTERN = ("smiles", re.compile(r".*SMILES: (\S+)\n[^\n]*:", re.DOTALL))


def chemdfm_rows(path: Path, task: str, prefix: str, log: RowLog) -> Iterator[Example]:
    """Rows of one file; the uid's row is the 0-based line."""
    field, pattern = _PATTERNS.get(task, _PROPERTY_PATTERN)
    wanted = CHEMDFM_FILES[task][1]
    for item in json_lines(path, log):
        question, answer, name = (item.get(key) for key in ("question", "answer", "task_name"))
        if name == _OTHER_QUESTIONS.get(task, ""):
            log.skip(f"asks {name}")
            continue
        if name != wanted:
            log.reject("another task", str(name), wanted)
            continue
        match = pattern.fullmatch(question.strip()) if isinstance(question, str) else None
        if match is None or (field == "smiles" and not looks_like_smiles(match[1])):
            log.reject("question not understood", str(question), f"a question of {wanted}")
        elif not isinstance(answer, str) or not answer or (task.startswith("property_") and answer not in ("Yes", "No")):
            log.reject("unusable answer", str(answer), "Yes or No" if task.startswith("property_") else "a text")
        else:
            size = difficulty(match[1]) if field == "smiles" else min(1.0, heavy_atoms(answer) / 60 if task == "iupac2smiles" else 0.5)
            yield Example(f"{prefix}/{task}/{log.row}", task, {field: match[1]}, {"answer": answer}, size, "ChemDFM", LICENCE)
