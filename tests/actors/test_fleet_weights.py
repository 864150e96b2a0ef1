"""Versions of the weights that come late, damaged or not at all, with scripted generators: nobody dies of them, nobody serves old ones."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ObjectFetchTimedOutError, ObjectLostError, OwnerDiedError

from actors.engine import EngineFailedError
from actors.failures import DeadlineExceededError, FleetTooSmallError
from actors.pool_config import FleetTiming
from actors.weight_delivery import WeightDelivery
from actors.weights import (
    PullAck,
    TensorSlot,
    VersionLostError,
    WeightManifest,
    WeightsCorruptError,
    WeightsNotDeliveredError,
    content_digest,
    tensor_digest,
)
from tests.actors.test_fleet import TIMING, ScriptedGenerator, Stage, eventually, manifest, request, running
from tests.actors.test_fleet_membership import states

pytestmark = pytest.mark.asyncio

Pull = Callable[["PullingGenerator", WeightManifest], float]  # seconds that it takes, or an error
TIMES = replace(TIMING, straggler_floor_s=5.0, straggler_ceiling_s=20.0, hang_s=5.0, fleet_wait_s=20.0)


class PullingGenerator(ScriptedGenerator):
    """A pull does what ``behave_on_pull`` says and keeps to its deadline as a handle does: the actor goes on, and its answer comes to the
    pull after."""

    behave_on_pull: Pull = staticmethod(lambda generator, manifest: 0.0)
    tries = 0

    async def pull(self, manifest: WeightManifest, timeout_s: float) -> PullAck:
        self.tries += 1
        seconds = self.behave_on_pull(self, manifest)
        await asyncio.sleep(min(seconds, timeout_s))
        if seconds > timeout_s:
            raise DeadlineExceededError(f"{self.name} pulling version {manifest.version}")
        return await super().pull(manifest, timeout_s)


class PullingStage(Stage):
    def __init__(self, pull: Pull, generators: int = 2, timing: FleetTiming = TIMES) -> None:
        super().__init__(lambda generator, request: 0.05, generators=generators, timing=timing)
        self.pull = pull

    def generator(self, index: int, incarnation: int) -> ScriptedGenerator:
        member = PullingGenerator(f"generator-{index}", incarnation, self.generate)
        member.behave_on_pull = self.pull
        self.generators.append(member)
        return member

    def tries(self, index: int) -> int:
        member = self.generators[index]
        assert isinstance(member, PullingGenerator)
        return member.tries


def fails_first(error: Exception, times: int = 1, name: str = "generator-1") -> Pull:
    def pull(generator: PullingGenerator, manifest: WeightManifest) -> float:
        if generator.name == name and generator.tries <= times:
            raise error
        return 0.0

    return pull


@pytest.mark.parametrize(
    "error",
    [
        WeightsCorruptError("arrived with another digest"),
        WeightsNotDeliveredError("bucket 3 of 60 did not arrive within 60 s"),
        DeadlineExceededError("pulling version 1"),
    ],
)
async def test_a_pull_that_failed_on_the_way_is_made_again_and_meanwhile_the_generator_takes_no_groups(error: Exception) -> None:
    stage = PullingStage(fails_first(error, times=2))
    async with running(stage, supervised=True) as fleet:
        acks = await fleet.update_weights(manifest(1))
        assert [ack.generator for ack in acks] == ["generator-0"]
        assert states(fleet) == {"generator-0": "serving", "generator-1": "behind"}
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(4)))
        assert {group.meta.oldest_version for group in groups} == {1}, "old weights were sampled from after the update had returned"
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it caught up")
        assert fleet.stats()["restarts/generator"] == 0 and len(stage.generators) == 2
        group = await fleet.run_group(request("later"))
        assert group.meta.oldest_version == 1
        assert {ack.version for ack in await fleet.update_weights(manifest(2))} == {2}


async def test_a_slow_pull_holds_an_update_up_for_pull_s_and_no_longer_and_what_is_in_flight_goes_on() -> None:
    def slow(generator: PullingGenerator, manifest: WeightManifest) -> float:
        return 1.0 if generator.name == "generator-1" and generator.tries == 1 else 0.0

    stage = PullingStage(slow)
    stage.generate = lambda generator, request: 0.15
    async with running(stage, supervised=True) as fleet:
        in_flight = [asyncio.create_task(fleet.run_group(request(f"u{n}"))) for n in range(2)]
        await asyncio.sleep(0.02)
        acks = await fleet.update_weights(manifest(1))
        assert [ack.generator for ack in acks] == ["generator-0"]
        groups = await asyncio.gather(*in_flight)
        assert {group.meta.generator for group in groups} == {"generator-0", "generator-1"}, "what was in flight was thrown away"
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it caught up")
        assert fleet.stats()["restarts/generator"] == 0


async def test_a_generator_that_fell_behind_pulls_the_newest_version_and_none_in_between() -> None:
    def never_one(generator: PullingGenerator, manifest: WeightManifest) -> float:
        if generator.name == "generator-1" and manifest.version in (1, 2):
            raise WeightsNotDeliveredError("did not arrive")
        return 0.0

    stage = PullingStage(never_one)
    async with running(stage, supervised=True) as fleet:
        for version in (1, 2, 3):
            await fleet.update_weights(manifest(version))
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it caught up")
        assert stage.generators[1].pulled == [3] and fleet.stats()["restarts/generator"] == 0


async def test_an_engine_that_fails_while_its_generator_is_behind_is_replaced() -> None:
    def worse(generator: PullingGenerator, manifest: WeightManifest) -> float:
        if generator.name == "generator-1" and generator.incarnation == 0:
            raise WeightsNotDeliveredError("did not arrive") if generator.tries == 1 else EngineFailedError("half loaded")
        return 0.0

    stage = PullingStage(worse)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        await eventually(lambda: fleet.stats()["restarts/generator"] == 1, "the failed engine was replaced")
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "the newcomer served")
        assert stage.generators[2].pulled == [1]


async def test_a_dead_actor_that_is_behind_is_found_by_its_health_check() -> None:
    stage = PullingStage(lambda generator, manifest: 60.0 if generator.name == "generator-1" and generator.incarnation == 0 else 0.0)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        assert states(fleet)["generator-1"] == "behind"
        stage.generators[1].killed = True
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it was replaced")
        assert fleet.stats()["restarts/generator"] == 1


async def test_a_bug_in_a_pull_still_stops_the_run() -> None:
    async with running(PullingStage(fails_first(ValueError("the published weights are not those of this model")))) as fleet:
        with pytest.raises(ValueError, match="not those of this model"):
            await fleet.update_weights(manifest(1))


# a version that is gone


class Gone:
    """Versions whose publisher's node is dead."""

    def __init__(self, *versions: int) -> None:
        self.versions = set(versions)

    def __call__(self, generator: PullingGenerator, manifest: WeightManifest) -> float:
        if manifest.version in self.versions:
            raise VersionLostError(f"version {manifest.version} is gone")
        return 0.0


async def test_a_version_that_is_gone_is_told_and_the_next_publication_brings_everybody_back() -> None:
    stage = PullingStage(Gone(1))
    async with running(stage, supervised=True) as fleet:
        asked = asyncio.create_task(fleet.version_lost())
        assert await fleet.update_weights(manifest(1)) == []
        assert (await asyncio.wait_for(asked, 5)).version == 1
        group = asyncio.create_task(fleet.run_group(request("u")))
        await asyncio.sleep(0.1)
        assert fleet.waiting() is not None and not group.done(), "nobody has the version, so nobody may serve"
        assert [stage.tries(index) for index in (0, 1)] == [1, 1], "a version that is gone is asked for again and again"
        await fleet.update_weights(manifest(2))
        assert (await group).meta.oldest_version == 2 and fleet.waiting() is None
        assert fleet.stats()["restarts/generator"] == 0


async def test_a_replacement_does_not_loop_on_a_version_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    gone = Gone()
    stage = PullingStage(gone)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        gone.versions.add(1)
        lost = asyncio.create_task(fleet.version_lost())
        with caplog.at_level(logging.WARNING):
            stage.generators[1].kill()
            assert (await asyncio.wait_for(lost, 5)).version == 1
            await asyncio.sleep(0.2)
        assert len(stage.generators) == 3 and stage.tries(2) == 1, "newcomer after newcomer was started on a version that is gone"
        assert sum("waits for another one" in record.message for record in caplog.records) == 1
        group = await fleet.run_group(request("meanwhile"))
        assert group.meta.generator == "generator-0", "who has the version serves on"
        await fleet.update_weights(manifest(2))
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "the newcomer served")
        assert stage.generators[2].pulled == [2] and len(stage.generators) == 3


async def test_a_version_that_stays_gone_ends_the_run_after_fleet_wait_s() -> None:
    stage = PullingStage(Gone(1), timing=replace(TIMES, fleet_wait_s=0.2))
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        with pytest.raises(FleetTooSmallError, match=r"2 behind"):
            await fleet.run_group(request("u"))


async def test_a_model_change_reaches_those_that_are_behind() -> None:
    stage = PullingStage(Gone(1))
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        await fleet.set_model("teacher", 0)
        await eventually(lambda: set(states(fleet).values()) == {"serving"}, "both served the teacher")
        assert {generator.model for generator in stage.generators} == {("teacher", 0)} and len(stage.generators) == 2


async def test_those_that_are_behind_drain_and_leave_like_others() -> None:
    stage = PullingStage(Gone(1), timing=replace(TIMES, drain_s=0.3))
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        fleet.scale("generators", 1)
        await eventually(lambda: len(states(fleet)) == 1, "one of them left")
        stage.generators[0].leaving = True
        await eventually(lambda: len(stage.generators) == 3, "the other was drained and its seat filled")
        await fleet.update_weights(manifest(2))
        await eventually(lambda: list(states(fleet).values()) == ["serving"], "the newcomer served")
        assert fleet.stats()["restarts/generator"] == 0


# delivery: what a generator makes of its buckets

DATA = np.arange(64, dtype=np.uint8)
LAYOUT = (TensorSlot("w", "uint8", (64,), 0, 0, 64),)


def delivery(folder: Path) -> WeightDelivery:
    return WeightDelivery("generator-0", folder, fetch_timeout_s=0.2)


def of_buckets(*buckets: Any, version: int = 5) -> WeightManifest:
    return WeightManifest(version, LAYOUT, buckets, content_digest(LAYOUT, [tensor_digest(DATA)]))


async def arriving(seconds: float, bucket: Sequence[Any] = (DATA,), error: Exception | None = None) -> Sequence[Any]:
    await asyncio.sleep(seconds)
    if error is not None:
        raise error
    return bucket


ENGINE: Any = None  # what comes from the store does not touch it


@pytest.mark.parametrize("error", [ObjectLostError("00" * 28, None, ""), OwnerDiedError("00" * 28, None, "")])
async def test_buckets_that_died_with_their_node_are_a_lost_version(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(VersionLostError, match="bucket 1 of 1 of version 5 is gone"):
        await delivery(tmp_path).bring(of_buckets(arriving(0.0, error=error)), ENGINE)


@pytest.mark.parametrize("error", [None, ObjectFetchTimedOutError("00" * 28, None, "")])
async def test_buckets_that_come_late_are_no_loss_and_the_next_try_brings_them(error: Exception | None, tmp_path: Path) -> None:
    bringing = delivery(tmp_path)
    with pytest.raises(WeightsNotDeliveredError) as late:
        await bringing.bring(of_buckets(arriving(0.0 if error else 9.0, error=error)), ENGINE)
    assert not isinstance(late.value, VersionLostError)
    delivered = await bringing.bring(of_buckets(arriving(0.0)), ENGINE)
    assert np.array_equal(np.fromfile(delivered.file.path, np.uint8)[: DATA.size], DATA)


async def test_a_slow_network_is_given_its_time_bucket_by_bucket(tmp_path: Path) -> None:
    layout = tuple(TensorSlot(f"w{n}", "uint8", (64,), n, 0, 64) for n in range(4))
    slow = WeightManifest(5, layout, tuple(arriving(0.1) for _ in layout), content_digest(layout, [tensor_digest(DATA)] * 4))
    delivered = await delivery(tmp_path).bring(slow, ENGINE)
    assert Path(delivered.file.path).stat().st_size >= 256


async def test_a_damaged_version_and_a_full_shared_memory_are_no_failures_of_the_engine(tmp_path: Path) -> None:
    with pytest.raises(WeightsCorruptError):
        await delivery(tmp_path).bring(replace(of_buckets([DATA]), digest="0" * 32), ENGINE)
    (tmp_path / "no folder").touch()
    with pytest.raises(WeightsNotDeliveredError, match="cannot be written"):
        await delivery(tmp_path / "no folder").bring(of_buckets([DATA]), ENGINE)
