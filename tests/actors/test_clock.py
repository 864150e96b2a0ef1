"""Deadlines measure other people's silence: neither a jump of the clock nor a freeze of the driver makes one strike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from actors import clock
from actors.failures import DeadlineExceededError, await_ref


class Jumpy:
    """time.monotonic with an offset that a test changes."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


@pytest.fixture
def jumpy() -> Iterator[Jumpy]:
    source = Jumpy()
    before = clock.use(clock.Clock(source))
    yield source
    clock.use(before)


def test_a_jump_either_way_counts_for_a_few_seconds_at_most(jumpy: Jumpy) -> None:
    began = clock.monotonic()
    jumpy.offset = 3600.0
    assert clock.monotonic() - began <= clock.LONGEST_GAP_S + 0.5, "an hour that the driver did not live through must not count"
    before = clock.monotonic()
    jumpy.offset = -3600.0
    assert clock.monotonic() >= before, "the clock never goes back"
    time.sleep(0.02)
    assert clock.monotonic() - before >= 0.02, "and goes on after a jump back"


def test_a_deadline_survives_a_jump_and_still_strikes_in_its_own_time(jumpy: Jumpy) -> None:
    async def wait() -> tuple[str, float]:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(setattr, jumpy, "offset", 3600.0)
        waiting = asyncio.ensure_future(await_ref(answer, 60.0, "an answer"))
        await asyncio.sleep(0.05)
        answer.set_result("in time")
        began = time.monotonic()
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with pytest.raises(DeadlineExceededError):
            await await_ref(never, 0.2, "nobody")
        return await waiting, time.monotonic() - began

    answer, waited = clock.run(wait())
    assert answer == "in time" and 0.1 < waited < 50.0, f"a deadline of 0.2 s took {waited:.2f} s"


def test_an_idle_loop_keeps_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "BEAT_S", 0.05)
    monkeypatch.setattr(clock, "LONGEST_GAP_S", 0.5)
    began = time.monotonic()
    clock.run(asyncio.sleep(2.0))  # 5 s where it would count half a second of each gap
    assert 1.9 < time.monotonic() - began < 4.5, "sleeping is no freeze: the loop looks at its clock"
