"""``benchmark_figures``: all figures of a task for a model's predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rewards.benchmark import captions, design, names, reactions, selection, tomg, yes_no
from rewards.benchmark.child import Child
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import BenchmarkReport, Figure
from rewards.benchmark.request import BenchmarkRow, BenchmarkSettings, Evaluation

_Rule = Callable[[Evaluation], Sequence[Figure]]

_CHEMLLMBENCH = "ChemFoundationModels/ChemLLMBench @ b8cfb59fe1bc"
_REIMPLEMENTED = "onlyairnopods/ChemLLMBench-Reimplementation @ e6b303c5155f"
_MOLT5 = "blender-nlp/MolT5 evaluation/ @ 754f9bffa4a6"
_TOMG = "phenixace/TOMG-Bench @ 692f6b1ca185 (raw, corrected), phenixace/S2-TOMG-Bench @ df70b90de6ef (s2_*)"

_NOTEBOOK = f"{_CHEMLLMBENCH} Name_Prediction.ipynb"
_RULES: Mapping[str, tuple[_Rule, str]] = {
    **dict.fromkeys(("iupac2smiles", "formula2smiles"), (names.as_molecules, _NOTEBOOK)),
    **dict.fromkeys(("smiles2iupac", "smiles2formula", "iupac2formula"), (names.as_text, _NOTEBOOK)),
    **dict.fromkeys(
        ("property_bace", "property_bbbp", "property_hiv", "property_tox21", "property_clintox"),
        (yes_no.properties, f"{_REIMPLEMENTED} eval/property_prediction.py"),
    ),
    **dict.fromkeys(("yield_bh", "yield_suzuki"), (yes_no.yields, f"{_REIMPLEMENTED} eval/reaction_level_prediction.py")),
    **dict.fromkeys(
        ("reactant_selection", "ligand_selection", "solvent_selection"),
        (selection.choices, f"{_REIMPLEMENTED} eval/reaction_level_prediction.py"),
    ),
    "forward": (reactions.forward, f"{_CHEMLLMBENCH} Reaction_Prediction.ipynb"),
    "retro": (reactions.retro, f"{_REIMPLEMENTED} eval/reaction_level_prediction.py"),
    "text2mol": (design.design, f"{_MOLT5} mol_translation_metrics.py, fingerprint_metrics.py, fcd_metric.py"),
    "mol2text": (captions.captions, f"{_MOLT5} text_translation_metrics.py"),
    **dict.fromkeys(
        (
            *("molcustom_atomnum", "molcustom_bondnum", "molcustom_functionalgroup"),
            *("moledit_add", "moledit_del", "moledit_sub", "molopt_logp", "molopt_mr", "molopt_qed"),
        ),
        (tomg.open_generation, _TOMG),
    ),
}

BENCHMARK_TASKS: tuple[str, ...] = tuple(sorted(_RULES))
"""The tasks with published rules: the 27 of docs/tasks.md, and ChemLLMBench's ``formula2smiles``, which nobody trains."""


def benchmark_figures(
    task: str, rows: Sequence[BenchmarkRow], samples: Sequence[Sequence[str]], settings: BenchmarkSettings | None = None
) -> BenchmarkReport:
    """Every published figure of ``task``, and beside a faulty one the figure without the fault.

    Args:
        rows: the test rows, in the order of the file.
        samples: one or more sequences of predictions, each as long as ``rows``; the text as the published code would get it. ChemLLMBench
            draws five samples and reports their mean.
        settings: limits, and the folders and molecules some figures need.

    Raises:
        BenchmarkInputError: no such task, no rows, a sample of another length, or a test row that is itself unusable.
        BenchmarkChildError: the evaluating process cannot be started.
    """
    if task not in _RULES:
        raise BenchmarkInputError(f"no published rules for the task {task!r}; there are some for {', '.join(BENCHMARK_TASKS)}")
    if not rows or not samples:
        raise BenchmarkInputError(f"{task}: {len(rows)} rows and {len(samples)} samples; at least one of each is needed")
    for number, texts in enumerate(samples, start=1):
        if len(texts) != len(rows):
            raise BenchmarkInputError(f"{task}: sample {number} has {len(texts)} predictions for {len(rows)} rows")
        if not all(isinstance(text, str) for text in texts):
            raise BenchmarkInputError(f"{task}: sample {number} has predictions that are not text")
    settings = settings or BenchmarkSettings()
    rule, code = _RULES[task]
    with Child(settings.deadline_s, settings.memory_bytes) as child:
        evaluation = Evaluation(task, rows, samples, settings, child)
        figures = rule(evaluation)
    return BenchmarkReport(task, len(rows), len(samples), code, figures, evaluation.notes, evaluation.unscored, evaluation.details)
