"""Interval estimates for held-out scores: percentile bootstrap over prompts, because samples of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000


def bootstrap_mean(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean (Efron & Tibshirani 1993, §13.3).

    Args:
        values: shape [n], one number per prompt.
        seed: of the resampling.

    Returns:
        (low, high). Both equal the mean for n = 1.

    Raises:
        ValueError: no values.
    """
    return bootstrap_stratified([values], seed)


def bootstrap_stratified(strata: Sequence[npt.NDArray[np.float64]], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the unweighted mean of the strata's means, resampling within each stratum (a task is a stratum).

    Raises:
        ValueError: a stratum is empty.
    """
    if not strata or any(values.size == 0 for values in strata):
        raise ValueError("an interval needs at least one prompt in every task")
    generator = np.random.default_rng(seed)
    resampled = [values[generator.integers(0, values.size, size=(RESAMPLES, values.size))].mean(axis=1) for values in strata]
    low, high = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975])
    return float(low), float(high)


def paired_difference(
    after: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]], seed: int = 0
) -> tuple[float, float, float]:
    """By how much the unweighted mean over tasks changed, with its paired, stratified 95 % interval: (difference, low, high).

    Args:
        after, before: task -> prompt uid -> value. Compared are the prompts that both hold.

    Raises:
        ValueError: a task of ``after`` has no prompt in common with ``before``, so the difference cannot be paired.
    """
    strata = []
    for task, values in sorted(after.items()):
        shared = sorted(values.keys() & before.get(task, {}).keys())
        if not shared:
            raise ValueError(f"the two evaluations have no prompt in common for task {task!r}, so their difference cannot be paired")
        strata.append(np.array([values[uid] - before[task][uid] for uid in shared]))
    low, high = bootstrap_stratified(strata, seed)
    return float(np.mean([differences.mean() for differences in strata])), low, high
