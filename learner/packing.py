"""Which documents are computed together: pure functions of lengths.

The plan is a function of the whole step's lengths, so every rank derives the same one without talking to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Plan = list[list[list[int]]]  # [rank][micro-batch] -> indices of documents
SLACK = 1.015  # largest micro-batch over the mean one: tighter bins would mix lengths, and attention computes each length in its own call


def plan_micro_batches(token_counts: Sequence[int], dp: int, budget: int) -> Plan:
    """Shares documents out over ``dp`` ranks in micro-batches of at most ``budget`` tokens.

    First-fit-decreasing says how many rounds it takes; then as many micro-batches are filled evenly, by first-fit-decreasing into the
    smallest bins it succeeds with (MULTIFIT: Coffman, Garey and Johnson, SIAM J. Comput. 7, 1978). So every pass is about as large as
    the others, and documents of similar length meet, with short ones in the gaps.

    Every rank gets the same number of micro-batches (ZeRO's collectives run once per micro-batch), and those of one round are of similar
    size. A document above the budget has a micro-batch to itself. Where there are fewer documents than ranks in a round, some micro-batches
    are empty.

    Raises:
        ValueError: a count, ``dp`` or ``budget`` is below 1.
    """
    if dp < 1 or budget < 1:
        raise ValueError(f"dp = {dp} ranks and a budget of {budget} tokens cannot be planned for: both must be at least 1")
    if any(count < 1 for count in token_counts):
        raise ValueError("every document must have at least one token")
    order = sorted(range(len(token_counts)), key=lambda index: (-token_counts[index], index))
    bins = _first_fit(order, token_counts, budget)
    bins += [[] for _ in range(-len(bins) % dp)]
    capacity = SLACK * sum(token_counts) / max(1, len(bins))
    while capacity < budget:
        smaller = _first_fit(order, token_counts, int(capacity))
        if len(smaller) <= len(bins):
            bins = smaller + [[] for _ in range(len(bins) - len(smaller))]
            break
        capacity *= SLACK
    bins.sort(key=lambda members: -sum(token_counts[index] for index in members))
    rounds = [_evened(bins[first : first + dp], token_counts, budget) for first in range(0, len(bins), dp)]
    # Back and forth, so that no rank has the largest of every round.
    return [[members[rank if turn % 2 == 0 else -1 - rank] for turn, members in enumerate(rounds)] for rank in range(dp)]


def _first_fit(order: Sequence[int], token_counts: Sequence[int], capacity: int) -> list[list[int]]:
    """Documents in this order, each into the first bin with room for it; one that has no room anywhere opens a bin."""
    bins: list[list[int]] = []
    loads: list[int] = []
    for index in order:
        count = token_counts[index]
        place = next((place for place, load in enumerate(loads) if load + count <= capacity), len(bins))
        if place == len(bins):
            bins.append([])
            loads.append(0)
        bins[place].append(index)
        loads[place] += count
    return bins


def _evened(bins: list[list[int]], token_counts: Sequence[int], budget: int) -> list[list[int]]:
    """The documents of one round dealt out anew, largest first, each to the emptiest rank, if that makes the largest share smaller: what
    first-fit leaves for the last bins is little, and ranks wait for the one with most."""
    dealt: list[list[int]] = [[] for _ in bins]
    loads = [0] * len(bins)
    for index in sorted((index for members in bins for index in members), key=lambda index: (-token_counts[index], index)):
        rank = loads.index(min(loads))
        dealt[rank].append(index)
        loads[rank] += token_counts[index]
    before = max(sum(token_counts[index] for index in members) for members in bins)
    return dealt if max(loads) < before and max(loads) <= budget else bins


def packing_efficiency(plan: Plan, token_counts: Sequence[int]) -> float:
    """Tokens over (ranks x micro-batches x the largest micro-batch): 1 when every forward pass is as large as the largest."""
    sizes = [sum(token_counts[index] for index in batch) for rank in plan for batch in rank]
    return sum(sizes) / (len(sizes) * max(sizes)) if any(sizes) else 0.0


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
