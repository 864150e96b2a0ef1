"""Reagent selection (re-implementation of ChemLLMBench, reagents_selection)."""

from __future__ import annotations

from collections.abc import Callable

from rewards.benchmark.child import JobFailure
from rewards.benchmark.errors import BenchmarkInputError
from rewards.benchmark.figures import Figure
from rewards.benchmark.request import BenchmarkRow, Evaluation, share


def choices(evaluation: Evaluation) -> list[Figure]:
    """Reactant and solvent: equal to the best candidate. Ligand: one of the better half, ``ranked[:int(n / 2)]``.

    The answer is canonicalised and the candidates are not, so a candidate that is not written canonically can never be chosen. Ours:
    both canonical, and top-1 of the ligands.
    """
    half = evaluation.task == "ligand_selection"
    evaluation.child.prepare("molecule_jobs.canonical", {"text": "C"})
    facts = evaluation.facts("molecule_jobs.canonical", lambda row, text: {"text": text})
    answers = [[None if fact is None else fact["smiles"] for fact in sample] for sample in facts]
    ranked = [_ranked(row, half) for row in evaluation.rows]
    canonical_of: dict[str, str] = {}
    for text in {text for texts in ranked for text in texts}:
        fact = evaluation.child.run("molecule_jobs.canonical", {"text": text})
        canonical_of[text] = text if fact is None or isinstance(fact, JobFailure) else fact["smiles"]
    clean = [[canonical_of[text] for text in texts] for texts in ranked]

    def rate(rankings: list[list[str]], top: Callable[[list[str]], list[str]]) -> tuple[float, ...]:
        return tuple(share([answer in top(texts) for answer, texts in zip(sample, rankings, strict=True)]) for sample in answers)

    def rule(texts: list[str]) -> list[str]:
        return texts[: int(len(texts) * 0.5)] if half else texts[:1]

    figures = [Figure("accuracy", rate(ranked, rule)), Figure("accuracy_candidates_canonical", rate(clean, rule), published=False)]
    if half:
        figures.append(Figure("top_1_candidates_canonical", rate(clean, lambda texts: texts[:1]), published=False))
    return figures


def _ranked(row: BenchmarkRow, needed: bool) -> list[str]:
    ranked = row.reference.get("ranked")
    if ranked:
        return list(ranked)
    if needed:
        raise BenchmarkInputError(
            f"ligand selection needs reference['ranked'], the candidates from best to worst; found {dict(row.reference)}"
        )
    return [row.gold()]
