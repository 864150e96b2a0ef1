"""Broadcast and store on a real pool of two generators and a learner under ZeRO-3. Of one generator and ZeRO-0: test_pool."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from actors.learner_group import LearnerGroup
from actors.pool import ActorPool
from tests.actors.test_pool import PROBE, request, until
from tests.patience import PATIENCE, WAIT_S

pytestmark = pytest.mark.asyncio(loop_scope="session")


def learner_of(pool: ActorPool) -> LearnerGroup:
    assert pool.learner is not None
    return pool.learner


def serving(pool: ActorPool) -> list[tuple[str, int]]:
    return [(generator.name, generator.pid) for generator in pool.fleet.serving_generators()]


def node_weights(pool: ActorPool) -> Path:
    return Path(pool._shared_memory_dir) / "weights"


@pytest.mark.parametrize(("version", "processes"), [(1, 0), (2, 1)], ids=["collective", "direct"])
async def test_two_generators_receive_a_broadcast_under_running_samples_while_the_learner_goes_on(
    pool: ActorPool, version: int, processes: int
) -> None:
    groups = [asyncio.create_task(pool.fleet.run_group(request(f"flying-{version}-{i}", samples=16, max_new_tokens=100))) for i in range(8)]
    await asyncio.sleep(0.2)
    manifest = await learner_of(pool).publish(version, PROBE, receivers=serving(pool), receive_s=WAIT_S, engine_processes=processes)
    pair = (np.arange(5, 10, dtype=np.int32), np.arange(10, 20, dtype=np.int32))
    acks, _ = await asyncio.gather(pool.fleet.update_weights(manifest), learner_of(pool).logprobs([pair]))
    assert {ack.generator for ack in acks} == {"generator-0", "generator-1"}
    for ack in acks:
        assert not ack.fallback and "receive" in ack.seconds, f"the bytes must come by broadcast: {ack}"
        assert (ack.version, ack.digest, ack.lag) == (version, manifest.digest, 1), (
            "the digest of what arrived is that of what was published"
        )
        assert ack.probe_error is not None and ack.probe_error < 1e-4, "the engine must compute what the learner computes"
    done = await asyncio.gather(*groups)
    versions = {seen for group in done for seen in (group.meta.oldest_version, group.meta.newest_version)}
    assert versions <= {version - 1, version} and version in versions, "the update must have met samples in flight, and none was lost"


@pytest.mark.parametrize(("version", "processes"), [(3, 0), (5, 1)], ids=["collective", "direct"])
async def test_a_generator_killed_before_it_joins_costs_the_others_the_time_limit_and_no_more(
    pool: ActorPool, version: int, processes: int
) -> None:
    for digest in {path.name for path in node_weights(pool).iterdir()} - {"lock"}:
        (node_weights(pool) / digest).unlink()  # nothing was learnt since: the node would have these very bytes
    manifest = await learner_of(pool).publish(version, PROBE, receivers=serving(pool), receive_s=3.0 * PATIENCE, engine_processes=processes)
    os.kill(pool.pids()["generator-1"], signal.SIGKILL)
    (ack,) = await pool.fleet.update_weights(manifest)
    assert ack.generator == "generator-0" and ack.fallback and "fetch" in ack.seconds, f"the version must come from the store then: {ack}"
    assert (ack.version, ack.digest) == (version, manifest.digest) and ack.probe_error is not None and ack.probe_error < 1e-4
    await until(lambda: len(serving(pool)) == 2, "the lost generator was replaced")
    done = await asyncio.gather(*(pool.fleet.run_group(request(f"after-{version}-{i}")) for i in range(4)))
    assert {group.meta.oldest_version for group in done} == {version}, (
        "the replacement, which was not invited, has the version from the store"
    )
    manifest = await learner_of(pool).publish(version + 1, PROBE, receivers=serving(pool), receive_s=WAIT_S, engine_processes=processes)
    acks = await pool.fleet.update_weights(manifest)
    assert [ack.fallback for ack in acks] == ["", ""], "the next group is made of those that live now"
