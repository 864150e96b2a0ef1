"""Sequence parallelism: several ranks compute one micro-batch, each a part of its rows.

DeepSpeed-Ulysses (arXiv:2309.14509): everything but attention works on rows alone, so a rank has T / P of them; around attention an
all-to-all exchanges "some rows of all heads" for "all rows of some heads", and back. Attention then sees the whole row, so packing, shared
prefixes and their blocks stay as they are; DeepSpeed's own Ulysses wants one plain causal sequence per row instead.

All P ranks end with the log-probs of all targets. Each has a gradient for its own rows only: summed over the ranks they are the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.batch import PackedBatch
from learner.rank_group import RankGroup


@dataclass(frozen=True, slots=True)
class RowShare:
    """This rank's rows of a micro-batch of ``rows``: ``each`` of them on every rank, of which the last may hold padding."""

    group: RankGroup
    rows: int

    @property
    def each(self) -> int:
        return -(-self.rows // self.group.size)

    @property
    def first(self) -> int:
        return self.group.rank * self.each

    def own(self, values_1T: Tensor) -> Tensor:
        """int64 [1, T] -> [1, each]; padding is 0."""
        padded = torch.nn.functional.pad(values_1T, (0, self.each * self.group.size - self.rows))
        return padded[:, self.first : self.first + self.each]

    def own_targets(self, batch: PackedBatch) -> Tensor:
        """int64 [n], the targets that are predicted from this rank's rows."""
        return torch.nonzero((batch.source_N >= self.first) & (batch.source_N < self.first + self.each)).flatten()

    def all_rows(self, own: Tensor) -> Tensor:
        """[1, H, each, D] -> [1, H / P, T, D]."""
        heads, width = own.shape[1], own.shape[3]
        parts = own[0].reshape(self.group.size, heads // self.group.size, self.each, width)
        received = exchange(parts, self.group)  # [from which rank, H / P, its rows, D]
        return received.transpose(0, 1).reshape(1, heads // self.group.size, -1, width)[:, :, : self.rows]

    def all_heads(self, output_T: Tensor) -> Tensor:
        """[T, H / P, D] -> [each, H, D]."""
        padded = torch.nn.functional.pad(output_T, (0, 0, 0, 0, 0, self.each * self.group.size - self.rows))
        received = exchange(padded.view(self.group.size, self.each, *output_T.shape[1:]), self.group)  # [from which rank, each, H / P, D]
        return received.transpose(0, 1).reshape(self.each, -1, output_T.shape[2])


class _Exchange(torch.autograd.Function):
    """Part p of the first axis goes to rank p; its own inverse, so the gradient travels by the same exchange."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: RankGroup) -> Tensor:
        ctx.group = group
        return _all_to_all(parts, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(gradients[0], ctx.group), None


def exchange(parts: Tensor, group: RankGroup) -> Tensor:
    """[P, ...] -> [P, ...]: what every rank has for this one. Differentiable; a collective of the group."""
    received: Tensor = _Exchange.apply(parts, group)
    return received


def _all_to_all(parts: Tensor, group: RankGroup) -> Tensor:
    received = torch.empty_like(parts, memory_format=torch.contiguous_format)
    torch.distributed.all_to_all_single(received, parts.contiguous(), group=group.process_group)
    return received


class _Spread(torch.autograd.Function):
    """Values of all ranks' targets, from each rank's own; the gradient of a rank's own values is its part of the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, place: Tensor, count: int, group: RankGroup) -> Tensor:
        ctx.save_for_backward(place)
        value_N = own.new_zeros(count)
        value_N[place] = own
        torch.distributed.all_reduce(value_N, group=group.process_group)
        return value_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (place,) = ctx.saved_tensors
        return gradients[0][place], None, None, None


def spread(values: Sequence[Tensor], place: Tensor, count: int, group: RankGroup) -> tuple[Tensor, ...]:
    """Float [n] of this rank's targets -> [N] of all targets, for each of ``values``; ``place``: int64 [n]. A collective of the group."""
    return tuple(_Spread.apply(own, place, count, group) for own in values)
