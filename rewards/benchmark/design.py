"""Text-based molecule design (MolT5 evaluation/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.benchmark.child import Child, JobFailure
from rewards.benchmark.figures import Figure
from rewards.benchmark.request import Evaluation, share

FCD_LIMIT = 350
"""Characters; ``fcd`` 1.2.2 pads all SMILES of a list to the longest as soon as one has as many, and that rescales the whole list."""

_CORPUS_DEADLINE_S = 600.0
_FCD_MEMORY_BYTES = 24 << 30  # address space: torch reserves far more than it uses


def design(evaluation: Evaluation) -> list[Figure]:
    """BLEU of characters, exact match by InChI, Levenshtein, validity by two scripts, three fingerprints over valid rows, FCD twice."""
    golds = evaluation.golds()
    evaluation.child.prepare("molecule_jobs.prepare", {})
    evaluation.child.prepare("text_jobs.prepare", {"vocabulary": None, "wordnet": None})
    facts = evaluation.facts("molecule_jobs.design", lambda row, text: {"gold": row.gold(), "text": text})
    rows = len(golds)
    figures = [
        Figure("bleu", tuple(_bleu(evaluation, golds, texts) for texts in evaluation.samples)),
        Figure("exact_match", tuple(share([fact is not None and fact["exact"] for fact in sample]) for sample in facts)),
        Figure(
            "levenshtein",
            tuple(
                sum(max(len(text), len(gold)) if fact is None else fact["distance"] for fact, text, gold in zip(s, t, golds, strict=True))
                / rows
                for s, t in zip(facts, evaluation.samples, strict=True)
            ),
        ),
        Figure("validity_mol_translation", tuple(share([fact is not None and fact["translated"] for fact in sample]) for sample in facts)),
        Figure("validity_fingerprint", tuple(share([fact is not None and "maccs" in fact for fact in sample]) for sample in facts)),
    ]
    for name in ("maccs", "rdk", "morgan"):
        figures.append(Figure(name, tuple(_mean([fact[name] for fact in sample if fact and name in fact]) for sample in facts)))
    if not evaluation.settings.fcd:
        evaluation.notes.append("fcd: left out on request")
        return figures
    return figures + _fcd(evaluation, facts)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _bleu(evaluation: Evaluation, golds: Sequence[str], texts: Sequence[str]) -> float | None:
    argument = {"golds": list(map(list, golds)), "texts": list(map(list, texts)), "orders": [4]}
    value = evaluation.child.run("text_jobs.corpus_bleu", argument, _CORPUS_DEADLINE_S)
    if isinstance(value, JobFailure):
        evaluation.notes.append(f"bleu: {value.reason}, {value.note}")
        return None
    return float(value[0])


def _fcd(evaluation: Evaluation, facts: Sequence[Sequence[dict[str, Any] | None]]) -> list[Figure]:
    official: list[float | None] = []
    below: list[float | None] = []
    counts = []
    with Child(_CORPUS_DEADLINE_S, _FCD_MEMORY_BYTES) as child:
        for sample, texts in zip(facts, evaluation.samples, strict=True):
            # An empty output becomes "[]", which is not valid, before fcd canonicalises.
            new = [f["canonical"] for f, text in zip(sample, texts, strict=True) if f and text and f["canonical"] is not None]
            gold = [f["gold"] for f in _gold_facts(evaluation, sample)]
            short_gold, short_new = ([text for text in part if len(text) < FCD_LIMIT] for part in (gold, new))
            official.append(_distance(evaluation, child, "fcd", gold, new))
            same = len(short_gold) == len(gold) and len(short_new) == len(new)
            below.append(official[-1] if same else _distance(evaluation, child, "fcd below 350", short_gold, short_new))
            longest = {"gold": max(map(len, gold), default=0), "predictions": max(map(len, new), default=0)}
            counts.append(({"gold": len(gold) - len(short_gold), "predictions": len(new) - len(short_new)}, longest))
    names = ("smiles_of_350_or_more_characters", "longest")
    for place, name in enumerate(names):
        evaluation.details[name] = counts[0][place] if len(counts) == 1 else [count[place] for count in counts]
    evaluation.notes.append("fcd: depends on the longest SMILES of either list; compare it only with values of the same version of fcd")
    return [
        Figure("fcd", tuple(official)),
        Figure("fcd_only_smiles_below_350_characters_in_both_lists", tuple(below), published=False),
    ]


def _gold_facts(evaluation: Evaluation, sample: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Facts with the gold's canonical form, also for rows whose prediction could not be evaluated."""
    facts: list[dict[str, Any]] = []
    for row, fact in zip(evaluation.rows, sample, strict=True):
        if fact is None:
            gold = evaluation.child.run("molecule_jobs.canonical", {"text": row.gold()})
            fact = {"gold": gold["smiles"] if isinstance(gold, dict) else None}
        if fact["gold"] is not None:
            facts.append(fact)
    return facts


def _distance(evaluation: Evaluation, child: Child, name: str, gold: list[str], new: list[str]) -> float | None:
    value = child.run("fcd_jobs.distance", {"gold": gold, "new": new})
    if isinstance(value, JobFailure):
        evaluation.notes.append(f"{name}: {value.reason}, {value.note}")
        return None
    return float(value)
