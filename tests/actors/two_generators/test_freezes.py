"""Every actor type is frozen in turn (SIGSTOP: it hangs, it does not die), and the driver notices by the configured deadline.

On the pool that has been through test_broadcasts (or a new one), in order; the last test closes it. Replacements come up in the
background; nobody waits for them here (tests/actors/test_pool.py does).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from actors.failures import LearnerLost
from actors.pool import ActorPool
from learner.config import OptimConfig
from rewards.job import ScoreJob
from tests.actors.test_pool import request, until
from tests.patience import WAIT_S

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEARNER_STEP_S = 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def supervision(pool: ActorPool) -> AsyncIterator[None]:
    supervisor = asyncio.create_task(pool.fleet.supervise(), name="supervise")
    yield
    supervisor.cancel()


def freeze(pool: ActorPool, name: str) -> None:
    os.kill(pool.pids()[name], signal.SIGSTOP)


async def frozen_actor_is_replaced(pool: ActorPool, name: str) -> None:
    role = name.split("-")[0]
    before = pool.fleet.stats()[f"restarts/{role}"]
    freeze(pool, name)
    await until(lambda: pool.fleet.stats()[f"restarts/{role}"] > before, f"the frozen {name} was noticed")


async def score(pool: ActorPool, carbons: int) -> None:
    """An answer that no cache knows gets its verdict."""
    smiles = "C" * carbons
    job = ScoreJob("smiles2formula", f"<answer>C{carbons}H{2 * carbons + 2}</answer>", {"smiles": smiles}, {"answer": f"C{carbons}H4"})
    (verdict,) = await pool.fleet.score_texts([job])
    assert verdict.value is not None, f"a frozen process is no reason for a failed verdict: {verdict}"


async def test_a_frozen_scoring_process_is_replaced_and_its_answer_scored(pool: ActorPool) -> None:
    freeze(pool, "reward-0/worker-0")
    await score(pool, 5)


async def test_a_frozen_zygote_is_noticed_when_it_is_needed(pool: ActorPool) -> None:
    freeze(pool, "reward-0/zygote")
    os.kill(pool.pids()["reward-0/worker-0"], signal.SIGKILL)
    await score(pool, 6)


async def test_a_frozen_reward_actor_is_replaced(pool: ActorPool) -> None:
    await frozen_actor_is_replaced(pool, "reward-0")


async def test_a_frozen_learner_rank_is_a_lost_learner(pool: ActorPool) -> None:
    learner = pool.learner
    assert learner is not None
    await learner.begin_stage(OptimConfig(), total_steps=10, seed=0)
    learner._config = replace(learner._config, step_timeout_s=LEARNER_STEP_S)  # begin_stage may be slow on a busy machine
    freeze(pool, "learner-0")
    with pytest.raises(LearnerLost, match="did not answer within"):
        await learner.set_threads(1)


async def test_a_frozen_engine_with_work_is_replaced_though_its_actor_answers(pool: ActorPool) -> None:
    before = pool.fleet.stats()["restarts/generator"]
    freeze(pool, "generator-0/engine")
    groups = [asyncio.create_task(pool.fleet.run_group(request(f"frozen-{n}"))) for n in range(2)]  # one for each generator
    await until(lambda: pool.fleet.stats()["restarts/generator"] > before, "the frozen engine was noticed")
    for group in groups:
        group.cancel()
    await asyncio.gather(*groups, return_exceptions=True)


async def test_a_frozen_generator_actor_is_replaced(pool: ActorPool) -> None:
    await frozen_actor_is_replaced(pool, "generator-1")


async def test_closing_ends_the_frozen_too(pool: ActorPool) -> None:
    supervisor = next(task for task in asyncio.all_tasks() if task.get_name() == "supervise")
    supervisor.cancel()
    pids = list(pool.pids().values())
    await pool.close()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "every process ended", WAIT_S)
