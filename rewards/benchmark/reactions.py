"""Reaction prediction and retrosynthesis (ChemLLMBench and its public re-implementation)."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.benchmark.figures import Figure
from rewards.benchmark.request import Evaluation, share


def forward(evaluation: Evaluation) -> list[Figure]:
    """Right when the gold, as it is written, is one of the dot-separated parts of the canonical answer.

    So several guesses joined by dots count as right, and a gold of several components never can. Ours: all components equal.
    """
    golds = evaluation.golds()
    evaluation.child.prepare("molecule_jobs.canonical", {"text": "C"})
    facts = evaluation.facts("molecule_jobs.canonical", lambda row, text: {"text": text})
    accuracy = tuple(
        share([fact is not None and gold in fact["smiles"].split(".") for fact, gold in zip(sample, golds, strict=True)])
        for sample in facts
    )
    return [Figure("accuracy", accuracy), *_exact(evaluation, facts)]


def retro(evaluation: Evaluation) -> list[Figure]:
    """The published code compares with the first character of the gold (``gt[0]``); the line beside it has ``gt``. Ours: see ``_exact``."""
    golds = evaluation.golds()

    def equal(wanted: Sequence[str]) -> tuple[float, ...]:
        return tuple(
            share([sorted(text.split(".")) == sorted(gold.split(".")) for text, gold in zip(texts, wanted, strict=True)])
            for texts in evaluation.samples
        )

    evaluation.child.prepare("molecule_jobs.canonical", {"text": "C"})
    facts = evaluation.facts("molecule_jobs.canonical", lambda row, text: {"text": text})
    evaluation.notes.append("accuracy: the published code compares with gt[0], the first character of the gold string")
    return [
        Figure("accuracy", equal([gold[:1] for gold in golds])),
        Figure("accuracy_with_gt_in_place_of_gt[0]", equal(golds), published=False),
        *_exact(evaluation, facts),
    ]


def _exact(evaluation: Evaluation, facts: Sequence[Sequence[dict[str, str] | None]]) -> list[Figure]:
    """``top_1``: canonical components equal, as the literature on USPTO counts. ``top_k``: any of the first k samples is right."""
    golds = evaluation.gold_facts("molecule_jobs.canonical", lambda row: {"text": row.gold()})
    right = [[fact is not None and _parts(fact) == _parts(gold) for fact, gold in zip(sample, golds, strict=True)] for sample in facts]
    figures = [
        Figure("top_1", tuple(share(flags) for flags in right), published=False),
        Figure("validity", tuple(share([fact is not None for fact in sample]) for sample in facts), published=False),
    ]
    if len(right) > 1:
        evaluation.notes.append("top_k: a row is right when any of its first k samples is, in the order of the files")
        evaluation.details |= {
            f"top_{k}_of_samples": share([any(row) for row in zip(*right[:k], strict=True)]) for k in range(2, len(right) + 1)
        }
    return figures


def _parts(fact: dict[str, str]) -> list[str]:
    return sorted(fact["smiles"].split("."))
