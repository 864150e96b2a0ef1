"""What a task asks and how an answer is written down.

The wording is short plain English, because the starter's model has well under a million parameters and reads every word of it. No two
tasks share their wording, so that the task is always known from the text alone. Molecules are copied verbatim from the example.
Tasks that only the published data have are asked in ChemDFM's sense but shorter; ChemLLMBench's own questions for HIV and ClinTox show a
second column that gives the answer away, so they are not used. Yields are asked "above 70%", as published.
The completion is Chem-R's output form: ``<think>`` numbered bold steps ``</think><answer>`` answer ``</answer>``; the foundation phase
uses the answer part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chemr.data.example import Example
from rewards.answer import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

Inputs = Mapping[str, Any]


def _atom_counts(inputs: Inputs) -> str:
    """``{"O": 1, "C": 3}`` -> ``C3 O1``: carbon first, then by symbol, whatever the order of the mapping."""
    counts: Mapping[str, int] = inputs["counts"]
    symbols = sorted(counts, key=lambda symbol: (symbol != "C", symbol))
    return " ".join(f"{symbol}{counts[symbol]}" for symbol in symbols)


def _named_counts(inputs: Inputs) -> str:
    """``{"single": 3, "double": 1}`` -> ``1 double, 3 single``: by name, whatever the order of the mapping."""
    counts: Mapping[str, int] = inputs["counts"]
    return ", ".join(f"{counts[name]} {_group(name)}" for name in sorted(counts))


def _group(name: str) -> str:
    return name.replace("_", " ")  # functional groups are named as the scorers name them: benzene_ring


def numbered_candidates(candidates: list[str]) -> str:
    """``["CCO", "CCN"]`` -> ``1 CCO, 2 CCN``; the protocol of the selection task refers to these numbers."""
    return ", ".join(f"{number} {smiles}" for number, smiles in enumerate(candidates, start=1))


def _optimisation(inputs: Inputs, name: str) -> str:
    """Rows say the size in the property's unit; TOMG-Bench's tests ask for a direction alone."""
    asked = f"{inputs['direction'].capitalize()} {name} of {inputs['smiles']}"
    return f"{asked} by {inputs['by']:g}" if "by" in inputs else asked


def _reactant_selection(inputs: Inputs) -> str:
    if "reaction" in inputs:  # published rows name the roles of all components; the starter's have a product and one partner
        return _best("reactant", inputs)
    return f"Reactant to make {inputs['product']} with {inputs['given']} from {numbered_candidates(inputs['candidates'])}"


def _best(role: str, inputs: Inputs) -> str:
    candidates = numbered_candidates(inputs["candidates"])
    return f"Best {role} for the highest yield of a Suzuki reaction with {inputs['reaction']}. Answer with one of {candidates}"


_WORDING: dict[str, Callable[[Inputs], str]] = {
    "smiles2formula": lambda inputs: f"Formula of {inputs['smiles']}",
    "iupac2formula": lambda inputs: f"Formula of the compound {inputs['iupac']}",
    "iupac2smiles": lambda inputs: f"SMILES of {inputs['iupac']}",
    "smiles2iupac": lambda inputs: f"Name of {inputs['smiles']}",
    "molcustom_atomnum": lambda inputs: f"Molecule with atoms {_atom_counts(inputs)}",
    "molcustom_bondnum": lambda inputs: f"Molecule with bonds {_named_counts(inputs)}",
    "molcustom_functionalgroup": lambda inputs: f"Molecule with groups {_named_counts(inputs)}",
    "moledit_add": lambda inputs: f"Add {_group(inputs['add'])} to {inputs['smiles']}",
    "moledit_del": lambda inputs: f"Remove {_group(inputs['remove'])} from {inputs['smiles']}",
    "moledit_sub": lambda inputs: f"Replace {_group(inputs['remove'])} by {_group(inputs['add'])} in {inputs['smiles']}",
    "molopt_logp": lambda inputs: _optimisation(inputs, "logP"),
    "molopt_mr": lambda inputs: _optimisation(inputs, "refractivity"),
    "molopt_qed": lambda inputs: _optimisation(inputs, "drug-likeness (QED)"),
    "forward": lambda inputs: f"Product of {inputs['reactants']}",
    "retro": lambda inputs: f"Reactants of {inputs['product']}",
    "reactant_selection": _reactant_selection,
    "ligand_selection": lambda inputs: _best("ligand", inputs),
    "solvent_selection": lambda inputs: _best("solvent", inputs),
    "text2mol": lambda inputs: f"Molecule described as {inputs['caption']}",
    "mol2text": lambda inputs: f"Describe the molecule {inputs['smiles']}",
    "property_bace": lambda inputs: f"Does {inputs['smiles']} inhibit human beta-secretase 1 (BACE-1)? Answer Yes or No",
    "property_bbbp": lambda inputs: f"Does {inputs['smiles']} penetrate the blood-brain barrier? Answer Yes or No",
    "property_hiv": lambda inputs: f"Does {inputs['smiles']} inhibit HIV replication? Answer Yes or No",
    "property_tox21": lambda inputs: f"Is {inputs['smiles']} toxic in the p53 stress response assay (Tox21 SR-p53)? Answer Yes or No",
    "property_clintox": lambda inputs: f"Did {inputs['smiles']} fail clinical trials for toxicity? Answer Yes or No",
    "yield_bh": lambda inputs: f"Is the yield of the Buchwald-Hartwig reaction {inputs['reaction']} above 70%? Answer Yes or No",
    "yield_suzuki": lambda inputs: f"Is the yield of the Suzuki reaction {inputs['reaction']} above 70%? Answer Yes or No",
}


def prompted_tasks() -> tuple[str, ...]:
    """The tasks that have a wording here."""
    return tuple(_WORDING)


def render_prompt(example: Example) -> str:
    """The user's text for ``example``.

    Raises:
        ValueError: there is no wording for its task, or its inputs lack a field that the wording shows.
    """
    wording = _WORDING.get(example.task)
    if wording is None:
        raise ValueError(f"example {example.uid}: no prompt wording for task {example.task!r}; known tasks: {', '.join(_WORDING)}")
    try:
        return wording(example.inputs)
    except KeyError as missing:
        raise ValueError(
            f"example {example.uid}: inputs of task {example.task!r} lack the field {missing}; they have {sorted(example.inputs)}"
        ) from missing


def messages(example: Example) -> list[dict[str, str]]:
    """The conversation so far, in the form every chat template takes."""
    return [{"role": "user", "content": render_prompt(example)}]


def completion_direct(example: Example) -> str:
    """The gold answer without any reasoning: what the foundation phase trains on."""
    return ANSWER_OPEN + _without_tags(example.reference["answer"], "answer") + ANSWER_CLOSE


def completion_with_trace(trace: str, answer: str) -> str:
    """A reasoned completion. ``trace`` and ``answer`` must be free of the four tags, else the text could not be read back (ValueError)."""
    return THINK_OPEN + _without_tags(trace, "trace") + THINK_CLOSE + ANSWER_OPEN + _without_tags(answer, "answer") + ANSWER_CLOSE


def _without_tags(text: str, what: str) -> str:
    for tag in TAGS:
        if tag in text:
            raise ValueError(f"the {what} {text[:80]!r} contains {tag}; tags belong around it, not in it")
    return text
