"""From a verdict to the reward that GRPO trains on: terms, their weights per task, and how a group's terms become advantages.

Without shaping (the default) that reward is the verdict's value. Only advantages are shaped: held-out evaluation, the curriculum's success
and harvested traces go by the verdict itself. A verdict that failed has no term at all; it leaves its group as ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np

from actors.completion_traits import FORMAT, REPETITION, CompletionTraits
from learner.advantages import STD_EPSILON, GroupAdvantages, group_advantages
from learner.config import Advantage
from rewards.verdict import Reason, Verdict

SAME = 1e-9  # advantages of unit scale that differ by less are rounding
_WITHOUT_ANSWER = frozenset({Reason.NO_ANSWER, Reason.BAD_FORMAT, Reason.TOO_LONG})


class Mix(StrEnum):
    """How the terms of a sample become one advantage."""

    sum = "sum"  # the weighted sum of the terms is the reward, compared within the group as grpo.algo.advantage says
    gdpo = "gdpo"  # each term is normalised within the group, then weighted and summed, then normalised over the step's samples


@dataclass
class TermWeights:
    """Weights of the terms of a task's reward; 0 leaves a term out.

    Attributes:
        exact: 1 for a verdict of full value, else 0.
        partial: the verdict's value, in [0, 1].
        format: 1 for exactly ``<think>…</think><answer>…</answer>``, else 0.
        grounded: 1 − the share of claimed functional groups that no molecule of row and answer has; 0 without an answer.
        length_penalty: 0, from ``length_margin`` tokens before the length cap on falling linearly to −1 at the cap.
        repetition_penalty: −(share of n-grams of tokens that occurred before), in (−1, 0].
    """

    exact: float = 0.0
    partial: float = 1.0
    format: float = 0.0
    grounded: float = 0.0
    length_penalty: float = 0.0
    repetition_penalty: float = 0.0

    def weighed(self) -> dict[str, float]:
        """The terms that count, in a fixed order."""
        return {name: weight for name, weight in vars(self).items() if weight}


REWARDING = ("exact", "partial", "format", "grounded")  # the other terms only take away
TERMS = tuple(term.name for term in fields(TermWeights))


@dataclass
class ShapingConfig:
    """Reward shaping of GRPO (docs/rewards.md).

    Attributes:
        default: weights of every task that is not in ``tasks``.
        tasks: weights of single tasks, instead of ``default`` as a whole: a weight that is not named is TermWeights' own default there.
        mix: see :class:`Mix`.
        length_margin: tokens before grpo.max_new_tokens where the length penalty begins; null = there is no such penalty.
        repetition_ngram: tokens of an n-gram of the repetition penalty.
    """

    default: TermWeights = field(default_factory=TermWeights)
    tasks: dict[str, TermWeights] = field(default_factory=dict)
    mix: Mix = Mix.sum
    length_margin: int | None = None
    repetition_ngram: int = 4

    def weights(self, task: str) -> TermWeights:
        return self.tasks.get(task, self.default)

    @property
    def active(self) -> bool:
        """Whether anything differs from training on verdict values."""
        plain = TermWeights()
        return self.mix is not Mix.sum or any(weights != plain for weights in self._all())

    def weighs(self, term: str) -> bool:
        """Whether the term counts for any task."""
        return any(getattr(weights, term) for weights in self._all())

    def traits(self) -> CompletionTraits:
        """What the reward workers have to say of each completion."""
        return CompletionTraits(self.weighs("format"), self.repetition_ngram if self.weighs("repetition_penalty") else 0)

    def validate(self) -> None:
        """Raises ValueError naming the field, its value and the remedy."""
        for name, weights in {"default": self.default, **{f"tasks.{task}": weights for task, weights in self.tasks.items()}}.items():
            for term, weight in vars(weights).items():
                if not (math.isfinite(weight) and weight >= 0.0):
                    raise ValueError(
                        f"grpo.shaping.{name}.{term}={weight} must be 0 (left out) or more; penalties are negative by themselves"
                    )
            if not any(getattr(weights, term) for term in REWARDING):
                raise ValueError(f"grpo.shaping.{name} rewards nothing: give one of {', '.join(REWARDING)} a weight above 0")
        ngram = self.repetition_ngram
        if ngram < 1:
            raise ValueError(f"grpo.shaping.repetition_ngram={ngram}: an n-gram has at least 1 token")
        if ngram != ShapingConfig.repetition_ngram and not self.weighs("repetition_penalty"):
            raise ValueError(f"grpo.shaping.repetition_ngram={ngram} has no effect: repetition_penalty has no weight; give it one")
        if self.weighs("length_penalty") and self.length_margin is None:
            raise ValueError("grpo.shaping.length_margin=null, but length_penalty has a weight: say how many tokens before the cap")
        if self.length_margin is not None and not self.weighs("length_penalty"):
            raise ValueError(
                f"grpo.shaping.length_margin={self.length_margin} has no effect: length_penalty has no weight; give it one, or set null"
            )
        if self.length_margin is not None and self.length_margin < 1:
            raise ValueError(f"grpo.shaping.length_margin={self.length_margin} must be at least 1 token")

    def _all(self) -> list[TermWeights]:
        return [self.default, *self.tasks.values()]


@dataclass(frozen=True, slots=True)
class ShapedRewards:
    """A group's terms.

    Attributes:
        weights: by term, those that count.
        terms: by term, a number per sample; None where no reward is known.
        totals: per sample the weighted sum of its terms; None where no reward is known.
    """

    weights: Mapping[str, float]
    terms: Mapping[str, tuple[float | None, ...]]
    totals: tuple[float | None, ...]

    def advantages(self, mix: Mix, kind: Advantage) -> GroupAdvantages:
        """The group's advantages; of ``gdpo`` those before the normalisation over the step."""
        if mix is Mix.gdpo:
            return decoupled_advantages(self.weights, self.terms)
        return group_advantages(self.totals, kind)


def shape(
    rewards: Sequence[float | None], verdicts: Sequence[Verdict], lengths: Sequence[int], longest: int, task: str, config: ShapingConfig
) -> ShapedRewards:
    """The terms of a group's samples.

    Args:
        rewards: values of the verdicts; None for those, and for samples that must not be trained on for another reason.
        lengths: generated tokens of each sample, the end token included.
        longest: cap of that.

    Raises:
        ValueError: a verdict lacks what a weighed term is made of: the reward workers were not asked for it.
    """
    weights = config.weights(task).weighed()
    samples = list(zip(rewards, verdicts, lengths, strict=True))
    terms = {
        name: tuple(None if reward is None else _term(name, verdict, length, longest, config) for reward, verdict, length in samples)
        for name in weights
    }
    return ShapedRewards(weights, terms, tuple(_total(weights, terms, index) for index in range(len(samples))))


def overlong_penalty(length: int, longest: int, margin: int) -> float:
    """Soft overlong punishment, in [−1, 0]: DAPO (arXiv:2503.14476), equation 13, with L_max = longest and L_cache = margin."""
    start = longest - margin
    if length <= start:
        return 0.0
    return max(-1.0, (start - length) / margin)


def decoupled_advantages(weights: Mapping[str, float], terms: Mapping[str, Sequence[float | None]]) -> GroupAdvantages:
    """GDPO (arXiv:2601.05242, section 3) within a group: A_i = Σ_k w_k (r_ki − mean_k) / (std_k + 1e-6).

    Mean and (biased) std of term k are over the group's known samples; a term that is alike for all of them contributes 0.
    """
    by_term = {name: group_advantages(terms[name], Advantage.mean_std) for name in weights}
    telling = {name: one for name, one in by_term.items() if not one.reason}
    if not telling:
        return next(iter(by_term.values()))
    keep = next(iter(telling.values())).keep
    total_G = np.sum([weights[name] * one.values for name, one in telling.items()], axis=0)
    if np.ptp(total_G[keep]) < SAME:  # the terms cancel each other
        return GroupAdvantages(np.full(len(keep), np.nan), np.zeros(len(keep), dtype=np.bool_), "zero_variance")
    return GroupAdvantages(total_G, keep, "")


def normalised_over_step(groups: Iterable[GroupAdvantages]) -> list[GroupAdvantages]:
    """GDPO's last step: (A − mean) / (std + 1e-6) over all samples of the step's groups, so that the scale of an update does not grow with
    the number of terms. ``keep`` and ``reason`` stay."""
    groups = list(groups)
    kept = np.concatenate([group.values[group.keep] for group in groups]) if groups else np.empty(0)
    if not kept.size:
        return groups
    centre, scale = kept.mean(), kept.std() + STD_EPSILON
    return [GroupAdvantages((group.values - centre) / scale, group.keep, group.reason) for group in groups]


def _total(weights: Mapping[str, float], terms: Mapping[str, Sequence[float | None]], index: int) -> float | None:
    total = 0.0
    for name, weight in weights.items():
        term = terms[name][index]
        if term is None:
            return None
        total += weight * term
    return total


def _term(name: str, verdict: Verdict, length: int, longest: int, config: ShapingConfig) -> float:
    assert verdict.value is not None, "terms are taken of known rewards only"
    match name:
        case "exact":
            return float(verdict.value >= 1.0)
        case "partial":
            return verdict.value
        case "format":
            return _part(verdict, FORMAT)
        case "grounded":
            # Nothing claimed, or no molecule to hold a claim against: silence costs nothing, as with rewards.grounding.
            return 0.0 if verdict.reason in _WITHOUT_ANSWER else 1.0 - verdict.parts.get("fabricated", 0.0)
        case "length_penalty":
            assert config.length_margin is not None, "validate() asks for it"
            return overlong_penalty(length, longest, config.length_margin)
        case "repetition_penalty":
            return 0.0 - _part(verdict, REPETITION)
        case _:
            raise ValueError(f"there is no reward term {name!r}; there are {', '.join(TERMS)}")


def _part(verdict: Verdict, name: str) -> float:
    try:
        return verdict.parts[name]
    except KeyError:
        raise ValueError(
            f"a verdict lacks {name!r}, which grpo.shaping weighs; its parts: {sorted(verdict.parts)}. The reward workers were started "
            "without it (RewardActors.traits)"
        ) from None
