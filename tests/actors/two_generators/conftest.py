"""One pool for all modules of this folder: two generators, a learner of two ranks under ZeRO-3, short deadlines. It starts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from actors.pool import ActorPool
from actors.pool_config import FleetTiming
from learner.config import LearnerConfig
from tests.actors.test_pool import make_model, pool_config, started_pool
from tests.patience import PATIENCE, START_S, WAIT_S

SCORE_DEADLINE_S = 1.0 * PATIENCE
# Short, since the tests wait for them to strike; long enough not to strike whoever only waits for a busy machine.
TIMING = FleetTiming(health_period_s=0.5, health_s=4.0 * PATIENCE, hang_s=4.0 * PATIENCE, score_s=8.0 * PATIENCE, start_s=START_S)


@pytest.fixture(scope="module", autouse=True)
def ray_ends_with_the_module() -> None:
    """Not here: the pool goes from module to module."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ActorPool]:
    """Nothing supervises it yet: test_freezes does, once the broadcasts are through."""
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, seed=0)
    config = pool_config(folder, tmp_path_factory.mktemp("run"))
    assert config.learner is not None
    config = replace(
        config,
        generators=replace(config.generators, count=2, cpus=0.5),
        learner=replace(config.learner, config=LearnerConfig(zero_stage=3), step_timeout_s=WAIT_S),
        rewards=replace(config.rewards, deadline_s=SCORE_DEADLINE_S),
        timing=TIMING,
    )
    async with started_pool(config, folder) as pool:
        yield pool
