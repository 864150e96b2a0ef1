"""A lane whose scoring processes cannot be kept alive says so, and comes back by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from rewards.errors import ScorerPoolError
from rewards.job import ScoreJob
from rewards.service import lane as lane_module
from rewards.service.job_queue import Call, JobQueue
from rewards.service.lane import Lane, LaneBrokenError
from rewards.verdict import Reason, Verdict
from tests.patience import WAIT_S

FINE = Verdict(1.0, Reason.CORRECT)


class FragilePool:
    """Stands for a ScorerPool: fails for good at the completion "break"."""

    tasks = frozenset({"retro"})

    def __init__(self) -> None:
        self.jobs, self.closed = 0, False

    def score(self, jobs):
        if jobs[0].completion == "break":
            raise ScorerPoolError("the zygote died 6 times within one batch")
        if jobs[0].completion == "large":
            raise ValueError("job 0 (retro): too large")
        self.jobs += len(jobs)
        return [FINE]

    def pids(self):
        return []

    def stats(self):
        return {"jobs": self.jobs}

    def close(self):
        self.closed = True


@pytest.fixture
def pools(monkeypatch):
    monkeypatch.setattr(lane_module, "FIRST_RESTART_WAIT_S", 0.01)
    return []


def open_from(pools, failures: Counter):
    def open_pool():
        if pools and failures["left"]:
            failures["left"] -= 1
            raise ScorerPoolError("no memory")
        pools.append(FragilePool())
        return pools[-1]

    return open_pool


async def outcomes_of(queue: JobQueue, *completions: str) -> list:
    found: asyncio.Queue = asyncio.Queue()
    call = Call(asyncio.get_running_loop(), lambda place, outcome: found.put_nowait((place, outcome)))
    queue.add(call, [(place, ScoreJob("retro", text, {}, {})) for place, text in enumerate(completions)])
    async with asyncio.timeout(WAIT_S):
        return [outcome for _, outcome in sorted([await found.get() for _ in completions], key=lambda item: item[0])]


async def test_a_lost_pool_fails_one_job_and_is_replaced_as_soon_as_that_works(pools):
    queue, failures = JobQueue(10), Counter(left=3)
    lane = Lane(queue, open_from(pools, failures))
    lane.start()
    assert lane.ready and lane.tasks == ("retro",)
    first, lost, after = await outcomes_of(queue, "x", "break", "y")
    assert (first, after) == (FINE, FINE)
    assert isinstance(lost, LaneBrokenError) and "died 6 times" in str(lost)
    assert failures["left"] == 0 and len(pools) == 2 and pools[0].closed
    assert lane.ready and lane.stats()["jobs"] == 2, "what the lost pool counted is not lost"
    queue.close()
    await asyncio.to_thread(lane.close)
    assert not lane.ready and pools[1].closed


async def test_a_lane_without_processes_is_not_ready_and_can_still_be_closed(pools):
    queue = JobQueue(10)
    lane = Lane(queue, open_from(pools, Counter(left=1_000_000)))
    lane.start()
    [lost] = await outcomes_of(queue, "break")
    assert isinstance(lost, LaneBrokenError)
    async with asyncio.timeout(WAIT_S):
        while lane.ready:
            await asyncio.sleep(0.005)
    queue.close()
    await asyncio.to_thread(lane.close)


async def test_a_job_that_the_pool_refuses_is_the_callers_error_and_costs_the_lane_nothing(pools):
    queue = JobQueue(10)
    lane = Lane(queue, open_from(pools, Counter()))
    lane.start()
    refused, fine = await outcomes_of(queue, "large", "x")
    assert isinstance(refused, ValueError) and fine == FINE and len(pools) == 1
    queue.close()
    await asyncio.to_thread(lane.close)
