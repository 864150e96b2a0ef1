"""The actor pool: one Ray cluster (private or joined), one placement group, every actor in its own bundle, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import ray
from ray._private import ray_constants

from actors.fleet import RolloutFleet
from actors.generator import RolloutGenerator
from actors.generator_config import engine_environment
from actors.handles import RayGenerator, RayScorer, seconds_per_job
from actors.learner_group import LearnerGroup
from actors.learner_worker import LearnerWorker
from actors.leftovers import (
    POOL_ID_VARIABLE,
    PoolNote,
    agents_of,
    end_failed_start,
    end_processes,
    processes_of,
    start_ticks,
    sweep,
)
from actors.node_folder import NodeFolder, remove_node_folder, sweep_node
from actors.placement import Placement, PoolStartError
from actors.pool_config import FleetSize, PoolConfig
from actors.private_folder import NoPrivateFolderError, PrivateFolder
from actors.reward_worker import RewardWorker
from actors.shared_directory import require_shared

log = logging.getLogger(__name__)

ENDING_SECONDS = 10.0
# One node on the loopback: no prestarted workers, no usage report, no metrics export that nobody scrapes.
_PRIVATE_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves the pool beside anything else on the machine
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # see _on_the_loopback
}


class ActorPool:
    """``async with ActorPool(config) as pool`` or ``start``/``close``. One per process.

    After ``start``: ``pool.fleet`` (generators and reward workers), ``pool.learner`` (None without a learner in the config) and
    ``pool.pids()``. The stage's supervisor runs ``pool.fleet.supervise()`` beside its own loops.
    """

    reward_worker: type[RewardWorker] = RewardWorker  # a subclass may score something else; the pool is the same

    def __init__(self, config: PoolConfig) -> None:
        config.validate()
        self.config = config
        self._pool_id = secrets.token_hex(8)
        self._placement = Placement(config)
        self._private: PrivateFolder | None = None  # of a private cluster
        self._shared_memory_dir = f"/dev/shm/chemr-{self._pool_id[:8]}"
        self._node_folder: NodeFolder | None = None
        self._environment_before: dict[str, str | None] = {}
        self._started = False
        size = FleetSize(config.min_generators, config.min_reward_workers, config.max_generators, config.generators.engine.max_num_seqs)
        self.fleet = RolloutFleet(self, config.generators.count, config.rewards.count, config.timing, size, self._placement)
        self.learner = LearnerGroup(self._spawn_learner, config.learner) if config.learner is not None else None

    async def start(self, model_dir: str | Path | None = None, version: int = 0) -> None:
        """Start Ray, place all actors and bring them up in parallel.

        With ``model_dir`` the learner and the generators load it, its weights being ``version``; without, learner ranks and reward workers
        come up empty: then ``pool.learner.start(model_dir)`` and ``pool.fleet.set_model(model_dir, version)``.

        Raises ValueError, PoolStartError, NotSharedError, RunDirectoryBusyError, or what an actor raised; everything is closed again then.
        """
        for killed in sweep(self.config.run_dir):
            log.warning("ended process %s, left over by a driver that was killed", killed)
        try:
            self._started = True
            self._start_ray()
            await self._placement.start()
            if self.learner is not None:  # whose checkpoints are to be found again
                await require_shared(self.config.run_dir, await self._placement.nodes())
            folder = None if model_dir is None else str(model_dir)
            work = [self.fleet.start(folder, version)]
            if self.learner is not None:
                work.append(self.learner.spawn_ranks() if folder is None else self.learner.start(folder))
            outcomes = await asyncio.gather(*work, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End everything in a fixed order: generators, reward workers, learner, placement group, Ray, processes, folders. Idempotent."""
        if not self._started:
            return
        self._started = False
        processes = await asyncio.to_thread(self._processes)
        try:
            if ray.is_initialized():
                await self.fleet.close()
                if self.learner is not None:
                    await self.learner.close()
                self._placement.close()
        finally:
            await asyncio.to_thread(ray.shutdown)
            killed = await asyncio.to_thread(end_processes, self._pool_id, ENDING_SECONDS, processes)
            if killed:
                log.warning("processes that did not end by themselves were killed: %s", ", ".join(killed))
            if self._node_folder is not None:
                self._node_folder.leave()
                remove_node_folder(self._node_folder.path)  # members that had to be killed may not be quite gone
            if self._private is not None:
                self._private.remove()
                self._private = None
            (self.config.run_dir / "pool.json").unlink(missing_ok=True)
            self._restore_environment()

    async def __aenter__(self) -> ActorPool:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def pids(self) -> dict[str, int]:
        """Processes by role, of those on this machine: ``generator-0``, ``generator-0/engine``, ``reward-0``, ``reward-0/zygote``,
        ``reward-0/worker-0``, ``learner-0`` ... Read afresh at every call; what is being replaced is missing."""
        pids: dict[str, int] = {}
        for generator in self.fleet.generator_members():
            pids[generator.name] = generator.pid
            pids |= {f"{generator.name}/engine": child for child in _children(generator.pid, "EngineCore")[:1]}
        for scorer in self.fleet.scorer_members():
            pids[scorer.name] = scorer.pid
            for zygote in _children(scorer.pid, "rewards.zygote")[:1]:
                pids[f"{scorer.name}/zygote"] = zygote
                pids |= {f"{scorer.name}/worker-{n}": child for n, child in enumerate(_children(zygote))}
        if self.learner is not None:
            pids |= {f"learner-{rank}": pid for rank, pid in enumerate(self.learner.pids())}
        return {name: pid for name, pid in pids.items() if pid and psutil.pid_exists(pid)}

    def _processes(self) -> list[psutil.Process]:
        """The pool's, and Ray's own of a private cluster."""
        return [*processes_of(self._pool_id), *(agents_of(self._private.path) if self._private is not None else [])]

    # the fleet's spawner

    def generator(self, index: int, incarnation: int) -> RayGenerator:
        name = f"generator-{index}"
        folder = Path(self._shared_memory_dir) / name
        engine, seed = self.config.generators.engine, index + 1000 * incarnation
        options = self._options(name, self.config.generators.gpus, engine_environment(engine, folder))
        actor = ray.remote(RolloutGenerator).options(**options, max_concurrency=10_000).remote(name, engine, self._shared_memory_dir, seed)
        return RayGenerator(name, actor)

    def scorer(self, index: int, incarnation: int) -> RayScorer:
        name = f"reward-{index}"
        threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        actor = ray.remote(self.reward_worker).options(**self._options(name, 0.0, threads)).remote(self.config.rewards)
        return RayScorer(name, actor, seconds_per_job(self.config.rewards))

    def _spawn_learner(self, rank: int) -> Any:
        learner = self.config.learner
        assert learner is not None
        threads = {
            "OMP_NUM_THREADS": str(learner.config.threads),
            # Threads that wait for the next kernel must not burn the cores that generators need meanwhile.
            "GOMP_SPINCOUNT": "0",
            "OMP_WAIT_POLICY": "passive",
            "TOKENIZERS_PARALLELISM": "false",
        }
        options = self._options(f"learner-{rank}", learner.gpus, threads)
        return ray.remote(LearnerWorker).options(**options).remote(rank, learner.ranks, learner.nice)

    def _options(self, name: str, gpus: float, environment: dict[str, str]) -> dict[str, Any]:
        return {
            "num_cpus": self._placement.resources(name)["CPU"],
            "num_gpus": gpus,
            "max_restarts": 0,  # a restarted actor would serve old weights: the fleet makes new ones
            "max_task_retries": 0,
            "runtime_env": {"env_vars": {**environment, POOL_ID_VARIABLE: self._pool_id}},
            "scheduling_strategy": self._placement.strategy(name),
        }

    # Ray

    def _start_ray(self) -> None:
        if ray.is_initialized():
            raise PoolStartError("Ray is initialised in this process already; a pool starts or joins its own cluster")
        directories = [self._shared_memory_dir]
        sweep_node()
        self._node_folder = NodeFolder(Path(self._shared_memory_dir))
        common: dict[str, Any] = {"log_to_driver": self.config.log_to_driver, "configure_logging": False, "logging_level": "ERROR"}
        if self.config.address is None:
            logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that the cluster has a token
            try:
                self._private = PrivateFolder(self._pool_id)
            except NoPrivateFolderError as error:
                raise PoolStartError(str(error)) from None
            directories.append(str(self._private.path))
            self._set_environment({**_PRIVATE_RAY, "RAY_AUTH_TOKEN": auth_token()})
            common |= {
                "address": "local",
                "num_cpus": self.config.logical_cpus(),
                "include_dashboard": False,
                "object_store_memory": self.config.object_store_mb << 20,
                "_temp_dir": str(self._private.session),
                "_node_ip_address": "127.0.0.1",
            }
        else:
            common |= {"address": self.config.address}
        PoolNote(self._pool_id, os.getpid(), start_ticks(os.getpid()) or 0, tuple(directories)).write(self.config.run_dir)
        with contextlib.nullcontext() if self._private is None else _on_the_loopback():
            try:
                ray.init(**common)
            except Exception as error:  # Ray has no type of its own for it
                if self.config.address is not None or "timed out" not in str(error).lower():
                    raise
                # A busy machine: 30 s were not enough for the node, or for the port of its control service.
                log.warning("the private Ray cluster did not come up in time, trying once more: %s", error)
                assert self._private is not None
                end_failed_start(self._private.session)
                ray.init(**common)

    def _set_environment(self, variables: dict[str, str]) -> None:
        # ray.init switches token authentication on (RAY_AUTH_MODE) when the user did not decide otherwise.
        self._environment_before = {name: os.environ.get(name) for name in [*variables, "RAY_AUTH_MODE"]}
        os.environ.update(variables)

    def _restore_environment(self) -> None:
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment_before = {}


@contextlib.contextmanager
def _on_the_loopback() -> Iterator[None]:
    """Ray makes an address that others can reach of 127.0.0.1 and listens there, or everywhere, unless it may have no clusters: a switch
    meant for Windows and macOS, read from RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER when Ray is imported."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@functools.cache
def auth_token() -> str:
    """The token of private clusters. One per process, since Ray caches it (a second cluster with another token, or with none, refuses
    its own driver); the user's own if there is one. Never written to a file."""
    return os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(16)


def _children(pid: int, mark: str = "") -> list[int]:
    """Pids of direct children whose command line contains ``mark``, oldest first."""
    try:
        children = psutil.Process(pid).children() if pid else []
        return [child.pid for child in sorted(children, key=lambda child: (child.create_time(), child.pid)) if mark in _command(child)]
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.NoSuchProcess:
        return ""
