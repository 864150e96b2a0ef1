"""Ranks that work on the same micro-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class RankGroup:
    """Consecutive ranks that compute each micro-batch together (sequence_parallel.py, tensor_parallel.py): this one's place among them,
    their number, and torch's process group (None when alone)."""

    rank: int = 0
    size: int = 1
    process_group: Any = None

    @classmethod
    def join(cls, setting: str, rank: int, world_size: int, size: int) -> RankGroup:
        """Collective over all ranks. Neighbours form a group, so that it stays on one machine.

        Raises:
            ValueError: ``size``, the value of ``setting``, does not divide the number of ranks.
        """
        if world_size % size:
            raise ValueError(f"{setting} = {size} must divide the number of learner ranks, {world_size} (pool.learners)")
        if size == 1:
            return cls()
        groups = [torch.distributed.new_group(list(range(first, first + size))) for first in range(0, world_size, size)]
        return cls(rank % size, size, groups[rank // size])

    def check_deals_out(self, setting: str, **counts: int) -> None:
        """Raises ValueError if the model's ``counts`` of something cannot be dealt out evenly over the ranks of the group."""
        if any(count % self.size for count in counts.values()):
            named = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
            raise ValueError(f"{setting} = {self.size} must divide each of the model's {named}")
