"""Members that fail for good, leave, join, and are too few: the fleet with scripted generators and reward workers."""

import asyncio
import itertools
import json
import logging
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from actors.engine import EngineFailedError
from actors.failures import FleetTooSmallError
from actors.fleet import RolloutFleet
from actors.pool_config import FleetSize, FleetTiming
from actors.trajectory import GroupRequest
from tests.actors.test_fleet import TIMING, ScriptedGenerator, Stage, eventually, manifest, request, running
from tests.patience import WAIT_S

pytestmark = pytest.mark.asyncio
QUICK = replace(TIMING, quarantine_after=2, quarantine_window_s=60.0, quarantine_s=0.1, fleet_wait_s=5.0, drain_s=0.3)


class Cluster:
    """Resources by hand: names in ``free`` find theirs, others wait."""

    def __init__(self, room: int = 0) -> None:
        self.room = room  # for so many newcomers
        self.taken: list[str] = []
        self.released: list[str] = []

    async def take(self, name: str) -> None:
        if name in ("generator-0", "generator-1", "reward-0", "reward-1") or name in self.taken:
            return
        while self.room == 0:
            await asyncio.sleep(0.01)
        self.room -= 1
        self.taken.append(name)

    def release(self, name: str) -> None:
        self.released.append(name)

    async def for_another_generator(self) -> bool:
        return self.room > 0

    def require(self, kind: str, count: int) -> None:
        if count > 9:
            raise ValueError(f"{count} {kind} actors are more than there will ever be")


def stage_of(timing: FleetTiming = QUICK, generators: int = 2, cluster: Cluster | None = None, **size: int) -> Stage:
    stage = Stage(lambda generator, request: 0.05, generators=generators, timing=timing)
    stage.fleet = RolloutFleet(stage, generators, 2, timing, FleetSize(**size), cluster)
    return stage


def states(fleet: RolloutFleet, kind: str = "generator") -> dict[str, str]:
    return {member["name"]: member["state"] for member in fleet.snapshot() if member["kind"] == kind}


def fail_seat_until(stage: Stage, index: int, tries: int) -> list[float]:
    """Newcomers of the seat do not come up before the try after ``tries``; returns the times of the tries."""
    original, times = stage.generator, list[float]()

    def generator(seat: int, incarnation: int) -> ScriptedGenerator:
        member = original(seat, incarnation)
        if seat == index:
            times.append(time.monotonic())

            async def start(model_dir: str, version: int, timeout_s: float) -> None:
                if len(times) <= tries:
                    raise EngineFailedError("did not come up")
                await ScriptedGenerator.start(member, model_dir, version, timeout_s)

            member.start = start  # type: ignore[method-assign]
        return member

    stage.generator = generator  # type: ignore[method-assign]
    return times


async def test_a_seat_that_fails_again_and_again_stays_empty_for_a_growing_time_and_is_then_filled() -> None:
    stage = stage_of()
    async with running(stage, supervised=True) as fleet:
        times = fail_seat_until(stage, 0, tries=3)
        stage.generators[0].kill()
        await eventually(lambda: states(fleet)["generator-0"] == "quarantined", "the seat was quarantined")
        group = await fleet.run_group(request("meanwhile"))
        assert group.meta.generator == "generator-1"
        await eventually(lambda: states(fleet)["generator-0"] == "serving", "the seat was filled again")
        first, second, third = (after - before for before, after in itertools.pairwise(times))
        assert first >= 0.1 and second >= 0.2 and third >= 0.4
        assert fleet.stats()["quarantines/generator"] == 3 and fleet.stats()["restarts/generator"] == 1


async def test_below_the_minimum_the_run_waits_with_one_message_and_goes_on_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    stage = stage_of(min_generators=2)
    async with running(stage, supervised=True) as fleet:
        assert fleet.waiting() is None
        fail_seat_until(stage, 0, tries=2)
        with caplog.at_level(logging.WARNING):
            stage.generators[0].kill()
            await eventually(lambda: fleet.waiting() is not None, "the fleet was too small")
            asked = [asyncio.create_task(fleet.run_group(request(f"u{n}"))) for n in range(3)]
            await asyncio.sleep(0.05)
            assert stage.generators[1].seen == [], "a generator was given work below the minimum"
            assert "1 of 2 generator actors serve and pool.min_generators=2" in (fleet.waiting() or "")
            groups = await asyncio.gather(*asked)
        assert [group.request.uid for group in groups] == ["u0", "u1", "u2"] and fleet.waiting() is None
        assert sum("the run waits" in record.message for record in caplog.records) == 1
        assert sum("the run goes on:" in record.message for record in caplog.records) == 1


async def test_a_fleet_that_stays_too_small_ends_the_run_loudly() -> None:
    stage = stage_of(replace(QUICK, fleet_wait_s=0.2), generators=1)
    async with running(stage) as fleet:
        supervisor = asyncio.create_task(fleet.supervise())
        fail_seat_until(stage, 0, tries=99)
        stage.generators[0].kill()
        with pytest.raises(FleetTooSmallError, match=r"0 of 1 generator actors serve and pool\.min_generators=1"):
            await fleet.run_group(request("u"))
        with pytest.raises(FleetTooSmallError, match="fleet_wait_s"):
            await supervisor


async def test_too_few_reward_workers_hold_up_scoring_and_nothing_is_lost() -> None:
    stage = stage_of(min_reward_workers=2)
    async with running(stage, supervised=True) as fleet:
        stage.scorers[1].kill()
        await eventually(lambda: fleet.stats()["restarts/reward"] == 1, "the reward worker was replaced")
        group = await fleet.run_group(request("u"))
        assert all(verdict.value == 1.0 for verdict in group.verdicts) and fleet.stats()["groups"] == 1


async def test_the_snapshot_says_of_every_member_what_it_is_doing() -> None:
    stage = stage_of(engine_samples=64)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(3))
        asked = asyncio.create_task(fleet.run_group(request("u")))
        await eventually(lambda: all(m["version"] == 3 for m in fleet.snapshot() if m["kind"] == "generator"), "health knew the version")
        await asked
        entries = {entry["name"]: entry for entry in json.loads(json.dumps(fleet.snapshot()))}
        assert list(entries) == ["generator-0", "generator-1", "reward-0", "reward-1"]
        generator = entries["generator-0"]
        assert set(generator) == {"name", "kind", "state", "version", "load", "limit", "restarts", "pid", "last_progress_s"}
        assert (generator["state"], generator["limit"], generator["pid"], generator["load"]) == ("serving", 16, 1, 0)
        assert entries["reward-1"]["kind"] == "reward" and entries["reward-1"]["limit"] is None


async def test_newcomers_wait_for_their_own_resources_while_the_others_work_on() -> None:
    cluster = Cluster(room=0)
    stage = stage_of(cluster=cluster)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(5))
        fleet.scale("generators", 3)
        group = await fleet.run_group(request("meanwhile"))
        assert group.meta.generator != "generator-2" and states(fleet)["generator-2"] == "starting"
        cluster.room = 1
        await eventually(lambda: states(fleet)["generator-2"] == "serving", "the newcomer served")
        assert stage.generators[2].pulled == [5], "a newcomer serves the newest weights"
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(6)))
        assert {group.meta.generator for group in groups} == {"generator-0", "generator-1", "generator-2"}


async def test_a_leaver_takes_no_more_groups_finishes_those_in_flight_and_ends() -> None:
    cluster = Cluster(room=1)
    stage = stage_of(cluster=cluster)
    async with running(stage) as fleet:
        fleet.scale("generators", 3)
        await eventually(lambda: len(states(fleet)) == 3 and states(fleet)["generator-2"] == "serving", "three served")
        asked = [asyncio.create_task(fleet.run_group(request(f"u{n}"))) for n in range(3)]
        await asyncio.sleep(0.01)
        fleet.scale("generators", 2)
        assert states(fleet)["generator-2"] == "draining" or not stage.generators[2].killed
        groups = await asyncio.gather(*asked)
        assert groups[2].meta.generator == "generator-2", "its group in flight was not waited for"
        await eventually(lambda: list(states(fleet)) == ["generator-0", "generator-1"], "it left")
        assert stage.generators[2].killed and cluster.released == ["generator-2"]
        assert fleet.stats()["drains/generator"] == 1 and fleet.stats()["restarts/generator"] == 0
        fleet.scale("rewards", 1)
        await eventually(lambda: list(states(fleet, "reward")) == ["reward-0"], "a reward worker left")
        cluster.room = 1
        fleet.scale("generators", 3)
        await eventually(lambda: states(fleet).get("generator-2") == "serving", "the seat was taken again")
        assert stage.generators[3].incarnation == 1, "an engine seed was given twice"


async def test_a_generator_that_is_dismissed_while_its_model_changes_serves_nothing_any_more() -> None:
    stage = stage_of()
    async with running(stage) as fleet:
        leaver, leave = stage.generators[1], asyncio.Event()

        async def slow(model_dir: str, version: int, timeout_s: float) -> None:
            await leave.wait()

        async def late() -> None:
            leave.set()
            await asyncio.sleep(0.1)
            leaver.killed = True

        leaver.retask, leaver.stop = slow, late  # type: ignore[method-assign]
        changing = asyncio.create_task(fleet.set_model("other", 1))
        await asyncio.sleep(0.02)
        fleet.scale("generators", 1)
        await changing
        assert [generator.name for generator in fleet.serving_generators()] == ["generator-0"], "it was leased while it ended"
        await eventually(lambda: list(states(fleet)) == ["generator-0"], "it left")


async def test_what_a_leaver_does_not_finish_in_time_is_generated_elsewhere_with_the_same_seeds() -> None:
    def work(generator: ScriptedGenerator, request: GroupRequest) -> float:
        return 5.0 if generator.name == "generator-1" else 0.0

    timing = replace(QUICK, drain_s=0.05, straggler_floor_s=2.0, straggler_ceiling_s=2.0)
    stage = stage_of(timing)
    stage.generate = work
    async with running(stage) as fleet:
        for generator in stage.generators:
            generator.behave = work
        asked = [asyncio.create_task(fleet.run_group(request(f"u{n}"))) for n in range(2)]
        await asyncio.sleep(0.01)
        fleet.scale("generators", 1)
        groups = await asyncio.gather(*asked)
        assert [group.meta.generator for group in groups] == ["generator-0", "generator-0"]
        assert groups[1].request.attempt == 0 and fleet.stats()["retries/infrastructure"] == 1


async def test_scaling_is_refused_with_a_reason_where_it_cannot_work() -> None:
    stage = stage_of(cluster=Cluster(), min_generators=2)
    async with running(stage) as fleet:
        with pytest.raises(ValueError, match="choose one of generators, rewards"):
            fleet.scale("learners", 2)
        with pytest.raises(ValueError, match="fewer than the minimum of 2"):
            fleet.scale("generators", 1)
        with pytest.raises(ValueError, match="more than there will ever be"):
            fleet.scale("generators", 10)
        assert list(states(fleet)) == ["generator-0", "generator-1"]


async def test_a_newcomer_that_is_not_wanted_any_more_stops_waiting_for_resources() -> None:
    cluster = Cluster(room=0)
    stage = stage_of(cluster=cluster)
    async with running(stage) as fleet:
        fleet.scale("generators", 4)
        fleet.scale("generators", 2)
        await eventually(lambda: list(states(fleet)) == ["generator-0", "generator-1"], "those who wait left first")
        assert sorted(cluster.released) == ["generator-2", "generator-3"] and len(stage.generators) == 2


async def test_the_fleet_grows_by_itself_up_to_the_maximum_until_a_person_decides() -> None:
    cluster = Cluster(room=5)
    stage = stage_of(cluster=cluster, max_generators=4)
    async with running(stage, supervised=True) as fleet:
        await eventually(lambda: list(states(fleet).values()) == ["serving"] * 4, "it grew to four")
        await asyncio.sleep(0.1)
        assert len(states(fleet)) == 4 and cluster.room == 3, "it grew beyond the maximum"
        fleet.scale("generators", 2)
        await eventually(lambda: len(states(fleet)) == 2, "it shrank")
        await asyncio.sleep(0.1)
        assert len(states(fleet)) == 2, "it grew again after a person had decided"


async def test_a_member_that_is_told_to_end_is_drained_and_its_seat_filled_again() -> None:
    stage = stage_of()
    async with running(stage, supervised=True) as fleet:
        asked = [asyncio.create_task(fleet.run_group(request(f"u{n}"))) for n in range(2)]
        await asyncio.sleep(0.005)
        stage.generators[0].leaving = True
        stage.scorers[0].leaving = True
        groups = await asyncio.gather(*asked)
        assert {group.meta.generator for group in groups} == {"generator-0", "generator-1"}, "what was in flight was thrown away"
        await eventually(lambda: len(stage.generators) == 3 and states(fleet)["generator-0"] == "serving", "the seat was filled")
        await eventually(lambda: len(stage.scorers) == 3, "the reward worker was replaced")
        assert stage.generators[0].killed and stage.generators[2].incarnation == 1
        assert fleet.stats()["restarts/generator"] == 0, "a leaver is not a failure"


async def test_a_generator_that_hangs_in_its_health_check_does_not_delay_the_checks_of_others() -> None:
    stage = stage_of(replace(QUICK, health_s=10 * WAIT_S))
    async with running(stage, supervised=True) as fleet:

        async def never(timeout_s: float) -> bool:
            await asyncio.sleep(timeout_s)
            return False

        stage.generators[0].health = never  # type: ignore[assignment,method-assign]
        await asyncio.sleep(0.03)
        stage.generators[1].kill()
        await eventually(lambda: fleet.stats()["restarts/generator"] == 1, "the dead one was replaced")


async def test_requests_beyond_the_limits_wait_their_turn_and_retries_go_first() -> None:
    order: list[str] = []

    def note(generator: ScriptedGenerator, request: GroupRequest) -> float:
        order.append(request.uid)
        if request.uid == "u1" and order.count("u1") == 1:
            raise EngineFailedError("killed")
        return 0.15

    timing = replace(QUICK, quarantine_after=9, straggler_floor_s=5.0, straggler_ceiling_s=5.0)
    stage = stage_of(timing, generators=1, engine_samples=8)  # a limit of 8 samples
    async with running(stage) as fleet:
        stage.generate = note
        stage.generators[0].behave = note
        groups = [asyncio.create_task(fleet.run_group(request(f"u{n}", samples=4))) for n in range(7)]
        await asyncio.sleep(0.01)
        await asyncio.gather(*groups)
        first_asked = list(dict.fromkeys(order))
        assert first_asked == [f"u{n}" for n in range(7)], "requests overtook each other"
        assert order.index("u6") > len(order) - 1 - order[::-1].index("u1"), "a retry queued behind everybody"


async def test_a_cancelled_request_gives_its_room_back() -> None:
    stage = stage_of(generators=1, engine_samples=8)
    async with running(stage) as fleet:
        asked = [asyncio.create_task(fleet.run_group(request(f"u{n}", samples=8))) for n in range(3)]
        await asyncio.sleep(0.01)
        assert fleet.stats()["queued/generator"] == 2
        for task in asked[:2]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert (await asked[2]).request.uid == "u2" and fleet.stats()["load/generator-0"] == 0


async def test_groups_go_to_the_least_loaded_that_has_room() -> None:
    stage = stage_of(engine_samples=64)
    async with running(stage) as fleet:
        places = {place.index: place for place in fleet._generators.serving()}
        places[0].limit.value, places[1].limit.value = 8, 32  # type: ignore[union-attr]
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}", samples=4)) for n in range(6)))
        where = [group.meta.generator for group in groups]
        assert where == [f"generator-{index}" for index in (0, 1, 0, 1, 1, 1)], "the first has room for 8 samples only"
