"""How much faster asynchronous training can be than synchronous, at most: S_max = 1 + ρ(φ − 1).

ρ is generation's share of the work, φ the longest generation of a step over the mean one: a synchronous step waits for its longest sample
while all others are done, an asynchronous one need not. The simulated speed-up stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chemr.planning.scenario import Prediction, Setup
from chemr.planning.simulation import simulate


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """``bound`` of the formula and the two numbers in it; ``simulated``: step time with S = 0 over that of the plan."""

    share: float
    spread: float
    bound: float
    simulated: float


def bound(share: float, spread: float) -> float:
    """S_max = 1 + ρ(φ − 1), with ρ in [0, 1] and φ at least 1."""
    return 1.0 + share * (spread - 1.0)


def speed_up(setup: Setup, prediction: Prediction, steps: int, seed: int = 0) -> SpeedUp:
    """Beside the prediction for ``setup``, which is compared with the same simulation at S = 0."""
    work = setup.workload
    synchronous = simulate(replace(setup, workload=replace(work, off_policy_steps=0)), steps, seed)
    samples = work.groups_per_step * work.samples_per_group
    spread = max(1.0, work.lengths.expected_longest(samples, seed) / work.lengths.capped_mean)
    # Seconds of generation were every sample of mean length: what a step at S = 0 waits for, less the wait for the longest.
    generation = max(0.0, synchronous.step_s - synchronous.train_s) / spread
    share = generation / max(1e-9, generation + synchronous.train_s)
    return SpeedUp(share, spread, bound(share, spread), synchronous.step_s / prediction.step_s)
