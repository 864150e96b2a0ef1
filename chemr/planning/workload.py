"""What a step is made of: groups, samples and their lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from chemr.planning.errors import PlanError


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of answers: lognormal, cut off at a cap.

    Attributes:
        mean: tokens, before the cap.
        sigma: standard deviation of the logarithm; 0 = all alike, 0.5 moderate, 1 and above a long tail.
        cap: ``grpo.max_new_tokens``.
        between: share of the logarithm's variance that lies between prompts, the rest being within a group, in [0, 1].
    """

    mean: float
    sigma: float
    cap: int
    between: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.mean < math.inf:
            raise PlanError(f"mean length {self.mean}: should be a positive number of tokens")
        if not 0.0 <= self.sigma <= 5.0:
            raise PlanError(f"tail (sigma of log length) {self.sigma}: should be from 0 to 5")
        if self.cap < 1:
            raise PlanError(f"length cap {self.cap}: should be at least 1 token")
        if not 0.0 <= self.between <= 1.0:
            raise PlanError(f"share of variance between prompts {self.between}: should be within [0, 1]")

    @property
    def mu(self) -> float:
        return math.log(self.mean) - self.sigma**2 / 2

    @property
    def capped_mean(self) -> float:
        """E[min(L, cap)]."""
        return self._moment(1)

    @property
    def mean_of_running(self) -> float:
        """Tokens that a sample has at a random moment of its generation: E[L²] / 2E[L] (renewal theory)."""
        return self._moment(2) / (2.0 * self._moment(1))

    def _moment(self, order: int) -> float:
        if self.sigma == 0.0:
            return float(min(self.mean, self.cap)) ** order
        log_cap = math.log(self.cap)
        below = _normal_cdf((log_cap - self.mu - order * self.sigma**2) / self.sigma)
        above = 1.0 - _normal_cdf((log_cap - self.mu) / self.sigma)
        return math.exp(order * self.mu + (order * self.sigma) ** 2 / 2) * below + float(self.cap) ** order * above

    def draw(self, groups: int, samples: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Lengths [groups, samples], at least 1 and at most ``cap``, all drawn at once."""
        of_group = rng.standard_normal((groups, 1)) * math.sqrt(self.between)
        of_sample = rng.standard_normal((groups, samples)) * math.sqrt(1.0 - self.between)
        drawn = np.exp(self.mu + self.sigma * (of_group + of_sample))
        return np.clip(np.rint(drawn), 1, self.cap).astype(np.int64)

    @lru_cache(maxsize=64)  # noqa: B019 -- frozen and small
    def longest_of_group(self, samples: int) -> float:
        """Mean of the longest of a group's ``samples`` answers (2,048 seeded draws)."""
        return float(self.draw(2048, samples, np.random.default_rng(0)).max(axis=1).mean())

    @lru_cache(maxsize=64)  # noqa: B019 -- frozen and small
    def expected_longest(self, samples: int, seed: int = 0) -> float:
        """Mean of the longest of ``samples`` independent answers (4,096 draws in blocks, seeded)."""
        rng = np.random.default_rng(seed)
        quantile = rng.random(4096) ** (1.0 / samples)  # the largest of n uniform numbers
        normal = np.vectorize(_normal_quantile)(quantile)
        return float(np.minimum(np.exp(self.mu + self.sigma * normal), self.cap).mean())


def _normal_cdf(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(min(max(share, 1e-12), 1.0 - 1e-12))


@dataclass(frozen=True, slots=True)
class Workload:
    """One GRPO step, in the names of ``grpo.*``.

    Attributes:
        prompt_tokens: mean.
        trivial: share of the groups whose samples are all alike: their slots are free at once and other prompts are asked.
        reward_s: seconds of a reward process for one answer.
    """

    groups_per_step: int
    samples_per_group: int
    off_policy_steps: int
    window_fraction: float
    lengths: Lengths
    prompt_tokens: float = 256.0
    trivial: float = 0.0
    reward_s: float = 0.001

    def __post_init__(self) -> None:
        if self.samples_per_group < 1:
            raise PlanError(f"grpo.samples_per_group={self.samples_per_group}: should be at least 1")
        if not 0.0 <= self.prompt_tokens < math.inf:
            raise PlanError(f"prompt tokens {self.prompt_tokens}: should be 0 or more")
        if not 0.0 <= self.trivial < 1.0:
            raise PlanError(f"share of trivial groups {self.trivial}: should be in [0, 1); at 1 no step would ever be full")
        if not 0.0 <= self.reward_s < math.inf:
            raise PlanError(f"reward seconds {self.reward_s}: should be 0 or more")

    @property
    def trained_tokens(self) -> float:
        """Expected tokens of answers in a step."""
        return self.groups_per_step * self.samples_per_group * self.lengths.capped_mean

    @property
    def generated_groups(self) -> float:
        """Expected groups to generate for a step, with those that teach nothing."""
        return self.groups_per_step / (1.0 - self.trivial)


def trivial_share(share: float, samples: int, other: int) -> float:
    """How the share of trivial groups changes with the group's size: those of ``samples`` answers being ``share``, those of ``other``.

    Answers are right or wrong, prompts' success rates follow a Beta(a, a): then a group is trivial with 2 B(a + n, a) / B(a, a), which
    is solved for a.
    """
    if share <= 0.0 or samples == other:
        return share

    def chance(a: float, n: int) -> float:
        return math.exp(math.log(2.0) + math.lgamma(a + n) + math.lgamma(2 * a) - math.lgamma(2 * a + n) - math.lgamma(a))

    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if chance(middle, samples) > share else (low, middle)
    return min(chance(math.sqrt(low * high), other), 0.999)
