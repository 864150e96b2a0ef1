"""Policy-gradient losses per token, as pure functions of log-probabilities.

Axis ``N``: the generated tokens of a micro-batch. ``new`` carries the gradient; ``old`` and everything else is constant. Aggregation is not
done here: the caller multiplies with weights that sum to 1 over the *global* batch, which is what makes the result independent of layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learner.config import GrpoConfig, Kl, Loss

LOG_RATIO_LIMIT = 20.0  # exp(20) = 4.9e8: far beyond any clip, and still finite in fp32


@dataclass(slots=True)
class TokenLoss:
    """``loss_N``: to be minimised, float32. ``clipped_N``: bool, tokens whose gradient the clip has cut."""

    loss_N: Tensor
    clipped_N: Tensor


def policy_loss(new_N: Tensor, old_N: Tensor, advantage_N: Tensor, segment_N: Tensor, segments: int, config: GrpoConfig) -> TokenLoss:
    """The loss of ``config.loss`` (before off-policy correction and KL).

    Args:
        new_N, old_N: log-probabilities of the taken tokens under the policy being trained and under the one at the start of the step.
        advantage_N: advantage of the token's sample.
        segment_N: int64, which of the ``segments`` completions of this micro-batch the token belongs to.
    """
    if config.loss == Loss.gspo:
        ratio_N = sequence_ratio(new_N, old_N, segment_N, segments)
        return clipped_surrogate(ratio_N, advantage_N, config.clip_low, config.clip_high, None)
    ratio_N = torch.exp(torch.clamp(new_N - old_N, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    if config.loss == Loss.cispo:
        return cispo(ratio_N, new_N, advantage_N, config.clip_low, config.clip_high)
    return clipped_surrogate(ratio_N, advantage_N, config.clip_low, config.clip_high, config.dual_clip)


def clipped_surrogate(ratio_N: Tensor, advantage_N: Tensor, clip_low: float, clip_high: float, dual_clip: float | None) -> TokenLoss:
    """max(-A rho, -A clip(rho, 1 - low, 1 + high)); for A < 0 at most -A c with a dual clip c.

    PPO (arXiv:1707.06347, eq. 7) with the decoupled range of DAPO's clip-higher (arXiv:2503.14476, eq. 10) and the dual clip of
    arXiv:1912.09729, eq. 5.
    """
    free_N = -advantage_N * ratio_N
    bound_N = -advantage_N * torch.clamp(ratio_N, 1.0 - clip_low, 1.0 + clip_high)
    loss_N = torch.maximum(free_N, bound_N)
    clipped_N = bound_N > free_N
    if dual_clip is not None:
        ceiling_N = -advantage_N * dual_clip
        over_N = (advantage_N < 0) & (loss_N > ceiling_N)
        loss_N = torch.where(over_N, ceiling_N, loss_N)
        clipped_N = clipped_N | over_N
    return TokenLoss(loss_N, clipped_N.detach())


def cispo(ratio_N: Tensor, new_N: Tensor, advantage_N: Tensor, clip_low: float, clip_high: float) -> TokenLoss:
    """-sg(clip(rho, 1 - low, 1 + high)) A log pi: no token loses its gradient (MiniMax-M1, arXiv:2506.13585, section 3.1)."""
    ratio_N = ratio_N.detach()
    weight_N = torch.clamp(ratio_N, 1.0 - clip_low, 1.0 + clip_high)
    return TokenLoss(-weight_N * advantage_N * new_N, weight_N != ratio_N)


def sequence_ratio(new_N: Tensor, old_N: Tensor, segment_N: Tensor, segments: int) -> Tensor:
    """GSPO-token's ratio (arXiv:2507.18071, eq. 14): its value is the sequence's geometric-mean ratio, its gradient the token's own."""
    mean_C = segment_mean((new_N - old_N).detach(), segment_N, segments)
    value_N = torch.exp(torch.clamp(mean_C, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))[segment_N]
    return value_N * torch.exp(new_N - new_N.detach())


def segment_mean(value_N: Tensor, segment_N: Tensor, segments: int) -> Tensor:
    """Mean over the tokens of each completion, [segments]; 0 for a completion without tokens."""
    total_C = value_N.new_zeros(segments).index_add_(0, segment_N, value_N)
    count_C = value_N.new_zeros(segments).index_add_(0, segment_N, torch.ones_like(value_N))
    return total_C / count_C.clamp_(min=1.0)


def kl_penalty(new_N: Tensor, reference_N: Tensor, kind: Kl) -> Tensor:
    """Estimate of KL(policy || reference) per token (estimators: J. Schulman, "Approximating KL divergence", 2020), d = new - reference.

    * k1: d. Its own gradient has mean zero, so it enters as it would in the reward: value d, gradient d * grad(new), which is the
      true gradient of the reverse KL on policy (arXiv:2506.09477).
    * k2: d^2 / 2. The same gradient as k1; always >= 0.
    * k3: exp(-d) - 1 + d. Always >= 0; the choice of GRPO (arXiv:2402.03300, eq. 4).

    Raises:
        ValueError: ``kind`` is none.
    """
    difference_N = new_N - reference_N
    if kind == Kl.k1:
        return difference_N.detach() * torch.exp(new_N - new_N.detach())
    if kind == Kl.k2:
        return 0.5 * difference_N.square()
    if kind == Kl.k3:
        clamped_N = torch.clamp(difference_N, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        return torch.exp(-clamped_N) - 1.0 + clamped_N
    raise ValueError("kl = none has no estimator: do not ask for a penalty")
