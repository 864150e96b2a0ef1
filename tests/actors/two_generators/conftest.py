"""One pool for all modules of this folder: two generators, a learner of two ranks under ZeRO-3, short deadlines. It starts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from actors.pool import ActorPool
from actors.pool_config import FleetTiming
from learner.config import LearnerConfig, OptimConfig
from tests.actors.test_pool import make_model, pool_config

SCORE_DEADLINE_S = 1.0
TIMING = FleetTiming(health_period_s=0.5, health_s=2.0, hang_s=2.0, score_s=8.0)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ActorPool]:
    """Nothing supervises it yet: test_freezes does, once the broadcasts are through."""
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, seed=0)
    config = pool_config(folder, tmp_path_factory.mktemp("run"))
    assert config.learner is not None
    pool = ActorPool(
        replace(
            config,
            generators=replace(config.generators, count=2, cpus=0.5),
            learner=replace(config.learner, config=LearnerConfig(zero_stage=3), step_timeout_s=60.0),
            rewards=replace(config.rewards, deadline_s=SCORE_DEADLINE_S),
            timing=TIMING,
        )
    )
    await pool.start(folder)
    assert pool.learner is not None
    await pool.learner.begin_stage(OptimConfig(lr=1e-2), total_steps=20, seed=0)
    yield pool
    await pool.close()
