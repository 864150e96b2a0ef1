"""The loss of one GRPO update: per-token arrays of the whole step, and their share in a micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learner.batch import Document
from learner.config import Correction, GrpoConfig, Kl
from learner.corrections import (
    DIFFERENCE_EDGES,
    correction_weights,
    difference_histogram,
    difference_quantile,
    effective_sample_share,
    mismatch_sums,
)
from learner.losses import kl_penalty, policy_loss
from learner.step import MicroBatch, Step, token_advantages, token_behaviour, token_weights

MASKS = (Correction.icepop, Correction.geometric)  # the corrections that leave tokens out


class GrpoUpdate:
    """The per-token arrays of one update and the loss over a slice of them."""

    SUMS = ("loss", "entropy", "clipped", "masked", "live", "w", "w2", "k3", "difference", "kl")
    NUMBERS = len(SUMS) + len(DIFFERENCE_EDGES) + 1  # and the histogram of differences

    def __init__(
        self, documents: Sequence[Document], step: Step, grpo: GrpoConfig, old_A: Tensor | None, reference_A: Tensor | None,
        device: torch.device,
    ) -> None:  # fmt: skip
        """``old_A``: log-probs of the policy at the start of the step; None: those of the forward pass itself. ``reference_A``: with KL.

        Raises:
            ValueError: the correction needs behaviour log-probs, and they are missing.
        """
        self.grpo = grpo
        self.advantage_A = torch.from_numpy(token_advantages(documents, step.lengths_C)).to(device)
        self.weight_A = torch.from_numpy(token_weights(step.lengths_C, grpo.aggregation, grpo.constant_length)).to(device)
        behaviour_A = token_behaviour(documents)
        if behaviour_A is None and grpo.correction != Correction.none:
            raise ValueError(
                f"grpo.correction = {grpo.correction} needs behaviour log-probs on every completion; give them or set it to none"
            )
        self.behaviour_A = None if behaviour_A is None else torch.from_numpy(behaviour_A).to(device)
        self.old_A = self.behaviour_A if grpo.correction == Correction.bypass else old_A
        self.reference_A = reference_A

    def micro_loss(self, micro: MicroBatch, new_N: Tensor, entropy_N: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted loss of a micro-batch and its contribution to the totals."""
        token_A = micro.token_A
        segment_N, segments = micro.packed.segment_N, micro.packed.completions
        current_N = new_N.detach()
        old_N = current_N if self.old_A is None else self.old_A[token_A]
        weight_N = self.weight_A[token_A]
        advantage_N = self.advantage_A[token_A]
        result = policy_loss(new_N, old_N, advantage_N, segment_N, segments, self.grpo)
        loss_N = result.loss_N
        kept_N = torch.ones_like(current_N)
        mismatch = new_N.new_zeros(4, dtype=torch.float64)
        histogram = new_N.new_zeros(len(DIFFERENCE_EDGES) + 1, dtype=torch.float64)
        if self.behaviour_A is not None:
            start_N = current_N if self.grpo.correction == Correction.bypass else old_N
            log_ratio_N = start_N - self.behaviour_A[token_A]
            kept_N = correction_weights(log_ratio_N, segment_N, segments, self.grpo)
            loss_N = loss_N * kept_N
            mismatch, histogram = mismatch_sums(log_ratio_N), difference_histogram(log_ratio_N)
        divergence = new_N.new_zeros(())
        if self.reference_A is not None:
            penalty_N = kl_penalty(new_N, self.reference_A[token_A], self.grpo.kl)
            loss_N = loss_N + self.grpo.kl_coef * penalty_N
            divergence = penalty_N.detach().sum()
        loss = (loss_N * weight_N).sum()
        counts = [result.clipped_N.sum(), (kept_N == 0).sum(), ((kept_N != 0) & (advantage_N != 0)).sum()]
        plain = torch.stack([value.double() for value in (loss.detach(), entropy_N.sum(), *counts)])
        return loss, torch.cat([plain, mismatch, divergence.double()[None], histogram])

    def teaches_nothing(self, totals: Sequence[float]) -> bool:
        """Whether the totals over all micro-batches and ranks say that no token has a gradient: all are masked, or have no advantage."""
        return self.reference_A is None and totals[self.SUMS.index("live")] == 0

    @staticmethod
    def metrics(totals: Any, tokens: int, updates: int, has_behaviour: bool, grpo: GrpoConfig) -> dict[str, float]:
        """What the totals over all micro-batches, ranks and updates mean. Nothing is reported that was not measured."""
        loss, entropy, clipped, masked, _, w, w2, k3, difference, kl = (float(value) for value in totals[: len(GrpoUpdate.SUMS)])
        metrics = {"train/loss": loss / updates, "train/entropy": entropy / tokens}
        if updates > 1 or grpo.correction == Correction.bypass:  # else every ratio is 1 and there is nothing to clip
            metrics["train/clip_fraction"] = clipped / tokens
        if has_behaviour:
            metrics["train/ess"] = effective_sample_share(w, w2, tokens)
            metrics["train/mismatch_kl"] = k3 / tokens
            metrics["train/mismatch_mean"] = difference / tokens
            metrics["train/mismatch_p99"] = difference_quantile(totals[len(GrpoUpdate.SUMS) :], 0.99)
        if has_behaviour and grpo.correction in MASKS:
            metrics["train/masked_fraction"] = masked / tokens
        if grpo.kl != Kl.none:
            metrics["train/kl"] = kl / tokens
        return metrics
