"""From success estimates to the share of the prompts that each task gets. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from chemr.curriculum.config import CurriculumConfig, Weighting
from chemr.curriculum.estimates import TaskEstimate


def task_weights(
    estimates: Mapping[str, TaskEstimate],
    config: CurriculumConfig,
    floors: Mapping[str, float] | None = None,
    locked: Collection[str] = (),
) -> dict[str, float]:
    """Sampling probabilities of the tasks (DESIGN §4); they sum to 1, and only ``locked`` tasks have 0.

    Args:
        floors: smallest *unnormalised* weights of single tasks, in place of ``config.floor``.
        locked: tasks that are not sampled yet; at least one must not be.
    """
    floors = floors or {}
    raw: dict[str, float] = {}
    for task, estimate in estimates.items():
        if task not in locked:
            raw[task] = _raw_weight(estimate, config, floors.get(task, config.floor))
    shares = _within_bounds(raw, config) if config.floors or config.caps else _normalised(raw)
    return {task: shares.get(task, 0.0) for task in estimates}


def _raw_weight(estimate: TaskEstimate, config: CurriculumConfig, floor: float) -> float:
    p = min(1.0, max(0.0, estimate.success))
    match config.weighting:
        case Weighting.uniform:
            return 1.0
        case Weighting.difficulty:
            return max(floor, (1.0 - p) ** config.alpha)
        case Weighting.variance:
            return max(floor, 4.0 * p * (1.0 - p))
        case Weighting.advantage:
            return math.exp(min(50.0, estimate.abs_advantage / config.temperature))


def _normalised(raw: Mapping[str, float]) -> dict[str, float]:
    total = sum(raw.values())
    return {task: weight / total for task, weight in raw.items()}


def _within_bounds(raw: Mapping[str, float], config: CurriculumConfig) -> dict[str, float]:
    floors = {task: share for task, share in config.floors.items() if task in raw}
    caps = {task: share for task, share in config.caps.items() if task in raw}
    return bounded_shares(raw, floors, caps)


def bounded_shares(weights: Mapping[str, float], floors: Mapping[str, float], caps: Mapping[str, float]) -> dict[str, float]:
    """The distribution nearest to ``weights`` in which every share lies between its floor (0) and its cap (1).

    It is ``s_k = min(cap_k, max(floor_k, λ·w_k))`` with the λ at which the shares sum to 1 (water-filling), which among all such
    distributions has the least KL(s ‖ w): its Karush-Kuhn-Tucker conditions say just that. Tasks that no bound touches keep their ratios.

    Args:
        weights: positive, of any sum.

    Raises:
        ValueError: no distribution is within the bounds.
    """
    low = {task: floors.get(task, 0.0) for task in weights}
    high = {task: caps.get(task, 1.0) for task in weights}
    slack = 1e-9
    if sum(low.values()) > 1.0 + slack or sum(high.values()) < 1.0 - slack or any(low[task] > high[task] for task in weights):
        raise ValueError(f"no shares lie within floors {dict(floors)} and caps {dict(caps)} and sum to 1")

    def shares(level: float) -> dict[str, float]:
        return {task: min(high[task], max(low[task], level * weight)) for task, weight in weights.items()}

    # The sum of the shares grows with the level, and straight between the levels at which a task meets a bound: find the piece, solve it.
    levels = sorted({bound[task] / weight for task, weight in weights.items() for bound in (low, high)})
    below, above = 0.0, levels[-1]
    for level in levels:
        if sum(shares(level).values()) > 1.0:
            above = level
            break
        below = level
    middle = shares((below + above) / 2.0)
    free = {task: weight for task, weight in weights.items() if low[task] < middle[task] < high[task]}
    if not free:
        return middle
    rest = 1.0 - sum(share for task, share in middle.items() if task not in free)
    total = sum(free.values())
    return {task: rest * free[task] / total if task in free else share for task, share in middle.items()}


def effective_tasks(weights: Mapping[str, float]) -> float:
    """Inverse Simpson index 1 / Σ w²: n for uniform weights over n tasks, 1 when one task takes all."""
    return 1.0 / sum(weight * weight for weight in weights.values())


def entropy(weights: Mapping[str, float]) -> float:
    """Shannon entropy of the weights in nats."""
    return -sum(weight * math.log(weight) for weight in weights.values() if weight > 0)
