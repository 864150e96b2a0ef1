"""What a candidate of a selection is worth before the reaction is read: its mean standing over training rows.

One phosphine is in the better half of seven rankings in eight, so a choice that never reads the reaction would earn well. The scorer
takes this prior off (:mod:`rewards.scorers.selection`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from chemr.class_balance import balanced_class
from chemr.data.example import Example
from chemr.data.row_keys import SELECTION_TASKS
from rewards.grading import standing

Priors = Mapping[tuple[str, tuple[str, ...]], Mapping[str, float]]
"""By task and sorted candidates: the mean :func:`rewards.grading.standing` of each candidate, in [0, 1]."""


def selection_priors(rows: Iterable[Example]) -> Priors:
    """The priors of all ranked selection rows.

    Each right answer counts alike, however many rows have it, for so they are drawn in training (:mod:`chemr.class_balance`).
    """
    by_class: dict[tuple[str, tuple[str, ...]], dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.task in SELECTION_TASKS and row.reference.get("ranked"):
            by_class[_key(row)][balanced_class(row) or ""].append(row)
    return {key: _mean_standings(classes.values()) for key, classes in by_class.items()}


def with_prior(row: Example, priors: Priors) -> Example:
    """The row with ``reference["prior"]``, one number a candidate; as it is, where no training row has the same candidates."""
    known = priors.get(_key(row)) if row.task in SELECTION_TASKS and row.reference.get("ranked") else None
    if known is None:
        return row
    return replace(row, reference={**row.reference, "prior": [known[candidate] for candidate in row.inputs["candidates"]]})


def _key(row: Example) -> tuple[str, tuple[str, ...]]:
    return row.task, tuple(sorted(row.inputs["candidates"]))


def _mean_standings(classes: Iterable[list[Example]]) -> dict[str, float]:
    means: list[dict[str, float]] = []
    for rows in classes:
        total: dict[str, float] = defaultdict(float)
        for row in rows:
            ranked = row.reference["ranked"]
            for rank, candidate in enumerate(ranked):
                total[candidate] += standing(rank, len(ranked))
        means.append({candidate: value / len(rows) for candidate, value in total.items()})
    return {candidate: round(sum(mean[candidate] for mean in means) / len(means), 4) for candidate in means[0]}
