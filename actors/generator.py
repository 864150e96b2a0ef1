"""The rollout generator: a Ray actor around one vLLM engine.

consumes   group requests, weight manifests
waits for  its engine; the object store (buckets of a manifest)
unblocked by  finished samples, arrived buckets, deadlines
produces   groups of tokens with log-probs and versions (by reference) and their metadata; acknowledgements of weight versions

Make it remote with ``ray.remote(RolloutGenerator)``; it is an asyncio actor, so any number of calls run at once. An actor whose engine
failed raises :class:`actors.engine.EngineFailedError` from every call and does not heal: kill it and start another.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from actors.decoding_pace import DecodingPace, pace_of
from actors.engine import Engine, EngineFailedError
from actors.engine_load import EngineLoad
from actors.generator_config import PROBE_LARGEST, GeneratorConfig
from actors.node_folder import NodeFolder, sweep_node
from actors.rollout_assembly import Sample, assemble_group
from actors.termination import TerminationNotice
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, sample_seed
from actors.weight_delivery import WeightDelivery
from actors.weights import ProbeDifference, PullAck, WeightManifest, checkpoint_shapes, probe_difference, require_same_weights


class ProbeMismatchError(EngineFailedError):
    """After an update the engine does not compute what the learner computes. A replacement helps if it was broken; if that fails, too, at a
    version that no other generator has proved, the fault is not the generator's (:class:`actors.failures.EnginesDisagreeError`)."""


@dataclass(frozen=True, slots=True)
class GeneratorHealth:
    """Counters since the actor started; a supervisor that sees ``working`` without any counter moving for long may call it hung.

    ``steps`` are the engine's own, each of which brings every sample in it a token or reads a part of a prompt; they move while ``groups``,
    ``samples`` and ``tokens``, which count what is finished, stand still. ``probing``: it computes a probe, which is no group.
    ``paused``: it stands still for new weights.
    ``busy_s`` is time with at least one group in the engine. ``pid`` is the actor's. ``leaving``: it was told to end (SIGTERM).
    ``cache_usage`` and ``preemptions`` are of :class:`actors.engine_load.EngineLoad`; ``pace`` is None before there is one.
    """

    generator: str
    pid: int
    alive: bool
    version: int
    running: int  # groups in the engine
    groups: int
    samples: int
    tokens: int
    updates: int
    busy_s: float
    uptime_s: float
    cache_usage: float = 0.0
    preemptions: int = 0
    pace: DecodingPace | None = None
    leaving: bool = False
    steps: int = 0
    probing: bool = False
    paused: bool = False

    @property
    def working(self) -> bool:
        """Whether its engine should be making steps."""
        return (self.running > 0 or self.probing) and not self.paused


class RolloutGenerator:
    """See the module's docstring.

    Args:
        name: unique among the generators of a run; also the name of its private folder.
        config: one engine's configuration.
        shared_memory_dir: private to the run, on a memory file system (``/dev/shm/…``), at most about 30 characters.
        engine_seed: distinct per generator and per restart.
    """

    def __init__(self, name: str, config: GeneratorConfig, shared_memory_dir: str, engine_seed: int) -> None:
        config.validate()
        self._name = name
        self._config = config
        sweep_node()
        self._node_folder = NodeFolder(Path(shared_memory_dir))
        self._dir = self._node_folder.path / name
        self._engine_seed = engine_seed
        self._engine: Engine | None = None
        self._failure: EngineFailedError | None = None
        self._shapes: Mapping[str, tuple[int, ...]] = {}
        self._version = -1
        self._last_ack: PullAck | None = None
        self._delivery = WeightDelivery(name, self._node_folder.path, config.fetch_timeout_s)
        self._changing = asyncio.Lock()  # start, retask, pull and stop exclude each other; generate runs beside pull
        self._probing = False
        self._running = self._groups = self._samples = self._tokens = self._updates = 0
        self._busy_s = 0.0
        self._notice = TerminationNotice()
        self._notice.listen()
        self._busy_since = self._started = time.monotonic()

    async def start(self, model_dir: str, version: int) -> int:
        """Starts the engine on a model folder whose weights are those of ``version``; returns the actor's pid."""
        async with self._changing:
            if self._engine is not None:
                raise RuntimeError(f"generator {self._name} is already running; use retask() for another model")
            await self._start(model_dir, version)
        return os.getpid()

    async def retask(self, model_dir: str, version: int) -> None:
        """Swaps the engine for one on another model inside this actor.

        Raises:
            RuntimeError: while groups are in flight: finish or cancel them first.
        """
        async with self._changing:
            if self._running:
                raise RuntimeError(f"generator {self._name} has {self._running} groups in flight; retask() wants them finished first")
            await self._stop_engine()
            await self._start(model_dir, version)

    @ray.method(num_returns=2)
    async def generate(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]:
        """All samples of one group; the second return value is small and safe to fetch into the driver.

        Raises:
            actors.engine.RequestRefusedError: this request can never be served.
            actors.engine.EngineFailedError: replace this actor.
        """
        engine = self._serving()
        sampling = request.sampling
        began = time.monotonic()
        cut_at = None if request.cut_after_s is None else began + request.cut_after_s
        self._enter(began)
        try:
            async with asyncio.TaskGroup() as group:  # one failure cancels the others, and their requests inside the engine
                tasks = [
                    group.create_task(
                        engine.sample(
                            request.prompt_ids,
                            sampling.max_new_tokens,
                            sampling.temperature,
                            sample_seed(request.seed, request.uid, index, request.attempt),
                            cut_at,
                            sampling.top_p,
                            sampling.end_ids,
                        )
                    )
                    for index in range(sampling.samples)
                ]
        except ExceptionGroup as failures:
            failure = _first(failures)
            raise (self._failed(failure) if isinstance(failure, EngineFailedError) else failure) from None
        finally:
            self._leave()
        samples: list[Sample] = [task.result() for task in tasks]
        self._groups += 1
        self._samples += len(samples)
        self._tokens += sum(len(sample.token_ids) for sample in samples)
        return assemble_group(request, samples, self._name, time.monotonic() - began)

    async def pull(self, manifest: WeightManifest) -> PullAck:
        """Loads a published version under the running samples and acknowledges it. Pulling the version it has again changes nothing.

        Raises:
            WeightsNotDeliveredError: the version's bytes did not arrive, or not those that were published; the engine was not touched and
                serves on.
            ValueError: the manifest's names or shapes are another model's; likewise.
            ProbeMismatchError, actors.engine.EngineFailedError: replace this actor.
        """
        async with self._changing:
            engine = self._serving()
            last = self._last_ack
            if last is not None and (last.version, last.digest) == (manifest.version, manifest.digest):
                return last
            require_same_weights(self._shapes, manifest.layout)
            try:
                delivered = await self._delivery.bring(manifest, engine)
                seconds = dict(delivered.seconds)
                try:
                    seconds |= await engine.load(delivered.file, manifest.version)
                finally:
                    self._delivery.loaded(delivered)
                lag, self._version = manifest.version - self._version, manifest.version
                found, seconds["probe"] = await self._probe(engine, manifest)
            except EngineFailedError as failure:
                raise self._failed(failure) from failure
            self._updates += 1
            self._last_ack = PullAck(
                self._name,
                manifest.version,
                manifest.digest,
                None if found is None else found.largest,
                manifest.nbytes,
                seconds,
                lag,
                delivered.fallback,
                None if found is None else found.mean,
            )
            return self._last_ack

    async def version(self) -> int:
        """The weight version it serves; −1 before start."""
        return self._version

    async def node(self) -> str:
        """The id of the node it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    async def health(self) -> GeneratorHealth:
        """Never blocks on the engine."""
        now = time.monotonic()
        load = self._engine.load_seen if self._engine is not None else EngineLoad()
        busy = self._busy_s + (now - self._busy_since if self._running else 0.0)
        return GeneratorHealth(
            generator=self._name,
            pid=os.getpid(),
            alive=self._failure is None and self._engine is not None and self._engine.alive,
            version=self._version,
            running=self._running,
            groups=self._groups,
            samples=self._samples,
            tokens=self._tokens,
            updates=self._updates,
            busy_s=busy,
            uptime_s=now - self._started,
            cache_usage=load.cache_usage,
            preemptions=load.preemptions,
            pace=pace_of(load.moments),
            leaving=self._notice.received,
            steps=self._engine.steps if self._engine is not None else 0,
            probing=self._probing,
            paused=self._engine.paused if self._engine is not None else False,
        )

    async def stop(self) -> None:
        """Ends the engine and removes its folder; groups in flight fail. Safe to call twice, and on a failed engine."""
        async with self._changing:
            await self._stop_engine()
            await asyncio.to_thread(self._node_folder.leave)
        self._notice.served()

    # --- details -----------------------------------------------------------------------------------------------------------------

    async def _start(self, model_dir: str, version: int) -> None:
        self._shapes = checkpoint_shapes(Path(model_dir))
        try:
            self._engine = await Engine.start(self._config, Path(model_dir), self._dir, self._engine_seed, version)
        except EngineFailedError as failure:
            raise self._failed(failure) from failure
        self._version = version
        self._last_ack = None

    async def _stop_engine(self) -> None:
        engine, self._engine, self._version = self._engine, None, -1
        self._delivery.forget()
        if engine is not None:
            await engine.stop()

    def _serving(self) -> Engine:
        if self._failure is not None:
            raise EngineFailedError(f"generator {self._name} has failed before and must be replaced: {self._failure}")
        if self._engine is None:
            raise RuntimeError(f"generator {self._name} has no engine; call start() first")
        return self._engine

    def _failed(self, failure: EngineFailedError) -> EngineFailedError:
        self._failure = self._failure or failure
        return failure

    def _enter(self, now: float) -> None:
        if self._running == 0:
            self._busy_since = now
        self._running += 1

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._busy_s += time.monotonic() - self._busy_since

    async def _probe(self, engine: Engine, manifest: WeightManifest) -> tuple[ProbeDifference | None, float]:
        if manifest.probe is None:
            return None, 0.0
        began = time.perf_counter()
        self._probing = True
        try:
            found = probe_difference(manifest.probe, await engine.score(manifest.probe.token_ids))
        finally:
            self._probing = False
        limit = self._config.tolerance(manifest.dtypes)
        if not (found.mean <= limit and found.largest <= PROBE_LARGEST * limit):
            raise ProbeMismatchError(
                f"generator {self._name}: after loading version {manifest.version} the probe's log-probs are off by {found.mean:.2g} in "
                f"the mean and {found.largest:.2g} at most (limits {limit:g} and {PROBE_LARGEST * limit:g}; the learner's weights are "
                f"{', '.join(manifest.dtypes)}, generator.dtype is {self._config.dtype}): the engine does not compute what the learner "
                "computes"
            )
        return found, time.perf_counter() - began


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The samples of a group fail for the same reason: one of them tells it all."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
