"""A scored group with its advantages: what the learner trains on, and what the curriculum learns from."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from actors.learner_worker import TrainGroup
from actors.trajectory import ScoredGroup
from learner.advantages import GroupAdvantages, group_advantages
from learner.config import GrpoConfig


@dataclass(slots=True)
class GradedGroup:
    """``rewards``: per sample; None where no reward could be computed or the behaviour log-probs are not finite."""

    scored: ScoredGroup
    rewards: tuple[float | None, ...]
    advantages: GroupAdvantages

    @property
    def uid(self) -> str:
        return self.scored.request.uid

    @property
    def task(self) -> str:
        return self.scored.request.task

    @property
    def untrainable(self) -> str:
        """Empty, or why the group carries no learning signal ("zero_variance", "too_few")."""
        return self.advantages.reason

    @property
    def trivial(self) -> bool | None:
        """Whether all rewards are equal; None when fewer than two are known."""
        return None if self.untrainable == "too_few" else self.untrainable == "zero_variance"

    @property
    def known_rewards(self) -> list[float]:
        return [reward for reward in self.rewards if reward is not None]

    @property
    def success(self) -> float | None:
        """Mean reward; None, rather than 0, when no reward is known."""
        return fmean(self.known_rewards) if self.known_rewards else None

    @property
    def abs_advantage(self) -> float:
        """Mean |advantage| of the samples trained on; 0 for an untrainable group."""
        kept = self.advantages.values[self.advantages.keep]
        return float(np.abs(kept).mean()) if kept.size else 0.0

    @property
    def trained_lengths(self) -> list[int]:
        return [length for length, kept in zip(self.scored.meta.lengths, self.advantages.keep, strict=True) if kept]

    def for_training(self) -> TrainGroup:
        """The learner's order: tokens by reference, an advantage for each sample, and which samples take part."""
        advantages = tuple(float(value) for value in np.nan_to_num(self.advantages.values))
        return TrainGroup(self.scored.tokens_ref, advantages, tuple(bool(kept) for kept in self.advantages.keep))


def grade(scored: ScoredGroup, algo: GrpoConfig) -> GradedGroup:
    """Leave failures out before the baseline is taken (a failure is not a zero), then compare within the group."""
    broken = set(scored.meta.nonfinite)
    rewards = tuple(None if index in broken else verdict.value for index, verdict in enumerate(scored.verdicts))
    return GradedGroup(scored, rewards, group_advantages(rewards, algo.advantage))
