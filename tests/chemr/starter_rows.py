"""What the tests of the starter data share: a small build, and every molecule that a row mentions."""

from __future__ import annotations

from collections.abc import Mapping

from chemr.data.example import Example
from chemr.data.starter.config import StarterConfig

SMALL = StarterConfig(max_heavy_atoms=7, train_per_task=150, validation_per_task=8, test_per_task=16)

_MOLECULE_FIELDS = ("smiles", "reactants", "product", "given")
_ANSWERS_WITHOUT_MOLECULE = ("smiles2formula", "iupac2formula", "smiles2iupac")


def molecules_of(example: Example, smiles_of_name: Mapping[str, str]) -> list[str]:
    """SMILES of all molecules in a row's question, candidates and answer, names resolved, mixtures taken apart."""
    texts = [example.inputs[field] for field in _MOLECULE_FIELDS if field in example.inputs]
    texts += example.inputs.get("candidates", [])
    if "iupac" in example.inputs:
        texts.append(smiles_of_name[example.inputs["iupac"]])
    if example.task not in _ANSWERS_WITHOUT_MOLECULE:
        texts.append(example.reference["answer"])
    return [part for text in texts for part in text.split(".")]
