"""Interval estimates for held-out scores: percentile bootstrap over prompts, because samples of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Sequence

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


def paired_difference(after: dict[str, float], before: dict[str, float], seed: int = 0) -> tuple[float, float, float]:
    """Mean difference over the prompts both evaluations hold, with its paired bootstrap interval: (difference, low, high).

    Raises:
        ValueError: the two evaluations share no prompt.
    """
    shared = sorted(after.keys() & before.keys())
    if not shared:
        raise ValueError("the two evaluations have no prompt in common, so their difference cannot be paired")
    differences = np.array([after[uid] - before[uid] for uid in shared])
    low, high = bootstrap_mean(differences, seed)
    return float(differences.mean()), low, high
