"""Name prediction (ChemLLMBench, Name_Prediction.ipynb)."""

from __future__ import annotations

from rewards.benchmark.figures import Figure
from rewards.benchmark.request import Evaluation, share


def as_molecules(evaluation: Evaluation) -> list[Figure]:
    """Answers that are SMILES: canonical text of the answer against canonical text of the gold.

    Ours beside it: the same without stereo marks (the golds have none, the names do), and the valid share.
    """
    evaluation.child.prepare("molecule_jobs.canonical", {"text": "C"})
    golds = evaluation.gold_facts("molecule_jobs.canonical", lambda row: {"text": row.gold()})
    facts = evaluation.facts("molecule_jobs.canonical", lambda row, text: {"text": text})

    def equal(key: str) -> tuple[float, ...]:
        return tuple(
            share([fact is not None and fact[key] == gold[key] for fact, gold in zip(sample, golds, strict=True)]) for sample in facts
        )

    return [
        Figure("accuracy", equal("smiles")),
        Figure("accuracy_without_stereo", equal("flat"), published=False),
        Figure("validity", tuple(share([fact is not None for fact in sample]) for sample in facts), published=False),
    ]


def as_text(evaluation: Evaluation) -> list[Figure]:
    """Names and formulas: equal strings, nothing stripped, case counts. Ours beside it: without blanks at the ends."""
    golds = evaluation.golds()
    raw = tuple(share([text == gold for text, gold in zip(texts, golds, strict=True)]) for texts in evaluation.samples)
    bare = tuple(share([text.strip() == gold.strip() for text, gold in zip(texts, golds, strict=True)]) for texts in evaluation.samples)
    return [Figure("accuracy", raw), Figure("accuracy_stripped", bare, published=False)]
