"""The limit of samples in flight, against engines made of two numbers: how many samples they compute at once, and can hold."""

from __future__ import annotations

import pytest

from actors.concurrency import FLOOR, ConcurrencyLimit

GROUP = 8


class Engine:
    """Computes up to ``width`` samples as fast as one, shares itself beyond; preempts what exceeds ``holds``."""

    def __init__(self, width: int, holds: int) -> None:
        self.width, self.holds = width, holds
        self.preemptions = 0

    def serve(self, limit: ConcurrencyLimit, groups: int, waiting: bool = True) -> list[int]:
        """The limit after every group of a long queue."""
        now, seen = 0.0, []
        for _ in range(groups):
            in_flight = limit.value
            limit.demand(waiting, now)
            now += GROUP / min(in_flight, self.width)  # seconds until the next group is done, at one sample per second each
            limit.finished(GROUP, GROUP * 10, now)
            self.preemptions += max(0, in_flight - self.holds)
            limit.engine(min(1.0, in_flight / self.holds), self.preemptions, in_flight, now)
            seen.append(limit.value)
        return seen


def test_it_grows_while_more_samples_bring_more_tokens_and_stops_when_they_do_not() -> None:
    seen = Engine(width=64, holds=10_000).serve(ConcurrencyLimit(16, 1024), 400)
    assert min(seen[100:]) >= 64, "an engine that could do more was left idle"
    assert max(seen) <= 4 * 64, "latency per token said stop and it went on"


def test_it_reaches_the_ceiling_of_an_engine_that_keeps_getting_faster_within_a_few_rounds() -> None:
    seen = Engine(width=10_000, holds=10_000).serve(ConcurrencyLimit(64, 320), 40)
    assert seen[-1] == 320


def test_preemptions_shrink_it_below_what_the_cache_holds() -> None:
    seen = Engine(width=10_000, holds=100).serve(ConcurrencyLimit(400, 400), 300)
    assert seen[0] < 400 and max(seen[50:]) <= 108, "it goes on throwing samples out"
    assert min(seen[50:]) >= 40, "one preemption made it give up"


def test_a_nearly_full_cache_stops_growth_before_anything_is_thrown_out() -> None:
    engine = Engine(width=10_000, holds=200)
    seen = engine.serve(ConcurrencyLimit(16, 400), 100)
    assert engine.preemptions == 0 and 180 <= seen[-1] <= 200


def test_it_stays_while_nobody_waits() -> None:
    assert set(Engine(width=64, holds=64).serve(ConcurrencyLimit(32, 400), 50, waiting=False)) == {32}


@pytest.mark.parametrize(("start", "ceiling", "value"), [(1, 320, FLOOR), (64, 320, 64), (64, 3, 3)])
def test_it_starts_within_its_bounds(start: int, ceiling: int, value: int) -> None:
    assert ConcurrencyLimit(start, ceiling).value == value


def test_preemptions_of_what_an_earlier_shrinking_left_in_flight_shrink_it_once() -> None:
    limit = ConcurrencyLimit(400, 400)
    limit.engine(1.0, 5, 400, 0.0)
    assert limit.value == 300
    limit.engine(1.0, 9, 390, 1.0)
    assert limit.value == 300
    limit.engine(1.0, 12, 300, 2.0)
    assert limit.value == 225
