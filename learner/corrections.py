"""Off-policy correction: weights for tokens that an older or numerically different policy has sampled.

The objective is decoupled (arXiv:2110.00641): the clip acts on new / old, and the weight below carries old / behaviour. Axis ``N``: the
generated tokens of a micro-batch; every function takes ``log_ratio_N`` = old - behaviour, float32 without gradient.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learner.config import Correction, GrpoConfig
from learner.losses import LOG_RATIO_LIMIT, segment_mean


def correction_weights(log_ratio_N: Tensor, segment_N: Tensor, segments: int, config: GrpoConfig) -> Tensor:
    """Weights [N] of ``config.correction``, to be multiplied with the token losses.

    * ``tis``: min(exp(log_ratio), cap), truncated importance sampling ("Your efficient RL framework secretly brings you off-policy RL
      training", Yao et al. 2025).
    * ``icepop``: exp(log_ratio) inside [low, high], 0 outside ("Every step evolves", arXiv:2510.18855).
    * ``geometric``: 1 for a sequence whose geometric-mean ratio is inside [low, high], else 0 for all its tokens ("When speed kills
      stability", Liu et al. 2025).
    * ``none``, ``bypass``: 1 (bypass has put the behaviour policy in the place of old, so that the clip acts on it).
    """
    if config.correction == Correction.tis:
        return torch.exp(log_ratio_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)).clamp_(max=config.tis_cap)
    if config.correction == Correction.icepop:
        ratio_N = torch.exp(log_ratio_N.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        inside_N = (ratio_N >= config.icepop_low) & (ratio_N <= config.icepop_high)
        return torch.where(inside_N, ratio_N, torch.zeros_like(ratio_N))
    if config.correction == Correction.geometric:
        ratio_C = torch.exp(segment_mean(log_ratio_N, segment_N, segments).clamp_(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        inside_C = (ratio_C >= config.geometric_low) & (ratio_C <= config.geometric_high)
        return inside_C.to(log_ratio_N.dtype)[segment_N]
    return torch.ones_like(log_ratio_N)


# Of |old - behaviour|, nats: 16 a decade from 1e-7 (fp32 rounding) to 10, so a quantile is known to 15 %.
DIFFERENCE_EDGES = np.logspace(-7, 1, 129)


def mismatch_sums(log_ratio_N: Tensor) -> Tensor:
    """[sum w, sum w^2, sum k3, sum |log w|] with w = exp(log_ratio), float64 [4]: adds up over micro-batches and ranks.

    The effective sample size as a share is (sum w)^2 / (N sum w^2) (Kish). k3 = w - 1 - log w estimates KL(behaviour || old), since
    the tokens come from the behaviour policy.
    """
    log_ratio_N = log_ratio_N.double().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    weight_N = torch.exp(log_ratio_N)
    return torch.stack([weight_N.sum(), weight_N.square().sum(), (weight_N - 1.0 - log_ratio_N).sum(), log_ratio_N.abs().sum()])


def difference_histogram(log_ratio_N: Tensor) -> Tensor:
    """How many |log_ratio| lie below each of DIFFERENCE_EDGES and not below the one before; the last counts all above. float64 [130]."""
    edges = torch.from_numpy(DIFFERENCE_EDGES).to(log_ratio_N.device)
    place_N = torch.bucketize(log_ratio_N.double().abs(), edges, right=True)
    return torch.bincount(place_N, minlength=len(DIFFERENCE_EDGES) + 1).double()


def difference_quantile(histogram: npt.NDArray[np.float64], share: float) -> float:
    """An upper bound, at most 16 % too high, of the ``share`` quantile of what :func:`difference_histogram` has counted; inf above 10."""
    place = int(np.searchsorted(np.cumsum(histogram), share * histogram.sum()))
    return float(DIFFERENCE_EDGES[place]) if place < len(DIFFERENCE_EDGES) else float("inf")


def effective_sample_share(sum_w: float, sum_w2: float, count: int) -> float:
    """(sum w)^2 / (N sum w^2), in (0, 1]; 1 when all weights are equal."""
    return sum_w * sum_w / (count * sum_w2)
