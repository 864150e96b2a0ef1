"""The learner as the driver sees it: one object for all DeepSpeed ranks, which fails as one."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from actors.failure_signs import class_names
from actors.failures import RETRIES, DeadlineExceededError, FailureKind, GroupsLost, LearnerLost, await_ref, classify
from actors.learner_worker import NotSaved, Pair, Published, TrainGroup
from actors.pool_config import LearnerActors
from actors.trajectory import FloatArray
from actors.weights import Probe, WeightManifest

if TYPE_CHECKING:
    from learner.config import GrpoConfig, OptimConfig
    from learner.sealed_files import SealedFile

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0  # after one rank failed: the others fail too (same bug, or a broken collective) or hang in the collective
STOP_SECONDS = 20.0
START_TRIES = 3
FETCH_SECONDS = 120.0  # for the tokens of a step; a group that has not come by then is asked again
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class LearnerGroup:
    """All ranks receive every call; metrics are equal on all of them, so rank 0's are returned.

    Any lost or hung rank ends the whole group: the call raises LearnerLost, which names the rank that the others failed because of, and so
    does every later call until ``restart``. A bug in one rank ends the group too, and is raised as it is. An error that all ranks raise
    alike (a bad value), or a file that could not be written for want of room, is raised as it is and leaves the group usable. Calls must
    not overlap; a lock sees to it.
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
        self._settings: tuple[OptimConfig, int] | None = None  # those that hold now: a checkpoint may have been written under others
        self._dataset_ref: Any = None
        self.restarts = 0

    # life

    async def spawn_ranks(self) -> None:
        """Create the actors (in parallel) and wait until their processes are up; no model yet.

        Raises:
            LearnerLost: one does not come up in time, or dies while it does.
        """
        self._actors = [self._spawn(rank) for rank in range(self._config.ranks)]
        self._pids = await self._settle([actor.pid.remote() for actor in self._actors], self._config.start_timeout_s, "starting")

    async def start(self, model_dir: str | Path) -> None:
        """Load a model folder on all ranks and connect them. Call ``begin_stage`` next. What the cluster does not give at once is asked for
        START_TRIES times.

        Raises:
            LearnerLost: as ``spawn_ranks``, the last time; or what all ranks say of the model folder.
        """
        for tries in range(1, START_TRIES):
            try:
                return await self._start_once(str(model_dir))
            except LearnerLost as loss:
                log.warning("the learner did not come up, try %d of %d: %s", tries, START_TRIES, loss)
                await asyncio.sleep(RETRIES[FailureKind.INFRASTRUCTURE].delay_s(tries))
        await self._start_once(str(model_dir))

    async def _start_once(self, model_dir: str) -> None:
        if not self._actors:
            await self.spawn_ranks()
        self._model_dir = model_dir
        timeout_s = self._config.start_timeout_s
        ((host, port),) = await self._settle([self._actors[0].meeting_place.remote()], timeout_s, "opening a meeting place")
        self._lost = None
        await self._on_all("start", self._config.config, self._model_dir, host, port, timeout_s=timeout_s)

    async def restart(self, checkpoint_dir: str | Path | None, model_dir: str | Path | None = None) -> None:
        """Rebuild the ranks, whatever state they are in, without touching the rest of the pool.

        The stage's optimizer settings and data set are restored; weights, optimizer state and step come from ``checkpoint_dir``, or from
        ``model_dir`` (default: the folder given to ``start``) at the beginning of the stage when there is no checkpoint yet. It tries once:
        chemr/learner_recovery.py tries again, and says so.
        """
        stage, dataset_ref = self._stage, self._dataset_ref
        await self._tear_down("it is being restarted")
        self.restarts += 1
        await self._start_once(str(model_dir or self._model_dir))
        if checkpoint_dir is not None:
            await self.load(checkpoint_dir, *(self._settings or ()))
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
        self._stage, self._settings = (optim, total_steps, seed), (optim, total_steps)

    async def load_dataset(self, pairs: Sequence[Pair]) -> None:
        """Send (prompt ids, completion ids) pairs to the ranks once; ``sft_step`` then names them by index."""
        self._dataset_ref = ray.put(list(pairs))
        await self._on_all("load_dataset", self._dataset_ref)

    async def sft_step(self, indices: Sequence[int]) -> dict[str, float]:
        """One supervised step on these pairs of the data set."""
        metrics: dict[str, float] = await self._on_all("sft_step", list(indices))
        return metrics

    async def grpo_step(self, groups: Sequence[TrainGroup], grpo: GrpoConfig) -> dict[str, float]:
        """One policy-gradient step on these groups; the ranks fetch the tokens themselves, before any of them begins.

        Raises:
            GroupsLost: the tokens of some are gone, or do not come within FETCH_SECONDS; nothing was trained.
        """
        timeout_s = min(FETCH_SECONDS, self._config.step_timeout_s / 2)
        lost = await self._on_each("fetch", list(groups), timeout_s)
        if any(lost):
            raise GroupsLost(sorted({index for of_rank in lost for index in of_rank}))
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

    async def save(self, directory: str | Path) -> list[SealedFile]:
        """A checkpoint of weights, optimizer, schedule and random state; the caller moves it into place.

        Returns the files that the ranks wrote, as they saw them.

        Raises:
            OSError: a rank's storage failed; the group is well.
        """
        sealed: list[SealedFile] = []
        for files in await self._on_each("save", str(directory), only_writes=True):
            if isinstance(files, NotSaved):
                raise OSError(files.errno, files.text)
            sealed += files
        return sealed

    async def load(self, directory: str | Path, optim: OptimConfig | None = None, total_steps: int | None = None) -> None:
        """Continue from what ``save`` wrote, with the optimizer's settings and the schedule that hold from now on, or with its own."""
        stage = None if optim is None or total_steps is None else (optim, total_steps)
        await self._on_all("load", str(directory), stage)
        if stage is not None:
            self._settings = stage

    async def export_hf(self, directory: str | Path) -> None:
        """Write a model folder that plain transformers and vLLM load."""
        await self._on_all("export_hf", str(directory), only_writes=True)

    # how calls are made

    async def _on_all(self, method: str, *args: Any, timeout_s: float | None = None, only_writes: bool = False) -> Any:
        return (await self._on_each(method, *args, timeout_s=timeout_s, only_writes=only_writes))[0]

    async def _on_each(self, method: str, *args: Any, timeout_s: float | None = None, only_writes: bool = False) -> list[Any]:
        async with self._one_call:
            self._require_alive(method)
            refs = [getattr(actor, method).remote(*args) for actor in self._actors]
            return await self._settle(refs, timeout_s or self._config.step_timeout_s, method, only_writes)

    def _require_alive(self, method: str) -> None:
        if self._lost is not None:
            raise LearnerLost(f"the learner cannot {method}: {self._lost}; call restart(checkpoint_dir)")

    async def _settle(self, calls: Sequence[Awaitable[Any]], timeout_s: float, what: str, only_writes: bool = False) -> list[Any]:
        """Results of all ranks; or the end of the group. A cancelled wait ends it too, since the ranks would go on out of step.

        ``only_writes``: the call changes files and nothing that the ranks hold, so that a full disk leaves them as they were.
        """
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(await_ref(call, timeout_s, f"{what} on learner rank {rank}")) for rank, call in enumerate(calls)
        ]
        ended: list[asyncio.Future[Any]] = []  # in the order in which they did
        for task in tasks:
            task.add_done_callback(ended.append)
        try:
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if pending:  # a rank failed: the others follow at once, or hang in a collective
                _, pending = await asyncio.wait(pending, timeout=GRACE_SECONDS)
            await asyncio.sleep(0.0)  # what is done has called back then
        except asyncio.CancelledError:
            await self._tear_down(f"{what} was cancelled half-way", kill_tasks=tasks)
            raise
        errors = {tasks.index(task): error for task in ended if (error := task.exception()) is not None}
        if not errors:
            return [task.result() for task in tasks]
        if not pending and still_in_step(list(errors.values()), len(tasks), only_writes):
            raise next(iter(errors.values()))
        rank, error = first_cause(errors)
        story = _story(what, rank, errors, hung=len(pending))
        await self._tear_down(story, kill_tasks=tasks)
        if classify(error) is FailureKind.INFRASTRUCTURE:
            raise LearnerLost(f"the learner was lost: {story}") from error
        raise error

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


def still_in_step(errors: Sequence[BaseException], ranks: int, only_writes: bool = False) -> bool:
    """Whether ranks that have all answered, some with ``errors``, can go on together: all refused alike (a bad value, a bug), or the disk
    of a call that ``only_writes`` is full."""
    if only_writes and all(_disk_is_full(error) for error in errors):
        return True
    return len(errors) == ranks and not any(classify(error) is FailureKind.INFRASTRUCTURE for error in errors)


def first_cause(errors: Mapping[int, BaseException]) -> tuple[int, BaseException]:
    """The rank that the others failed because of, and its error; ``errors`` by rank, in the order in which they came.

    A process that died outweighs all. Then a rank's own error outweighs what is heard of others (a broken or late collective, silence),
    whichever was heard first.
    """
    return min(errors.items(), key=lambda entry: _collateral(entry[1]))


def _collateral(error: BaseException) -> int:
    """0: the rank died. 1: an error of its own. 2: it says that another rank is gone. 3: it did not answer."""
    if isinstance(error, ray.exceptions.RayActorError):
        return 0
    if isinstance(error, DeadlineExceededError):
        return 3
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    symptom = "torch.DistError" in class_names(type(cause)) or isinstance(cause, ConnectionError | TimeoutError)
    return 2 if symptom or (isinstance(cause, RuntimeError) and _HEARSAY.search(str(cause))) else 1


_HEARSAY = re.compile(r"gloo|nccl|connection (reset|closed)|socket|\bstore\b|tcpstore|timed out|monitoredbarrier", re.IGNORECASE)
_TORCH_CANNOT_WRITE = re.compile(r"PytorchStreamWriter|enforce fail at inline_container")  # torch gives no errno


def _disk_is_full(error: BaseException) -> bool:
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    if isinstance(cause, OSError):
        return cause.errno in FULL_DISK
    return isinstance(cause, RuntimeError) and bool(_TORCH_CANNOT_WRITE.search(str(cause)))


def _story(what: str, rank: int, errors: Mapping[int, BaseException], hung: int) -> str:
    """What happened, for people: the cause first, then what followed from it."""
    followers = [f"rank {other}: {_one_line(error)}" for other, error in errors.items() if other != rank]
    followers += [f"{hung} more did not answer any more"] if hung else []
    followed = f" (then {'; '.join(followers)})" if followers else ""
    return f"{what} failed on rank {rank}: {_one_line(errors[rank])}{followed}"


def _one_line(error: BaseException) -> str:
    """Class and first line of what a rank raised; of what Ray says of it, the first line that says something."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"[:300]
