"""The driver's side of one generator and one reward actor: deadlines on every call, nothing of Ray beyond this module.

The fleet works against the two protocols, so that its scheduling is tested with scripted members.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import ray

from actors.failures import DeadlineExceededError, WorkerLostError, await_ref
from actors.generator import GeneratorHealth
from actors.pool_config import RewardActors
from actors.trajectory import GroupMeta, GroupRequest
from actors.weights import PullAck, WeightManifest
from rewards.job import ScoreJob
from rewards.verdict import Verdict

STOP_SECONDS = 20.0


class Member(Protocol):
    """What the roster needs of anything it supervises."""

    name: str
    pid: int  # 0 until it has started

    async def stop(self) -> None:
        """Ask it to end what it owns, then kill it. Never raises on a member that is dead already."""

    def kill(self) -> None:
        """End it at once."""


class Generator(Member, Protocol):
    """Calls raise what classify() sorts: WorkerLostError, DeadlineExceededError, EngineFailedError, RequestRefusedError."""

    node: str  # the id of the node it runs on, empty until it has started

    async def start(self, model_dir: str, version: int, timeout_s: float) -> None: ...

    async def retask(self, model_dir: str, version: int, timeout_s: float) -> None: ...

    async def generate(self, request: GroupRequest, timeout_s: float) -> tuple[Any, GroupMeta]: ...

    async def pull(self, manifest: WeightManifest, timeout_s: float) -> PullAck: ...

    async def health(self, timeout_s: float) -> GeneratorHealth: ...


class Scorer(Member, Protocol):
    """A reward actor. It does one call after another; whoever makes a second one meanwhile waits on that one's clock.

    Scoring raises DeadlineExceededError when the *work* took longer than it may, TransferLate when it could not begin.
    """

    async def ready(self, timeout_s: float) -> bool:
        """Returns once it is up and idle: whether it was told to leave (SIGTERM)."""

    async def score(self, tokens_ref: Any, request: GroupRequest, want_texts: bool, timeout_s: float) -> tuple[list[Verdict], list[str]]:
        """Verdicts of the samples and then of ``request.blind``, in order; the samples' texts where they are wanted."""
        ...

    async def score_texts(self, jobs: Sequence[ScoreJob], timeout_s: float) -> list[Verdict]: ...

    async def manifest(self, timeout_s: float) -> dict[str, Any]: ...


class _RayMember:
    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self.pid = 0
        self._actor = actor

    async def stop(self) -> None:
        # Dead or stuck: the kill below is what counts, and the pool removes what a killed actor leaves.
        with contextlib.suppress(ray.exceptions.RayError, DeadlineExceededError):
            await await_ref(self._actor.stop.remote(), STOP_SECONDS, f"{self.name} stopping")
        self.kill()

    def kill(self) -> None:
        ray.kill(self._actor, no_restart=True)


class RayGenerator(_RayMember):
    """A ``ray.remote(RolloutGenerator)`` actor."""

    node = ""

    async def start(self, model_dir: str, version: int, timeout_s: float) -> None:
        self.pid = await await_ref(self._actor.start.remote(model_dir, version), timeout_s, f"{self.name} starting its engine")
        self.node = await await_ref(self._actor.node.remote(), timeout_s, f"{self.name} saying where it is")

    async def retask(self, model_dir: str, version: int, timeout_s: float) -> None:
        await await_ref(self._actor.retask.remote(model_dir, version), timeout_s, f"{self.name} changing its model")

    async def generate(self, request: GroupRequest, timeout_s: float) -> tuple[Any, GroupMeta]:
        tokens_ref, meta_ref = self._actor.generate.remote(request)
        try:
            meta = await await_ref(meta_ref, timeout_s, f"{self.name} generating {request.uid}")
        except (DeadlineExceededError, asyncio.CancelledError):
            ray.cancel(meta_ref)  # cancels the coroutine in the actor, whose requests then leave the engine
            raise
        if meta.oldest_version < 0:
            raise WorkerLostError(f"{self.name} returned group {request.uid} without a single token")
        return tokens_ref, meta

    async def pull(self, manifest: WeightManifest, timeout_s: float) -> PullAck:
        return await await_ref(self._actor.pull.remote(manifest), timeout_s, f"{self.name} pulling version {manifest.version}")

    async def health(self, timeout_s: float) -> GeneratorHealth:
        return await await_ref(self._actor.health.remote(), timeout_s, f"{self.name} health")


class RayScorer(_RayMember):
    """A ``ray.remote(RewardWorker)`` actor.

    Args:
        job_s: wall seconds that one answer takes at most while all the actor's scoring processes are at work.
    """

    def __init__(self, name: str, actor: Any, job_s: float = 0.0) -> None:
        super().__init__(name, actor)
        self._job_s = job_s

    async def ready(self, timeout_s: float) -> bool:
        self.pid, leaving = await await_ref(self._actor.health.remote(), timeout_s, f"{self.name} getting ready")
        return bool(leaving)

    async def score(self, tokens_ref: Any, request: GroupRequest, want_texts: bool, timeout_s: float) -> tuple[list[Verdict], list[str]]:
        arguments = (request.task, request.inputs, request.reference, want_texts, tuple(request.blind.values()))
        what = f"{self.name} scoring {request.uid}"
        return await self._work("score", tokens_ref, arguments, timeout_s, request.sampling.samples + len(request.blind), what)

    async def score_texts(self, jobs: Sequence[ScoreJob], timeout_s: float) -> list[Verdict]:
        return await self._work("score_texts", ray.put(list(jobs)), (), timeout_s, len(jobs), f"{self.name} scoring {len(jobs)} texts")

    async def manifest(self, timeout_s: float) -> dict[str, Any]:
        return await await_ref(self._actor.manifest.remote(), timeout_s, f"{self.name} saying what its verdicts depend on")

    async def _work(self, method: str, payload: Any, arguments: tuple[Any, ...], timeout_s: float, jobs: int, what: str) -> Any:
        """The result of scoring ``jobs`` answers. They may take ``timeout_s`` seconds from when the actor begins with them, or what they
        are allowed one by one where that is more."""
        stream = self._actor.begin.options(num_returns="streaming").remote(method, [payload], arguments, timeout_s)
        # The actor itself ends a fetch that takes too long: who has not even said so after as long again is not there.
        await await_ref(_item(stream), 2.0 * timeout_s, f"{what}: its beginning")
        return await await_ref(_item(stream), max(timeout_s, jobs * self._job_s), what)


async def _item(stream: Any) -> Any:
    return await (await anext(stream))


def seconds_per_job(rewards: RewardActors) -> float:
    """For :class:`RayScorer`: an answer takes twice its deadline at most (rewards.isolation.ScorerPool.score), here with half as much again
    for a busy machine."""
    return 3.0 * rewards.deadline_s / rewards.workers
