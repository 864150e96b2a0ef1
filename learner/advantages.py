"""Group-relative advantages. Pure NumPy: no learner is needed to compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learner.config import Advantage

STD_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """Attributes:
    values: float64 [G]; NaN where ``keep`` is False.
    keep: bool [G]; the samples to train on. All False for a group that teaches nothing.
    reason: "" for a group to train on, else why not: "too_few" (fewer than two rewards are known) or "zero_variance".
    """

    values: npt.NDArray[np.float64]
    keep: npt.NDArray[np.bool_]
    reason: str


def group_advantages(rewards: Sequence[float | None], kind: Advantage = Advantage.mean) -> GroupAdvantages:
    """Advantages of the samples of one prompt.

    * ``mean``: r_i - mean(r), Dr. GRPO (arXiv:2503.20783, section 3.2).
    * ``mean_std``: (r_i - mean(r)) / (std(r) + 1e-6) with the biased std, GRPO (arXiv:2402.03300).
    * ``rloo``: r_i - mean of the others' rewards, = G / (G - 1) * ``mean`` (arXiv:2402.14740).

    A reward of ``None`` (it could not be computed) leaves the group before the baseline is taken.

    Raises:
        ValueError: a reward is NaN or infinite; such a value must come as ``None``.
    """
    known = np.array([reward is not None for reward in rewards], dtype=np.bool_)
    reward_G = np.array([np.nan if reward is None else reward for reward in rewards], dtype=np.float64)
    if not np.isfinite(reward_G[known]).all():
        raise ValueError(f"rewards {list(rewards)} hold a non-finite number; a reward that could not be computed must be None")
    nothing = GroupAdvantages(np.full(len(rewards), np.nan), np.zeros(len(rewards), dtype=np.bool_), "")
    count = int(known.sum())
    if count < 2:
        return GroupAdvantages(nothing.values, nothing.keep, "too_few")
    kept = reward_G[known]
    if np.ptp(kept) == 0.0:
        return GroupAdvantages(nothing.values, nothing.keep, "zero_variance")
    centred_G = reward_G - kept.mean()
    if kind == Advantage.mean_std:
        centred_G = centred_G / (kept.std() + STD_EPSILON)
    elif kind == Advantage.rloo:
        centred_G = centred_G * (count / (count - 1))
    return GroupAdvantages(centred_G, known, "")
