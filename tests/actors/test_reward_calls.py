"""The clock of a call to a reward actor starts when the actor begins with it. The actor's side and the driver's, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.completion_traits import CompletionTraits
from actors.engine_load import StepCounter
from actors.failures import DeadlineExceededError
from actors.fleet_losses import TransferLate
from actors.handles import RayScorer, seconds_per_job
from actors.pool_config import RewardActors
from actors.reward_worker import RewardWorker
from tests.actors.test_fleet import request

TOKENS = "reference to tokens"


async def after(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(value, Exception):
        raise value
    return value


class ScriptedActor:
    """Of ``begin``: begins after ``until_begun`` seconds (or fails there) and works for ``work`` seconds."""

    def __init__(self, until_begun: float = 0.0, work: float = 0.0, failure: Exception | None = None) -> None:
        self.items = [after(until_begun, failure), after(work, (["verdict"], []))]
        self.asked: tuple[Any, ...] = ()
        self.begin = self

    def options(self, num_returns: str) -> ScriptedActor:
        return self

    def remote(self, *arguments: Any) -> AsyncIterator[Any]:
        self.asked = arguments
        return self._stream()

    async def _stream(self) -> AsyncIterator[Any]:
        for item in self.items:
            yield item


async def score(actor: ScriptedActor, timeout_s: float, samples: int = 2, job_s: float = 0.0) -> Any:
    try:
        return await RayScorer("reward-0", actor, job_s).score(TOKENS, request("u", samples), False, timeout_s)
    finally:
        for item in actor.items:
            item.close()


async def test_what_comes_before_the_beginning_is_not_on_the_clock_of_the_work() -> None:
    actor = ScriptedActor(until_begun=0.6, work=0.6)
    assert (await score(actor, timeout_s=0.8))[0] == ["verdict"], "0.6 s of waiting and 0.6 s of work are not 1.2 s of work"
    method, payload, _, fetch_s = actor.asked
    assert (method, payload, fetch_s) == ("score", [TOKENS], 0.8), "the reference goes in a list, so that Ray does not fetch it before"


async def test_work_that_takes_longer_than_it_may_is_stuck() -> None:
    with pytest.raises(DeadlineExceededError, match=r"reward-0 scoring u did not answer within 0\.1 s"):
        await score(ScriptedActor(work=5.0), timeout_s=0.1)


async def test_many_answers_have_the_time_that_they_are_allowed_one_by_one() -> None:
    actor = ScriptedActor(work=0.5)
    assert (await score(actor, timeout_s=0.1, samples=64, job_s=0.1))[0] == ["verdict"]
    assert seconds_per_job(RewardActors(tokenizer_dir=Path(), workers=4, deadline_s=2.0)) == 1.5


async def test_tokens_that_come_late_are_told_from_an_actor_that_is_silent() -> None:
    with pytest.raises(TransferLate):
        await score(ScriptedActor(failure=TransferLate("did not arrive")), timeout_s=0.1)
    with pytest.raises(DeadlineExceededError, match="its beginning"):
        await score(ScriptedActor(until_begun=5.0), timeout_s=0.1)


class Echo(RewardWorker):
    def __init__(self) -> None:
        self._traits = CompletionTraits()

    def score_texts(self, jobs: Any) -> Any:
        return [*jobs, "scored"]


def test_a_reward_actor_begins_with_its_payload_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get(reference: Any, timeout: float) -> Any:
        asked.append((reference, timeout))
        return ["fetched"]

    monkeypatch.setattr(ray, "get", get)
    call = Echo().begin("score_texts", ["reference"], (), 7.0)
    assert not asked and next(call) is None and asked == [("reference", 7.0)]
    assert list(call) == [["fetched", "scored"]]


def test_a_payload_that_does_not_arrive_is_no_failure_of_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(reference: Any, timeout: float) -> Any:
        raise ray.exceptions.GetTimeoutError("7 s")

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(TransferLate, match="within 7 s"):
        next(Echo().begin("score_texts", ["reference"], (), 7.0))


def test_steps_are_counted_by_one_process_and_read_by_another(tmp_path: Path) -> None:
    reader, writer = StepCounter(tmp_path / "steps"), StepCounter(tmp_path / "steps")
    assert reader.value == 0
    for _ in range(300):
        writer.count()
    assert reader.value == writer.value == 300
    assert (tmp_path / "steps").stat().st_size == 8
