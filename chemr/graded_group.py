"""A scored group with its advantages: what the learner trains on, and what the curriculum learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from actors.learner_worker import TrainGroup
from actors.trajectory import ScoredGroup
from chemr.reward_shaping import Mix, ShapedRewards, ShapingConfig, normalised_over_step, shape
from learner.advantages import GroupAdvantages, group_advantages
from learner.config import GrpoConfig


@dataclass(slots=True)
class GradedGroup:
    """A scored group, compared.

    Attributes:
        rewards: values of the verdicts; None where no reward could be computed or the behaviour log-probs are not finite.
        advantages: of the shaped rewards, where grpo.shaping says anything.
        shaped: the terms of the shaped rewards; None without shaping.
    """

    scored: ScoredGroup
    rewards: tuple[float | None, ...]
    advantages: GroupAdvantages
    shaped: ShapedRewards | None = None

    @property
    def uid(self) -> str:
        return self.scored.request.uid

    @property
    def task(self) -> str:
        return self.scored.request.task

    @property
    def blind(self) -> dict[str, float]:
        """Question-blind policy -> what its answer earns on this row, whatever the shaping; without those whose reward is not known."""
        answered = zip(self.scored.request.blind, self.scored.blind, strict=True)
        return {policy: verdict.value for policy, verdict in answered if verdict.value is not None}

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
        """Mean value of the verdicts, whatever the shaping; None, rather than 0, when no reward is known."""
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


def grade(scored: ScoredGroup, algo: GrpoConfig, shaping: ShapingConfig | None = None) -> GradedGroup:
    """Leave failures out before the baseline is taken (a failure is not a zero), then compare within the group."""
    broken = set(scored.meta.nonfinite)
    rewards = tuple(None if index in broken else verdict.value for index, verdict in enumerate(scored.verdicts))
    if shaping is None or not shaping.active:
        return GradedGroup(scored, rewards, group_advantages(rewards, algo.advantage))
    request = scored.request
    shaped = shape(rewards, scored.verdicts, scored.meta.lengths, request.sampling.max_new_tokens, request.task, shaping)
    return GradedGroup(scored, rewards, shaped.advantages(shaping.mix, algo.advantage), shaped)


def orders_of_step(groups: Sequence[GradedGroup], shaping: ShapingConfig) -> list[TrainGroup]:
    """What the learner is to train on in one step; with ``gdpo``, advantages are normalised over the step."""
    if shaping.mix is Mix.gdpo:
        normalised = normalised_over_step(group.advantages for group in groups)
        groups = [replace(group, advantages=advantages) for group, advantages in zip(groups, normalised, strict=True)]
    return [group.for_training() for group in groups]
