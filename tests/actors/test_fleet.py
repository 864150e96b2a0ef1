"""Scheduling of the fleet with scripted generators and reward workers: routing, retries, deadlines, replacement, weights."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ray.exceptions import ObjectLostError

from actors.decoding_pace import DecodingPace
from actors.engine import EngineFailedError, RequestRefusedError
from actors.failures import DeadlineExceededError, GroupDropped, WorkerLostError
from actors.fleet import RolloutFleet
from actors.fleet_losses import RewardBug
from actors.generator import GeneratorHealth, ProbeMismatchError
from actors.pool_config import FleetTiming, OnStraggler
from actors.trajectory import GroupMeta, GroupRequest, Sampling
from actors.weights import PullAck, WeightManifest
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict
from tests.patience import WAIT_S

pytestmark = pytest.mark.asyncio
TIMING = FleetTiming(
    straggler_floor_s=0.05, straggler_ceiling_s=0.2, score_s=0.2, pull_s=0.2, start_s=2.0, health_period_s=0.01, health_s=0.1, hang_s=0.1
)

CUTTING = replace(TIMING, on_straggler=OnStraggler.cut, straggler_floor_s=0.2)


@dataclass
class ScriptedGenerator:
    """Does what ``behave(request)`` says: returns seconds to work for, or raises."""

    name: str
    incarnation: int
    behave: Callable[["ScriptedGenerator", GroupRequest], float]
    pid: int = 1
    node: str = ""
    model: tuple[str, int] = ("", -1)
    version: int = -1
    running: int = 0
    alive: bool = True
    killed: bool = False
    seen: list[GroupRequest] = field(default_factory=list)
    pulled: list[int] = field(default_factory=list)
    pull_delay_s: float = 0.0
    ignores_cuts: bool = False
    pace: DecodingPace | None = None
    leaving: bool = False
    steps: int = 0  # one every 10 ms of work
    hung: bool = False  # works on, and makes no step
    probing: bool = False
    paused: bool = False

    async def start(self, model_dir: str, version: int, timeout_s: float) -> None:
        self.model, self.version = (model_dir, version), version

    retask = start

    async def generate(self, request: GroupRequest, timeout_s: float) -> tuple[Any, GroupMeta]:
        if self.killed:
            raise WorkerLostError(f"{self.name} is dead")
        self.seen.append(request)
        seconds = self.behave(self, request)
        cut = request.cut_after_s is not None and seconds > request.cut_after_s and not self.ignores_cuts
        seconds = request.cut_after_s if cut and request.cut_after_s is not None else seconds
        self.running += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._work(seconds)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{self.name} was slow") from error
        finally:
            self.running -= 1
        samples = request.sampling.samples
        cuts = tuple(range(samples if cut else 0))
        meta = GroupMeta(request.uid, self.name, (3,) * samples, 4, self.version, self.version, len(cuts), (), seconds, cuts)
        return f"tokens of {request.uid}, attempt {request.attempt}", meta

    async def _work(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await asyncio.sleep(0)
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.01))
            self.steps += not self.hung
            if self.killed:
                raise WorkerLostError(f"{self.name} died while it worked")

    async def pull(self, manifest: WeightManifest, timeout_s: float) -> PullAck:
        await asyncio.sleep(self.pull_delay_s)
        if self.killed or self.pull_delay_s > timeout_s:
            raise EngineFailedError("failed while it pulled")
        self.version = manifest.version
        self.pulled.append(manifest.version)
        return PullAck(self.name, manifest.version, manifest.digest, 0.0, 10)

    async def health(self, timeout_s: float) -> GeneratorHealth:
        if self.killed:
            raise WorkerLostError(f"{self.name} is dead")
        return GeneratorHealth(
            self.name, 1, self.alive, self.version, self.running, 0, 0, 0, 0, 1.0, 1.0, pace=self.pace, leaving=self.leaving,
            steps=self.steps, probing=self.probing, paused=self.paused,
        )  # fmt: skip

    async def stop(self) -> None:
        self.killed = True

    def kill(self) -> None:
        self.killed = True


@dataclass
class ScriptedScorer:
    name: str
    behave: Callable[["ScriptedScorer"], float]
    pid: int = 1
    killed: bool = False
    scored: int = 0
    leaving: bool = False

    async def ready(self, timeout_s: float) -> bool:
        if self.killed:
            raise WorkerLostError(f"{self.name} is dead")
        return self.leaving

    async def score(self, tokens: Any, request: GroupRequest, want_texts: bool, timeout_s: float) -> tuple[list[Verdict], list[str]]:
        jobs = [ScoreJob(request.task, str(tokens), {}, {})] * request.sampling.samples
        return await self.score_texts(jobs, timeout_s), ["text"] * len(jobs) if want_texts else []

    async def score_texts(self, jobs: Sequence[ScoreJob], timeout_s: float) -> list[Verdict]:
        await self.ready(timeout_s)
        await asyncio.sleep(self.behave(self))
        self.scored += len(jobs)
        return [Verdict(1.0, Reason.CORRECT) for _ in jobs]

    async def stop(self) -> None:
        self.killed = True

    def kill(self) -> None:
        self.killed = True


class Stage:
    """A fleet of scripted members; remembers every member that was ever made."""

    def __init__(
        self,
        generate: Callable[[ScriptedGenerator, GroupRequest], float] = lambda generator, request: 0.0,
        score: Callable[[ScriptedScorer], float] = lambda scorer: 0.0,
        generators: int = 2,
        timing: FleetTiming = TIMING,
    ) -> None:
        self.generate, self.score = generate, score
        self.generators: list[ScriptedGenerator] = []
        self.scorers: list[ScriptedScorer] = []
        self.fleet = RolloutFleet(self, generators, 2, timing)

    def generator(self, index: int, incarnation: int) -> ScriptedGenerator:
        self.generators.append(ScriptedGenerator(f"generator-{index}", incarnation, self.generate))
        return self.generators[-1]

    def scorer(self, index: int, incarnation: int) -> ScriptedScorer:
        self.scorers.append(ScriptedScorer(f"reward-{index}", self.score))
        return self.scorers[-1]


@asynccontextmanager
async def running(stage: Stage, supervised: bool = False) -> AsyncIterator[RolloutFleet]:
    await stage.fleet.start("model", 0)
    supervisor = asyncio.create_task(stage.fleet.supervise()) if supervised else None
    try:
        yield stage.fleet
    finally:
        if supervisor is not None:
            supervisor.cancel()
        await stage.fleet.close()
    assert all(member.killed for member in [*stage.generators, *stage.scorers]), "a member survived the end of the fleet"


def request(uid: str, samples: int = 2) -> GroupRequest:
    return GroupRequest(uid, "smiles2formula", (0, 5), {}, {}, Sampling(samples, 8), seed=0)


def manifest(version: int) -> WeightManifest:
    return WeightManifest(version, (), (), f"sha-{version}")


async def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"it never happened that {what}"
        await asyncio.sleep(0.01)


async def test_groups_go_to_the_least_loaded_generator_and_come_back_scored() -> None:
    stage = Stage(lambda generator, request: 0.02)
    async with running(stage) as fleet:
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}"), want_texts=n == 0) for n in range(8)))
        assert [len(generator.seen) for generator in stage.generators] == [4, 4]
        assert groups[0].texts == ["text", "text"] and groups[1].texts == []
        assert all(verdict.value == 1.0 for group in groups for verdict in group.verdicts)
        assert all(group.turnaround_s >= group.meta.seconds for group in groups), "generation is a part of the way around"
        stats = fleet.stats()
        assert (stats["groups"], stats["samples"], stats["tokens"]) == (8, 16, 48)
        assert fleet.busy_seconds() >= 0.02


async def test_what_engines_say_of_their_pace_is_averaged_over_those_that_know() -> None:
    async with running(Stage(), supervised=True) as fleet:
        await eventually(lambda: "engine/cache_usage" in fleet.stats(), "an engine is asked")
        assert "engine/step_s" not in fleet.stats(), "too few steps say nothing, rather than 0"
    stage = Stage()
    async with running(stage, supervised=True) as fleet:
        stage.generators[0].pace = DecodingPace(0.002, 0.0001, 0.00001, 0.0002, samples=10.0, mean_s=0.003)
        await eventually(lambda: "engine/step_s" in fleet.stats(), "one pace is known")
        assert fleet.stats()["engine/running"] == 10.0, "of the engine that knows"
        stage.generators[1].pace = DecodingPace(0.004, 0.0003, 0.00003, 0.0004, samples=30.0, mean_s=0.013)
        await eventually(lambda: fleet.stats()["engine/running"] == 20.0, "both are known")
        stats = fleet.stats()
        found = [stats[f"engine/{name}"] for name in ("step_s", "pace/step_s", "pace/sample_s", "pace/prompt_token_s", "pace/end_s")]
        assert found == pytest.approx([0.008, 0.003, 0.0002, 0.00002, 0.0003])


async def test_a_dead_generator_is_replaced_and_its_group_asked_for_again_with_the_same_seeds() -> None:
    def die_first(generator: ScriptedGenerator, request: GroupRequest) -> float:
        if generator.incarnation == 0:
            raise EngineFailedError("killed")
        return 0.0

    stage = Stage(die_first, generators=1)
    async with running(stage) as fleet:
        await fleet.update_weights(manifest(4))
        group = await fleet.run_group(request("u"))
        assert group.request.attempt == 0, "an infrastructure failure must not change what is sampled"
        assert group.meta.oldest_version == 4, "the replacement served before it had the newest weights"
        assert fleet.stats()["restarts/generator"] == 1
        assert len(stage.generators) == 2


async def test_a_written_group_comes_to_the_driver_unscored_and_again_when_its_tokens_were_lost() -> None:
    class Writing(ScriptedGenerator):
        async def generate(self, request: GroupRequest, timeout_s: float) -> tuple[Any, GroupMeta]:
            tokens, meta = await super().generate(request, timeout_s)

            async def fetch() -> str:
                if len(self.seen) == 1:
                    raise ObjectLostError("00" * 28, None, "")
                return tokens

            return fetch(), meta

    class Writers(Stage):
        def generator(self, index: int, incarnation: int) -> ScriptedGenerator:
            self.generators.append(Writing(f"generator-{index}", incarnation, self.generate))
            return self.generators[-1]

    stage = Writers(generators=1)
    async with running(stage) as fleet:
        tokens, meta = await fleet.write(request("text"))
        assert tokens == "tokens of text, attempt 0", "the same samples are asked for again"
        assert len(stage.generators[0].seen) == 2 and meta.lengths == (3, 3)
        stats = fleet.stats()
        assert stats["groups"] == 1 and not any(scorer.scored for scorer in stage.scorers), "nobody scores a teacher's text"


async def test_many_groups_in_flight_on_one_dead_generator_replace_it_once() -> None:
    def die_first(generator: ScriptedGenerator, request: GroupRequest) -> float:
        if generator.incarnation == 0 and len(generator.seen) == 6:
            generator.killed = True
        if generator.killed:
            raise WorkerLostError("killed")
        return 0.01

    stage = Stage(die_first, generators=1)
    async with running(stage) as fleet:
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(12)))
        assert [group.request.uid for group in groups] == [f"u{n}" for n in range(12)]
        assert fleet.stats()["restarts/generator"] == 1


async def test_a_straggler_is_retried_elsewhere_once_and_then_dropped() -> None:
    stage = Stage(lambda generator, request: 5.0)
    async with running(stage) as fleet:
        with pytest.raises(GroupDropped) as dropped:
            await fleet.run_group(request("slow"))
        assert dropped.value.reason == "straggler"
        assert sorted(len(generator.seen) for generator in stage.generators) == [1, 1], "the retry went to the same generator"
        assert fleet.stats()["dropped/straggler"] == 1 and fleet.stats()["restarts/generator"] == 0


async def test_a_straggler_that_also_loses_a_generator_keeps_the_try_that_stragglers_have() -> None:
    def slow_then_dead_then_well(generator: ScriptedGenerator, request: GroupRequest) -> float:
        tries = sum(len(each.seen) for each in stage.generators)
        if tries == 2:
            generator.kill()
        return {1: 5.0, 2: 0.5}.get(tries, 0.0)

    stage = Stage(slow_then_dead_then_well)
    async with running(stage) as fleet:
        await fleet.run_group(request("u"))
        assert fleet.stats()["retries/straggler"] == 1 and fleet.stats()["retries/infrastructure"] == 1


async def test_losses_do_not_use_up_the_tries_of_a_straggler_and_the_other_way_round() -> None:
    def dead_then_slow_then_well(generator: ScriptedGenerator, request: GroupRequest) -> float:
        tries = sum(len(each.seen) for each in stage.generators)
        if tries in (1, 2, 3, 5):
            generator.kill()
        return {4: 5.0}.get(tries, 0.05 if tries < 6 else 0.0)

    stage = Stage(dead_then_slow_then_well)
    async with running(stage) as fleet:
        await fleet.run_group(request("u"))
        assert fleet.stats()["retries/straggler"] == 1 and fleet.stats()["retries/infrastructure"] == 4


async def test_with_cut_a_straggler_comes_back_at_the_deadline_and_is_not_generated_again() -> None:
    stage = Stage(lambda generator, request: 5.0, timing=CUTTING)
    async with running(stage) as fleet:
        group = await fleet.run_group(request("slow"))
        assert group.meta.cut == 2 and fleet.stats()["cut"] == 2
        assert [(verdict.value, verdict.reason) for verdict in group.verdicts] == [(None, "cut")] * 2, "a failure is not a zero"
        assert fleet.stats()["reward_failed/cut"] == 2
        assert group.request.cut_after_s is None, "the deadline belongs to the attempt, not to the group"
        assert sum(len(generator.seen) for generator in stage.generators) == 1
        with pytest.raises(GroupDropped):
            await fleet.run_group(request("evaluated"), whole=True)


async def test_a_group_that_does_not_come_back_after_the_cut_is_generated_elsewhere() -> None:
    def stuck_first(generator: ScriptedGenerator, request: GroupRequest) -> float:
        generator.ignores_cuts = generator.name == "generator-0"
        return 5.0

    stage = Stage(stuck_first, timing=CUTTING)
    async with running(stage) as fleet:
        group = await fleet.run_group(request("slow"))
        assert group.meta.generator == "generator-1" and group.meta.cut == 2
        assert fleet.stats()["retries/straggler"] == 1


async def test_refused_data_is_tried_twice_with_other_samples_and_then_dropped() -> None:
    def refuse(generator: ScriptedGenerator, request: GroupRequest) -> float:
        raise RequestRefusedError("too long")

    stage = Stage(refuse)
    async with running(stage) as fleet:
        with pytest.raises(GroupDropped) as dropped:
            await fleet.run_group(request("long"))
        assert dropped.value.reason == "data"
        assert sorted(seen.attempt for generator in stage.generators for seen in generator.seen) == [0, 1]
        assert fleet.stats()["restarts/generator"] == 0, "a refused request says nothing about the generator"


async def test_a_bug_in_a_generator_stops_the_run() -> None:
    def bug(generator: ScriptedGenerator, request: GroupRequest) -> float:
        raise KeyError("typo")

    async with running(Stage(bug)) as fleet:
        with pytest.raises(KeyError):
            await fleet.run_group(request("u"))


async def test_lost_and_stuck_reward_workers_are_replaced_behind_the_callers_back() -> None:
    first: list[str] = []

    def score(scorer: ScriptedScorer) -> float:
        if len(first) < 2:
            first.append(scorer.name)
            raise WorkerLostError("killed") if len(first) == 1 else DeadlineExceededError("stuck")
        return 0.0

    stage = Stage(score=score)
    async with running(stage) as fleet:
        group = await fleet.run_group(request("u"))
        assert all(verdict.value == 1.0 for verdict in group.verdicts)
        assert sum(len(generator.seen) for generator in stage.generators) == 1, "scoring failed, yet the group was generated again"
        assert fleet.stats()["restarts/reward"] == 2


async def test_an_error_of_scoring_itself_is_loud() -> None:
    def score(scorer: ScriptedScorer) -> float:
        raise LookupError("unknown task")

    async with running(Stage(score=score)) as fleet:
        with pytest.raises(RewardBug, match="unknown task"):
            await fleet.run_group(request("u"))


async def test_texts_are_scored_in_order_over_all_reward_workers() -> None:
    stage = Stage()
    async with running(stage) as fleet:
        verdicts = await fleet.score_texts([ScoreJob("t", str(n), {}, {}) for n in range(10)], chunk=3)
        assert len(verdicts) == 10
        assert sum(scorer.scored for scorer in stage.scorers) == 10 and all(scorer.scored for scorer in stage.scorers)


async def test_new_weights_reach_all_and_a_generator_that_cannot_take_them_never_serves_older_ones() -> None:
    stage = Stage()
    async with running(stage) as fleet:
        stage.generators[1].pull_delay_s = 1.0
        first = asyncio.create_task(fleet.update_weights(manifest(1)))
        assert [ack.generator for ack in await first] == ["generator-0"]
        await eventually(lambda: len(stage.generators) == 3 and stage.generators[2].pulled == [1], "the replacement pulled version 1")
        acks = await fleet.update_weights(manifest(2))
        assert {ack.version for ack in acks} == {2} and len(acks) == 2
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(4)))
        assert {group.meta.oldest_version for group in groups} == {2}


async def test_a_broadcast_invites_one_generator_of_each_node_and_with_direct_all() -> None:
    stage = Stage(generators=4)
    async with running(stage) as fleet:
        for generator in stage.generators:
            generator.node = "abca"[int(generator.name[-1])]
        assert fleet.receivers(direct=False) == [("generator-0", 1), ("generator-1", 1), ("generator-2", 1)], (
            "the fourth uses its node's file"
        )
        assert [name for name, _ in fleet.receivers(direct=True)] == [f"generator-{index}" for index in range(4)]


def disagreeing(stage: "Stage", indices: set[int], since: int) -> None:
    """Generators of these indices fail the probe of every version from ``since`` on, whoever sits there."""
    original = stage.generator

    def spawn(index: int, incarnation: int) -> ScriptedGenerator:
        generator = original(index, incarnation)
        pull = generator.pull

        async def checked(manifest: WeightManifest, timeout_s: float) -> PullAck:
            if index in indices and manifest.version >= since:
                raise ProbeMismatchError(f"{generator.name}: off by 0.02 (float32, bfloat16)")
            return await pull(manifest, timeout_s)

        generator.pull = checked  # type: ignore[method-assign]
        return generator

    stage.generator = spawn  # type: ignore[method-assign]


async def test_engines_that_all_disagree_with_the_learner_end_the_run_with_one_message_instead_of_restarting_for_ever() -> None:
    stage = Stage(generators=2)
    disagreeing(stage, {0, 1}, since=2)
    async with running(stage) as fleet:
        assert len(await fleet.update_weights(manifest(1))) == 2
        assert await fleet.update_weights(manifest(2)) == []
        with pytest.raises(RuntimeError, match=r"no generator computes .*off by 0\.02 \(float32, bfloat16\).*set generator\.dtype"):
            await asyncio.wait_for(fleet.run_group(request("u")), 30)
        assert len(stage.generators) <= 4, "each was replaced once at most"


async def test_one_engine_that_fails_what_others_prove_is_replaced_and_the_run_goes_on() -> None:
    stage = Stage(generators=2)
    disagreeing(stage, {1}, since=1)
    async with running(stage) as fleet:
        assert [ack.generator for ack in await fleet.update_weights(manifest(1))] == ["generator-0"]
        await eventually(lambda: len(stage.generators) >= 4, "its replacement is replaced, too")
        assert (await fleet.run_group(request("u"))).meta.generator == "generator-0"


async def test_a_newcomer_that_comes_up_during_a_publication_gets_the_newest_version() -> None:
    stage = Stage(generators=1)
    async with running(stage, supervised=True) as fleet:
        await fleet.update_weights(manifest(1))
        original = stage.generator

        def slow_to_pull(index: int, incarnation: int) -> ScriptedGenerator:
            newcomer = original(index, incarnation)
            newcomer.pull_delay_s = 0.05
            return newcomer

        stage.generator = slow_to_pull  # type: ignore[method-assign]
        stage.generators[0].kill()
        await eventually(lambda: len(stage.generators) == 2, "the supervisor replaced the dead generator")
        assert await fleet.update_weights(manifest(2)) == [], "a generator that does not serve yet has nothing to acknowledge"
        group = await fleet.run_group(request("u"))
        assert group.meta.oldest_version == 2 and stage.generators[1].pulled == [1, 2]


async def test_the_supervisor_replaces_dead_engines_hung_generators_and_dead_reward_workers() -> None:
    stage = Stage()
    async with running(stage, supervised=True) as fleet:
        stage.generators[0].alive = False
        stage.generators[1].running = 1  # and no counter moves
        stage.scorers[0].kill()
        await eventually(lambda: fleet.stats()["restarts/generator"] == 2, "both generators were replaced")
        await eventually(lambda: fleet.stats()["restarts/reward"] == 1, "the reward worker was replaced")
        await fleet.run_group(request("u"))


async def test_a_member_that_cannot_be_replaced_ends_the_supervisor_with_its_reason() -> None:
    stage = Stage(generators=1)
    await stage.fleet.start("model", 0)

    def broken(index: int, incarnation: int) -> ScriptedGenerator:
        raise RuntimeError("no such model folder")

    stage.generator = broken  # type: ignore[method-assign]
    stage.generators[0].kill()
    with pytest.raises(RuntimeError, match="could not be replaced: no such model folder"):
        await asyncio.wait_for(stage.fleet.supervise(), WAIT_S)
    with pytest.raises(RuntimeError, match="no such model folder"):
        await stage.fleet.run_group(request("u"))
    await stage.fleet.close()


async def test_a_model_change_waits_for_groups_in_flight_and_keeps_the_actors() -> None:
    stage = Stage(lambda generator, request: 0.05)
    async with running(stage) as fleet:
        await fleet.update_weights(manifest(3))
        in_flight = asyncio.create_task(fleet.run_group(request("u")))
        await asyncio.sleep(0.01)
        await fleet.set_model("teacher", 0)
        assert in_flight.done() and (await in_flight).meta.oldest_version == 3
        assert {generator.model for generator in stage.generators} == {("teacher", 0)} and len(stage.generators) == 2
