"""The queue takes no more than it may, serves calls in turn, and forgets a call that has gone."""

from __future__ import annotations

import asyncio

import pytest

from rewards.job import ScoreJob
from rewards.service.job_queue import Call, JobQueue, QueueFullError


@pytest.fixture
def call():
    loop = asyncio.new_event_loop()
    yield lambda: Call(loop, lambda place, outcome: None)
    loop.close()


def jobs(name: str, count: int):
    return [(place, ScoreJob(name, "", {}, {})) for place in range(count)]


def test_calls_take_turns_job_by_job(call):
    queue = JobQueue(100)
    queue.add(call(), jobs("large", 4))
    queue.add(call(), jobs("small", 1))
    queue.add(call(), jobs("middle", 2))
    served = [queue.take().job.task for _ in range(7)]
    assert served == ["large", "small", "middle", "large", "middle", "large", "large"]


def test_a_batch_that_does_not_fit_is_refused_whole(call):
    queue = JobQueue(3)
    queue.add(call(), jobs("a", 2))
    with pytest.raises(QueueFullError, match="holds 2 of 3 jobs and has no room for 2 more"):
        queue.add(call(), jobs("b", 2))
    assert len(queue) == 2
    queue.add(call(), jobs("c", 1))
    assert len(queue) == 3


def test_a_dropped_call_leaves_nothing_behind(call):
    queue, gone = JobQueue(4), call()
    queue.add(gone, jobs("gone", 3))
    queue.add(call(), jobs("stays", 1))
    assert queue.drop(gone) == 3
    assert len(queue) == 1 and queue.take().job.task == "stays"


def test_a_closed_queue_lets_its_lanes_go(call):
    queue = JobQueue(4)
    queue.add(call(), jobs("a", 1))
    queue.close()
    assert queue.take() is None
