"""The second pass over decontaminated rows: finds what the first should have removed, by its own reading of every molecule.

It shares the loaders with :mod:`chemr.data.decontamination`, and nothing else: fields are found in its own way, molecules are split as text
before RDKit sees them, and stereo is taken off the molecule instead of being left out of its SMILES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rdkit import Chem

from chemr.data.example import Example
from chemr.data.sources.suites import SUITES, test_rows

_SMALL = 6
_REACTION_TABLES = ("yield_bh", "yield_suzuki", "reactant_selection", "ligand_selection", "solvent_selection")


class LeakAudit:
    """Counts training rows that speak of a test row's molecule, reaction or text."""

    def __init__(self) -> None:
        self._molecules: dict[str, set[str]] = {}
        self._texts: dict[str, set[str]] = {}
        self.left: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], str] = {}
        self.checked = 0

    @classmethod
    def of_all_suites(cls, data_dir: Path) -> LeakAudit:
        audit = cls()
        for suite, tasks in SUITES.items():
            for task in tasks:
                for example in test_rows(suite, task, data_dir):
                    audit.expect(suite, example)
        return audit

    def expect(self, suite: str, example: Example) -> None:
        """Takes note of a test row."""
        if example.task not in _REACTION_TABLES:
            for molecule in _molecules(example):
                self._molecules.setdefault(molecule, set()).add(suite)
        for text in _texts(example):
            self._texts.setdefault(text, set()).add(suite)

    def check(self, source: str, example: Example) -> bool:
        """Whether a training row is clean; if not it is counted in ``left`` by (source, suite)."""
        self.checked += 1
        suites: set[str] = set()
        for molecule in _molecules(example):
            suites |= self._molecules.get(molecule, set())
        for text in _texts(example):
            suites |= self._texts.get(text, set())
        for suite in suites:
            self.left[source, suite] += 1
            self.first.setdefault((source, suite), example.uid)
        return not suites


def _molecules(example: Example) -> Iterator[str]:
    inputs, answer = example.inputs, example.reference.get("answer", "")
    task = example.task
    if task == "forward":
        smiles = [answer]
    elif task == "retro":
        smiles = [inputs["product"]]
    elif task.startswith("yield_"):
        smiles = [inputs["reaction"].split(">>")[1]]
    elif task in _REACTION_TABLES:
        smiles = []
    else:
        smiles = [inputs.get("smiles", ""), example.reference.get("smiles", "")]
        if task in ("iupac2smiles", "text2mol") or task.startswith(("molcustom", "moledit", "molopt")):
            smiles.append(answer)
    for text in filter(None, smiles):
        parts = [_without_stereo(part) for part in text.split(".")]
        named = {name: size for name, size, _ in parts}
        chosen = {name for name, size, organic in parts if organic and size >= _SMALL} if len(named) > 1 else set(named)
        yield from chosen or {name for name, size in named.items() if size == max(named.values())}


@lru_cache(maxsize=1 << 19)
def _without_stereo(part: str) -> tuple[str, int, bool]:
    """Name, heavy atoms and whether there is carbon; an unreadable part is its own name."""
    mol = Chem.MolFromSmiles(part)
    if mol is None or not part:
        return part, len(part), True
    Chem.RemoveStereochemistry(mol)
    if "[" in part:  # only bracket atoms have isotopes and maps; a labelled hydrogen is folded in once it is an ordinary one
        for atom in mol.GetAtoms():
            atom.SetIsotope(0)
            atom.SetAtomMapNum(0)
        mol = Chem.RemoveHs(mol)
    return Chem.MolToSmiles(mol), mol.GetNumHeavyAtoms(), any(atom.GetSymbol() == "C" for atom in mol.GetAtoms())


def _texts(example: Example) -> Iterator[str]:
    inputs, answer = example.inputs, example.reference.get("answer", "")
    if example.task in _REACTION_TABLES:
        parts = inputs["reaction"].replace(">>", ".>>.").replace("~", "-").replace(", ", ".").split(".")
        named = sorted(_without_stereo(part.split(" ")[-1])[0] for part in parts)
        candidates = sorted(".".join(sorted(_without_stereo(part)[0] for part in one.split("."))) for one in inputs.get("candidates", ()))
        yield " ".join([example.task.split("_")[1], *named, "|", *candidates])
    if "iupac" in inputs or example.task == "smiles2iupac":
        yield "name " + "".join((inputs.get("iupac") or answer).lower().split())
    if "caption" in inputs or example.task == "mol2text":
        yield "caption " + "".join((inputs.get("caption") or answer).lower().split())
    if "counts" in inputs:
        asked = {**inputs["counts"], **inputs.get("not_scored", {})}
        yield example.task + " " + " ".join(f"{name}={count}" for name, count in sorted(asked.items()))
