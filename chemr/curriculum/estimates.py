"""How well the policy does at a task: an exponential average that corrects for old policies, and what its course over time says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from statistics import fmean

SETTLED = 10  # groups from which on an estimate is judged: before, one lucky group moves it too far


@dataclass
class TaskEstimate:
    """Attributes:
    success: running mean reward, in [0, 1]; 0.5 before anything is known.
    abs_advantage: running mean |advantage|.
    groups: how many groups were observed.
    """

    success: float = 0.5
    abs_advantage: float = 0.5
    groups: int = 0

    def observe(self, success: float, abs_advantage: float, *, rate: float, age_decay: float, age: int) -> None:
        """One group more, whose oldest token a policy wrote that was ``age`` versions old when it was consumed."""
        step = step_size(self.groups, rate, age_decay, age)
        self.success += step * (success - self.success)
        self.abs_advantage += step * (abs_advantage - self.abs_advantage)
        self.groups += 1


def step_size(observed: int, rate: float, age_decay: float, age: int) -> float:
    """Of an exponential average after ``observed`` observations: ``rate · age_decay^age``. The first ones count as a plain average (1/n),
    so that the prior is forgotten at once."""
    return max(rate, 1.0 / (observed + 1)) * age_decay ** max(0, age)


def rise(course: Sequence[float]) -> float:
    """By how much a noisy course rose from its first to its last value: twice the difference of the means of its halves.

    Of a straight line that is its rise; of noise around a constant it scatters far less than last minus first.
    """
    half = len(course) // 2
    if half == 0:
        return 0.0
    return 2.0 * (fmean(islice(course, len(course) - half, None)) - fmean(islice(course, half)))


def moving_means(course: Sequence[float], size: int) -> list[float]:
    """Means of every ``size`` successive values; none of fewer values than that."""
    sums = list(accumulate(course, initial=0.0))
    return [(end - start) / size for start, end in zip(sums, sums[size:], strict=False)]


def turns(course: Sequence[float], swing: float) -> int:
    """How often a course changed its direction, counting only moves of at least ``swing`` (a zigzag filter)."""
    count = direction = 0
    high = low = next(iter(course), 0.0)
    for value in course:
        high, low = max(high, value), min(low, value)
        if direction >= 0 and value <= high - swing:
            count += direction > 0
            direction, low = -1, value
        elif direction <= 0 and value >= low + swing:
            count += direction < 0
            direction, high = 1, value
    return count
