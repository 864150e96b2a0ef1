"""How a fleet comes up when not every member does, and what becomes of a seat whose members never do."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.engine import EngineFailedError
from actors.failures import FleetTooSmallError, WorkerLostError
from actors.fleet import RolloutFleet
from actors.pool_config import FleetSize, FleetTiming
from tests.actors.test_fleet import ScriptedGenerator, ScriptedScorer, Stage, eventually, request, running
from tests.actors.test_fleet_membership import QUICK, Cluster, states

pytestmark = pytest.mark.asyncio
PATIENT = replace(QUICK, straggler_floor_s=5.0, straggler_ceiling_s=20.0, hang_s=5.0)

Start = Callable[[ScriptedGenerator, int], None]  # the generator, and the how manieth start in its seat it is; raises


class StartingStage(Stage):
    """Starts go as ``begin`` says."""

    def __init__(
        self, begin: Start, generators: int = 3, timing: FleetTiming = PATIENT, cluster: Cluster | None = None, **size: int
    ) -> None:
        super().__init__(lambda generator, request: 0.01, generators=generators, timing=timing)
        self.begin = begin
        self.times: dict[int, list[float]] = {}
        self.fleet = RolloutFleet(self, generators, 2, timing, FleetSize(**size), cluster)

    def generator(self, index: int, incarnation: int) -> ScriptedGenerator:
        member = super().generator(index, incarnation)
        self.times.setdefault(index, []).append(time.monotonic())

        async def start(model_dir: str, version: int, timeout_s: float) -> None:
            self.begin(member, len(self.times[index]))
            await ScriptedGenerator.start(member, model_dir, version, timeout_s)

        member.start = start  # type: ignore[method-assign]
        return member


def fails(index: int, starts: float) -> Start:
    def begin(generator: ScriptedGenerator, start: int) -> None:
        if generator.name == f"generator-{index}" and start <= starts:
            raise EngineFailedError("CUDA error: an illegal memory access was encountered")

    return begin


async def test_one_engine_that_does_not_start_does_not_end_the_run_and_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    stage = StartingStage(fails(1, starts=1))
    with caplog.at_level(logging.WARNING):
        async with running(stage) as fleet:
            assert states(fleet)["generator-0"] == states(fleet)["generator-2"] == "serving"
            await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(4)))
            await eventually(lambda: states(fleet)["generator-1"] == "serving", "the third served as well")
    notes = [record.getMessage() for record in caplog.records if "the run starts with" in record.getMessage()]
    assert len(notes) == 1 and "2 of 3 generator actors" in notes[0] and "generator-1" in notes[0] and "illegal memory access" in notes[0]


async def test_a_reward_worker_that_does_not_start_does_not_end_the_run_either() -> None:
    class Scorers(Stage):
        def scorer(self, index: int, incarnation: int) -> ScriptedScorer:
            member = super().scorer(index, incarnation)
            member.killed = (index, incarnation) == (0, 0)
            return member

    async with running(Scorers()) as fleet:
        await fleet.run_group(request("u"))
        await eventually(lambda: states(fleet, "reward")["reward-0"] == "serving", "it was started again")


async def test_below_the_minimum_the_run_waits_for_those_that_are_started_again() -> None:
    stage = StartingStage(fails(1, starts=2), min_generators=3)
    async with running(stage) as fleet:
        assert "2 of 3 generator actors serve" in (fleet.waiting() or "")
        await fleet.run_group(request("u"))
        assert fleet.waiting() is None and len(stage.times[1]) == 3


async def test_a_fleet_that_never_reaches_its_minimum_ends_the_run() -> None:
    stage = StartingStage(fails(1, starts=99), timing=replace(PATIENT, fleet_wait_s=0.2), min_generators=3)
    async with running(stage) as fleet:
        with pytest.raises(FleetTooSmallError, match="2 of 3 generator actors"):
            await fleet.run_group(request("u"))


async def test_when_nobody_starts_it_is_the_configuration_and_its_error_is_raised_at_once() -> None:
    def begin(generator: ScriptedGenerator, start: int) -> None:
        raise EngineFailedError("max_model_len does not fit the cache")

    stage = StartingStage(begin)
    with pytest.raises(EngineFailedError, match="max_model_len"):
        await stage.fleet.start("model", 0)
    assert len(stage.generators) == 3, "a start that cannot work was tried again"
    await stage.fleet.close()


async def test_a_bug_in_one_start_stops_the_run() -> None:
    def begin(generator: ScriptedGenerator, start: int) -> None:
        if generator.name == "generator-1":
            raise KeyError("typo")

    stage = StartingStage(begin)
    with pytest.raises(KeyError):
        await stage.fleet.start("model", 0)
    await stage.fleet.close()


async def test_a_bug_in_a_later_start_stops_the_run() -> None:
    def begin(generator: ScriptedGenerator, start: int) -> None:
        if generator.name == "generator-1":
            raise EngineFailedError("flaky") if start == 1 else KeyError("typo")

    stage = StartingStage(begin)
    await stage.fleet.start("model", 0)
    with pytest.raises(RuntimeError, match="could not be replaced: 'typo'"):
        await asyncio.wait_for(stage.fleet.supervise(), 5)
    await stage.fleet.close()


# a seat whose resources are broken


class Spare(Cluster):
    """Has other resources for ``spares`` actors."""

    def __init__(self, spares: int) -> None:
        super().__init__()
        self.spares = spares
        self.moved: list[str] = []

    async def elsewhere(self, name: str) -> bool:
        if not self.spares:
            return False
        self.spares -= 1
        self.moved.append(name)
        return True


async def test_a_seat_where_nobody_comes_up_moves_to_other_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.roster.MOVE_SECONDS", 0.01)
    cluster = Spare(1)

    def broken_gpu(generator: ScriptedGenerator, start: int) -> None:
        if generator.name == "generator-1" and not cluster.moved:
            raise EngineFailedError("CUDA error: uncorrectable ECC error")

    stage = StartingStage(broken_gpu, generators=2, cluster=cluster)
    async with running(stage) as fleet:
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it served elsewhere")
        assert cluster.moved == ["generator-1"] and len(stage.times[1]) == QUICK.quarantine_after + 1
        assert fleet.stats()["quarantines/generator"] == 0


async def test_without_other_resources_it_is_tried_ever_more_rarely_and_the_rest_works_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = StartingStage(fails(1, starts=99), generators=2, timing=replace(PATIENT, quarantine_s=0.05), cluster=Spare(0))
    with caplog.at_level(logging.WARNING):
        async with running(stage) as fleet:
            await eventually(lambda: fleet.stats()["quarantines/generator"] == 4, "it was quarantined four times")
            assert (await fleet.run_group(request("u"))).meta.generator == "generator-0"
    pauses = [after - before for before, after in itertools.pairwise(stage.times[1])][1:]
    assert all(pause >= 0.05 * 2**n for n, pause in enumerate(pauses)), f"the pauses between its starts do not grow: {pauses}"
    said = [record.getMessage() for record in caplog.records if "nothing else is free for it" in record.getMessage()]
    assert said and "1 of 2 generator actors serve" in said[0], "what is left is not said"


async def test_members_that_served_and_died_do_not_move() -> None:
    cluster = Spare(9)
    stage = StartingStage(lambda generator, start: None, generators=2, timing=replace(PATIENT, quarantine_s=0.05), cluster=cluster)
    async with running(stage) as fleet:
        for incarnation in range(QUICK.quarantine_after):
            await eventually(lambda: states(fleet)["generator-1"] == "serving", "it served")
            place = next(place for place in fleet._generators.serving() if place.index == 1)
            assert place.incarnation == incarnation
            fleet._generators.lose(place, WorkerLostError("killed"))
        await eventually(lambda: states(fleet)["generator-1"] == "serving", "it served again")
        assert not cluster.moved and fleet.stats()["quarantines/generator"] == 1
