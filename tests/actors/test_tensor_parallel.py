"""An engine of two processes (``generator.tensor_parallel=2``) inside the pool, beside a learner. It starts twice: once after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
import ray
from ray.util.placement_group import placement_group_table
from transformers import AutoModelForCausalLM

from actors.learner_group import LearnerGroup
from actors.pool import ActorPool
from actors.pool_config import FleetTiming
from learner.config import OptimConfig
from tests.actors.test_generator import mismatch
from tests.actors.test_pool import PROBE, make_model, pool_config, request, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, seed=0)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ActorPool]:
    config = pool_config(model_dir, tmp_path_factory.mktemp("run"), ranks=1)
    engine = replace(config.generators.engine, tensor_parallel=2, update_timeout_s=240.0, start_timeout_s=600.0)
    pool = ActorPool(
        replace(
            config,
            generators=replace(config.generators, engine=engine),
            rewards=replace(config.rewards, count=0),
            timing=FleetTiming(health_period_s=0.5, health_s=120.0, pull_s=300.0, start_s=600.0),
        )
    )
    supervisor: asyncio.Task[None] | None = None
    try:
        await pool.start(model_dir)
        await learner_of(pool).begin_stage(OptimConfig(lr=1e-2), total_steps=20, seed=0)
        supervisor = asyncio.create_task(pool.fleet.supervise(), name="supervise")
        yield pool
    finally:
        if supervisor is not None:
            supervisor.cancel()
        await pool.close()


def learner_of(pool: ActorPool) -> LearnerGroup:
    assert pool.learner is not None
    return pool.learner


def engine_of(pool: ActorPool) -> tuple[psutil.Process, list[psutil.Process]]:
    """The generator's actor, and every process below it."""
    actor = psutil.Process(pool.pids()["generator-0"])
    return actor, actor.children(recursive=True)


def parts(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that hold a part of the model each."""
    return [process for process in processes if "VllmWorker" in process.name() or "Worker_TP" in process.name()]


def in_shared_memory(pool: ActorPool) -> list[str]:
    run = Path(pool._shared_memory_dir).name
    return sorted(path.name for path in Path("/dev/shm").glob("*") if run in path.name or path.name.startswith(("psm_", "vllm_dist_")))


async def test_it_starts_in_its_own_bundle_and_samples_what_one_process_would(pool: ActorPool, model_dir: Path) -> None:
    groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
    assert len(groups) == 1 and len(groups[0]["bundles"]) == 2, "a generator and a learner, and nobody has added to them"
    assert len(parts(engine_of(pool)[1])) == 2
    tokens, meta = await pool.fleet.write(request("first", samples=8, max_new_tokens=64))
    assert (meta.oldest_version, meta.newest_version, meta.nonfinite) == (0, 0, ())
    model = AutoModelForCausalLM.from_pretrained(model_dir, trust_remote_code=False)
    assert mismatch(tokens, model) < 1e-4, "log-probs must be those of the undivided model"


@pytest.mark.parametrize(("version", "transport"), [(1, "store"), (2, "collective"), (3, "direct")])
async def test_every_part_takes_its_share_of_a_new_version(pool: ActorPool, version: int, transport: str) -> None:
    learner = learner_of(pool)
    await learner.load_dataset([(np.array([5, 6, 7], np.int32), np.array([8, 9, 10, 1], np.int32))])
    await learner.sft_step([0])
    receivers = [(generator.name, generator.pid) for generator in pool.fleet.serving_generators()] if transport != "store" else []
    manifest = await learner.publish(
        version, PROBE, receivers=receivers, receive_s=120.0, engine_processes=2 if transport == "direct" else 0
    )
    (ack,) = await pool.fleet.update_weights(manifest)
    assert (ack.version, ack.digest, ack.fallback) == (version, manifest.digest, "")
    assert ack.probe_error is not None and ack.probe_error < 1e-4, "the engine must compute what the learner computes"
    _, meta = await pool.fleet.write(request(f"under-{transport}"))
    assert (meta.oldest_version, meta.newest_version) == (version, version)


async def test_a_lost_part_is_a_lost_engine_and_its_replacement_has_the_newest_version(pool: ActorPool) -> None:
    before, processes = engine_of(pool)
    os.kill(parts(processes)[1].pid, signal.SIGKILL)
    await until(lambda: pool.fleet.stats()["restarts/generator"] == 1, "the loss was noticed", seconds=300)
    _, meta = await pool.fleet.write(request("afterwards"))
    assert meta.oldest_version == 3 and pool.pids()["generator-0"] != before.pid
    assert not psutil.wait_procs([before, *processes], timeout=60)[1], "no process of the lost engine may be left"


async def test_a_killed_actor_takes_all_parts_with_it_and_nothing_stays_in_shared_memory(pool: ActorPool) -> None:
    actor, processes = engine_of(pool)
    assert len(parts(processes)) == 2 and in_shared_memory(pool)
    os.kill(actor.pid, signal.SIGKILL)
    assert not psutil.wait_procs([actor, *processes], timeout=60)[1], "a part has outlived the actor that was killed"
    await pool.close()
    assert in_shared_memory(pool) == [], "vLLM's segments must be swept with the run's folder"
    assert not ray.is_initialized()
