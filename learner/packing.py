"""Which documents are computed together: pure functions of lengths.

The plan is a function of the whole step's lengths, so every rank derives the same one without talking to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Plan = list[list[list[int]]]  # [rank][micro-batch] -> indices of documents


def plan_micro_batches(token_counts: Sequence[int], dp: int, budget: int) -> Plan:
    """Shares documents out over ``dp`` ranks in micro-batches of at most ``budget`` tokens.

    Every rank gets the same number of micro-batches (ZeRO's collectives run once per micro-batch), sizes are balanced over the ranks of
    each round, and documents of similar length meet. A document above the budget has a micro-batch to itself. Where there are fewer
    documents than ranks in a round, some micro-batches are empty.

    Raises:
        ValueError: a count, ``dp`` or ``budget`` is below 1.
    """
    if dp < 1 or budget < 1:
        raise ValueError(f"dp = {dp} ranks and a budget of {budget} tokens cannot be planned for: both must be at least 1")
    if any(count < 1 for count in token_counts):
        raise ValueError("every document must have at least one token")
    if not token_counts:
        return [[] for _ in range(dp)]
    order = sorted(range(len(token_counts)), key=lambda index: (-token_counts[index], index))
    rounds = max(1, -(-sum(token_counts) // (dp * budget)))
    while True:
        plan = _deal(order, token_counts, dp, rounds)
        fits = all(len(batch) <= 1 or sum(token_counts[index] for index in batch) <= budget for rank in plan for batch in rank)
        if fits:
            return plan
        rounds += 1


def _deal(order: Sequence[int], token_counts: Sequence[int], dp: int, rounds: int) -> Plan:
    """Cuts the sorted documents into ``rounds`` runs of about equal tokens and deals each run out, largest first, to the emptiest rank."""
    plan: Plan = [[[] for _ in range(rounds)] for _ in range(dp)]
    remaining = sum(token_counts)
    position = 0
    for turn in range(rounds):
        target = remaining / (rounds - turn)
        load = [0] * dp
        taken = 0
        while position < len(order) and (turn == rounds - 1 or taken == 0 or taken + token_counts[order[position]] / 2 <= target):
            index = order[position]
            rank = load.index(min(load))
            plan[rank][turn].append(index)
            load[rank] += token_counts[index]
            taken += token_counts[index]
            position += 1
        remaining -= taken
    return plan


def packing_efficiency(plan: Plan, token_counts: Sequence[int], budget: int) -> float:
    """Tokens over (ranks x micro-batches x the largest micro-batch, or the budget if that is less): 1 when every forward pass is full."""
    sizes = [sum(token_counts[index] for index in batch) for rank in plan for batch in rank]
    return sum(sizes) / (len(sizes) * max(*sizes, min(budget, max(sizes)))) if sizes and max(sizes) > 0 else 0.0


def length_buckets(lengths: npt.NDArray[np.int64], waste: float = 0.15) -> list[npt.NDArray[np.int64]]:
    """Groups indices of similar length, so that padding each group to its longest adds at most the share ``waste`` of its tokens.

    Longest first, stable. An empty list for no lengths.
    """
    order = np.argsort(-lengths, kind="stable")
    buckets: list[npt.NDArray[np.int64]] = []
    start = 0
    useful = 0
    for position, index in enumerate(order):
        length = int(lengths[index])
        padded = int(lengths[order[start]]) * (position - start + 1)
        if padded > (1.0 + waste) * (useful + length):
            buckets.append(order[start:position])
            start, useful = position, 0
        useful += length
    if len(order):
        buckets.append(order[start:])
    return buckets
