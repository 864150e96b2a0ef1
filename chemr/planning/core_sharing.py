"""How processes share the cores of one machine: weighted fair shares of at most one core each, as Linux gives them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chemr.planning.scenario import SharedCores

EXACT = 1e-3  # cores, to which a service's demand is found
NICE_STEP = 1.25  # each step of niceness is worth a quarter (kernel/sched/core.c, sched_prio_to_weight)


def weight(nice: int) -> float:
    """Relative to niceness 0."""
    return NICE_STEP**-nice


def shares(cores: float, demands: Sequence[tuple[float, int]]) -> list[float]:
    """Shares of a core for processes that all want to compute.

    Args:
        cores: of the machine.
        demands: (most it can use, in cores; niceness) of each.

    Nobody gets more than it can use; what one leaves is dealt out among the others by weight (water-filling).
    """
    given = [0.0] * len(demands)
    left, open_ = cores, list(range(len(demands)))
    while open_ and left > 1e-12:
        total = sum(weight(demands[index][1]) for index in open_)
        full = [index for index in open_ if left * weight(demands[index][1]) / total >= demands[index][0] - 1e-12]
        if not full:
            for index in open_:
                given[index] = left * weight(demands[index][1]) / total
            break
        for index in full:
            given[index] = demands[index][0]
            left -= demands[index][0]
            open_.remove(index)
    return given


@lru_cache(maxsize=4096)  # a stage has few cases, and deals at every other event
def deal(machine: SharedCores, computing: tuple[bool, ...], training: bool) -> tuple[tuple[float, ...], float]:
    """Shares of a core for each engine, and for each of the learner's ranks.

    What serves the engines computes as fast as they do: with a slower engine it has less to do.
    """
    learner = (1.0 if training else 0.0, machine.learner_nice)
    demands = [(1.0 if active else 0.0, 0) for active in computing] + [learner] * machine.ranks
    least, most = 0.0, machine.service * sum(computing)
    while True:  # halving: more service leaves the engines less, which then need less of it
        service = (least + most) / 2
        *dealt, _ = shares(machine.cores, [*demands, (service, 0)])
        if most - least < EXACT:
            return tuple(dealt[: len(computing)]), dealt[-1]
        needed = machine.service * sum(dealt[: len(computing)])
        least, most = (service, most) if needed > service else (least, service)
