"""Members of a real pool come and go while it works: real Ray, vLLM and reward processes. One start serves all tests, in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from actors.pool import ActorPool
from actors.pool_config import PoolConfig
from actors.trajectory import ScoredGroup
from tests.actors.test_pool import gone, make_model, pool_config, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


def elastic(model_dir: Path, run_dir: Path) -> PoolConfig:
    return replace(pool_config(model_dir, run_dir), learner=None, num_cpus=3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ActorPool]:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, seed=0)
    pool = ActorPool(elastic(folder, tmp_path_factory.mktemp("run")))
    await pool.start(folder)
    supervisor = asyncio.create_task(pool.fleet.supervise())
    yield pool
    assert not supervisor.done(), "the supervisor ended during the tests"
    supervisor.cancel()
    await pool.close()


async def groups_of(pool: ActorPool, *uids: str) -> list[ScoredGroup]:
    return list(await asyncio.gather(*(pool.fleet.run_group(request(uid), want_texts=True) for uid in uids)))


async def until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"within {seconds:.0f} s it did not happen that {what}") from None


def member(pool: ActorPool, name: str) -> dict[str, object]:
    return next((entry for entry in pool.fleet.snapshot() if entry["name"] == name), {})


async def test_a_member_that_gets_sigterm_is_drained_and_replaced_and_no_group_notices(pool: ActorPool) -> None:
    before = await groups_of(pool, "a", "b")
    generator, reward = pool.pids()["generator-0"], pool.pids()["reward-0"]
    running = asyncio.create_task(groups_of(pool, "a", "b", *(f"load-{n}" for n in range(20))))
    await asyncio.sleep(0.02)
    os.kill(generator, signal.SIGTERM)
    os.kill(reward, signal.SIGTERM)
    groups = await asyncio.wait_for(running, 90)
    assert [group.texts for group in groups[:2]] == [group.texts for group in before]
    await until(lambda: member(pool, "generator-0").get("pid") not in (None, generator), "the generator's seat was filled again")
    await until(lambda: member(pool, "reward-0").get("pid") not in (None, reward), "the reward worker's seat was filled again")
    await gone(generator)
    await gone(reward)
    stats = pool.fleet.stats()
    assert (stats["drains/generator"], stats["drains/reward"]) == (1, 1)
    assert (stats["restarts/generator"], stats["restarts/reward"]) == (0, 0), "a notice is not a failure"
    assert [group.texts for group in await groups_of(pool, "a", "b")] == [group.texts for group in before]


async def test_a_second_generator_joins_takes_its_share_and_leaves(pool: ActorPool) -> None:
    with pytest.raises(ValueError, match="private cluster was started with 3"):
        pool.fleet.scale("generators", 3)
    pool.fleet.scale("generators", 2)
    assert member(pool, "generator-1")["state"] == "starting"
    await groups_of(pool, "meanwhile")
    await until(lambda: member(pool, "generator-1")["state"] == "serving", "the newcomer served")
    groups = await groups_of(pool, *(f"shared-{n}" for n in range(8)))
    assert {group.meta.generator for group in groups} == {"generator-0", "generator-1"}
    newcomer = pool.pids()["generator-1"]
    pool.fleet.scale("generators", 1)
    groups = await groups_of(pool, *(f"after-{n}" for n in range(4)))
    assert {group.meta.generator for group in groups} == {"generator-0"}
    await until(lambda: not member(pool, "generator-1"), "it left")
    await gone(newcomer)
    assert pool.fleet.stats()["restarts/generator"] == 0
