"""The learner as the driver sees it: one object for all DeepSpeed ranks, which fails as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from actors.failures import FailureKind, LearnerLost, await_ref, classify
from actors.learner_worker import Pair, Published, TrainGroup
from actors.pool_config import LearnerActors
from actors.trajectory import FloatArray
from actors.weights import Probe, WeightManifest

if TYPE_CHECKING:
    from learner.config import GrpoConfig, OptimConfig

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0  # after one rank failed: the others fail too (same bug, or a broken collective) or hang in the collective
STOP_SECONDS = 20.0
_COMMUNICATION_ERRORS = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError", "DistError"})


class LearnerGroup:
    """All ranks receive every call; metrics are equal on all of them, so rank 0's are returned.

    Any lost or hung rank ends the whole group: the call raises LearnerLost, and so does every later one until ``restart``. An error that
    all ranks raise alike (a bad value) is raised as it is and leaves the group usable. Calls must not overlap; a lock sees to it.
    """

    def __init__(self, spawn: Callable[[int], Any], config: LearnerActors) -> None:
        """``spawn(rank)`` creates the Ray actor of a rank."""
        self._spawn = spawn
        self._config = config
        self._actors: list[Any] = []
        self._pids: list[int] = []
        self._lost: str | None = "it was not started"
        self._one_call = asyncio.Lock()
        self._model_dir = ""
        self._stage: tuple[OptimConfig, int, int] | None = None
        self._dataset_ref: Any = None
        self.restarts = 0

    # life

    async def spawn_ranks(self) -> None:
        """Create the actors (in parallel) and wait until their processes are up; no model yet."""
        self._actors = [self._spawn(rank) for rank in range(self._config.ranks)]
        answers = (await_ref(actor.pid.remote(), self._config.start_timeout_s, "a learner rank starting") for actor in self._actors)
        self._pids = list(await asyncio.gather(*answers))

    async def start(self, model_dir: str | Path) -> None:
        """Load a model folder on all ranks and connect them. Call ``begin_stage`` next."""
        if not self._actors:
            await self.spawn_ranks()
        self._model_dir = str(model_dir)
        self._lost = None
        host, port = await await_ref(self._actors[0].meeting_place.remote(), self._config.start_timeout_s, "learner rank 0")
        await self._on_all("start", self._config.config, self._model_dir, host, port, timeout_s=self._config.start_timeout_s)

    async def restart(self, checkpoint_dir: str | Path | None, model_dir: str | Path | None = None) -> None:
        """Rebuild the ranks, whatever state they are in, without touching the rest of the pool.

        The stage's optimizer settings and data set are restored; weights, optimizer state and step come from ``checkpoint_dir``, or from
        ``model_dir`` (default: the folder given to ``start``) at the beginning of the stage when there is no checkpoint yet.
        """
        stage, dataset_ref = self._stage, self._dataset_ref
        await self._tear_down("it is being restarted")
        self.restarts += 1
        await self.start(model_dir or self._model_dir)
        if checkpoint_dir is not None:
            await self.load(checkpoint_dir)
            self._stage = stage
        elif stage is not None:
            await self.begin_stage(*stage)
        if dataset_ref is not None:
            self._dataset_ref = dataset_ref
            await self._on_all("load_dataset", dataset_ref)

    async def close(self) -> None:
        """Leave the process group in order, then end the actors. Safe to call on a lost group."""
        if self._lost is None and not self._one_call.locked():
            try:
                await asyncio.gather(*(await_ref(actor.stop.remote(), STOP_SECONDS, "a learner rank stopping") for actor in self._actors))
            except Exception as error:
                if classify(error) is not FailureKind.INFRASTRUCTURE:
                    raise
                log.warning("a learner rank did not stop in order: %s", error)
        await self._tear_down("it was closed")

    def pids(self) -> list[int]:
        """Pids of the ranks' actors, by rank; empty while the group is down."""
        return list(self._pids)

    # training

    async def begin_stage(self, optim: OptimConfig, total_steps: int, seed: int) -> None:
        """A fresh optimizer and schedule for the weights of now."""
        await self._on_all("begin_stage", optim, total_steps, seed)
        self._stage = (optim, total_steps, seed)

    async def load_dataset(self, pairs: Sequence[Pair]) -> None:
        """Send (prompt ids, completion ids) pairs to the ranks once; ``sft_step`` then names them by index."""
        self._dataset_ref = ray.put(list(pairs))
        await self._on_all("load_dataset", self._dataset_ref)

    async def sft_step(self, indices: Sequence[int]) -> dict[str, float]:
        """One supervised step on these pairs of the data set."""
        metrics: dict[str, float] = await self._on_all("sft_step", list(indices))
        return metrics

    async def grpo_step(self, groups: Sequence[TrainGroup], grpo: GrpoConfig) -> dict[str, float]:
        """One policy-gradient step on these groups; the ranks fetch the tokens themselves."""
        metrics: dict[str, float] = await self._on_all("grpo_step", list(groups), grpo)
        return metrics

    async def logprobs(self, pairs: Sequence[Pair]) -> list[FloatArray]:
        """log π of every completion token under the weights of now: one float32 array [L] per pair."""
        logprobs: list[FloatArray] = await self._on_all("logprobs", list(pairs))
        return logprobs

    async def set_threads(self, threads: int) -> None:
        """CPU threads of every rank from now on."""
        await self._on_all("set_threads", threads)

    # state

    async def publish(
        self,
        version: int,
        probe_ids: Sequence[int] = (),
        bucket_bytes: int = 256 << 20,
        receivers: Sequence[tuple[str, int]] = (),
        receive_s: float = 0.0,
        engine_processes: int = 0,
    ) -> WeightManifest:
        """Put the weights of now into the object store as ``version``.

        With ``probe_ids`` (at least 2 tokens) the manifest carries what the learner computes for them, and every generator proves that it
        computes the same. The driver owns the buckets, so they outlive a learner that dies; they are freed with the manifest.
        ``receivers``, (name, pid) of generators, are invited to a broadcast of the same bytes that takes ``receive_s`` seconds at most and
        runs beside the next step; with ``engine_processes`` above 0 that many processes of each one's engine receive it directly.
        """
        direct = engine_processes > 0 and bool(receivers)
        async with self._one_call:
            self._require_alive("publish")
            streams = [
                actor.publish.options(num_returns="streaming").remote(tuple(probe_ids), bucket_bytes, direct) for actor in self._actors
            ]
            results = await self._settle([_drain(stream) for stream in streams], self._config.step_timeout_s, "publish")
            buckets, published = results[0]
            offer = None
            if receivers:
                offering = self._actors[0].offer.remote(published.layout, buckets, tuple(receivers), receive_s, engine_processes)
                (offer,) = await self._settle([offering], self._config.step_timeout_s, "offer a broadcast")
        probe = Probe(tuple(probe_ids), published.probe_logprobs) if probe_ids else None
        return WeightManifest(version, published.layout, tuple(buckets), published.digest, probe, offer)

    async def save(self, directory: str | Path) -> None:
        """A checkpoint of weights, optimizer, schedule and random state; the caller moves it into place."""
        await self._on_all("save", str(directory))

    async def load(self, directory: str | Path) -> None:
        """Continue from what ``save`` wrote, stage settings included."""
        await self._on_all("load", str(directory))

    async def export_hf(self, directory: str | Path) -> None:
        """Write a model folder that plain transformers and vLLM load."""
        await self._on_all("export_hf", str(directory))

    # how calls are made

    async def _on_all(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        async with self._one_call:
            self._require_alive(method)
            refs = [getattr(actor, method).remote(*args) for actor in self._actors]
            return (await self._settle(refs, timeout_s or self._config.step_timeout_s, method))[0]

    def _require_alive(self, method: str) -> None:
        if self._lost is not None:
            raise LearnerLost(f"the learner cannot {method}: {self._lost}; call restart(checkpoint_dir)")

    async def _settle(self, calls: Sequence[Awaitable[Any]], timeout_s: float, what: str) -> list[Any]:
        """Results of all ranks; or the end of the group. A cancelled wait ends it too, since the ranks would go on out of step."""
        tasks = [asyncio.ensure_future(await_ref(call, timeout_s, f"{what} on learner rank {rank}")) for rank, call in enumerate(calls)]
        try:
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if pending:  # a rank failed: the others follow at once, or hang in a collective
                await asyncio.wait(pending, timeout=GRACE_SECONDS)
        except asyncio.CancelledError:
            await self._tear_down(f"{what} was cancelled half-way", kill_tasks=tasks)
            raise
        errors = {rank: task.exception() for rank, task in enumerate(tasks) if task.done() and task.exception() is not None}
        if not errors:
            return [task.result() for task in tasks]
        bug = next((error for error in errors.values() if error is not None and not _is_loss(error)), None)
        if bug is not None and len(errors) == len(tasks) and not any(_is_loss(error) for error in errors.values() if error is not None):
            raise bug  # every rank refused alike: they are still in step
        details = "; ".join(f"rank {rank}: {_one_line(error)}" for rank, error in errors.items())
        await self._tear_down(f"{what} failed on {details}", kill_tasks=tasks)
        died = any(isinstance(error, ray.exceptions.RayActorError) for error in errors.values())
        if bug is not None and not died:
            raise bug
        raise LearnerLost(f"the learner was lost during {what}: {details}")

    async def _tear_down(self, why: str, kill_tasks: Sequence[asyncio.Future[Any]] = ()) -> None:
        self._lost = why
        for task in kill_tasks:
            task.cancel()
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        self._actors, self._pids = [], []
        await asyncio.gather(*kill_tasks, return_exceptions=True)


async def _drain(stream: Any) -> tuple[list[Any], Published]:
    """(references to the buckets, the final item) of a publication; only the final item is fetched."""
    refs = [ref async for ref in stream]
    published: Published = await refs[-1]
    return refs[:-1], published


def _is_loss(error: BaseException) -> bool:
    """Whether a rank's error is (the consequence of) a lost rank rather than something wrong in our code or data."""
    if classify(error) is FailureKind.INFRASTRUCTURE:
        return True
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    text = str(cause).lower()
    return type(cause).__name__ in _COMMUNICATION_ERRORS or (
        isinstance(cause, RuntimeError) and any(sign in text for sign in ("gloo", "nccl", "connection reset", "connection closed"))
    )


def _one_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() or [repr(error)]
    return lines[-1][:300]
