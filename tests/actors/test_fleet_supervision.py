"""Supervision never shoots the healthy: long rollouts, backlogs, late answers. And it still finds those that hang."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from actors.failures import RETRIES, DeadlineExceededError, FailureKind, GroupDropped, RetryPolicy, WorkerLostError, await_ref
from actors.fleet import RolloutFleet
from actors.fleet_losses import RewardBug, TransferLate
from actors.generator import GeneratorHealth
from actors.pool_config import FleetTiming
from actors.trajectory import GroupMeta, GroupRequest
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict
from tests.actors.test_fleet import TIMING, ScriptedGenerator, ScriptedScorer, Stage, eventually, request, running
from tests.patience import WAIT_S

pytestmark = pytest.mark.asyncio

# hang_s far below the time of a group, as 180 s are below the 330 s of 16k tokens at 50/s.
LONG_GROUPS = replace(TIMING, straggler_floor_s=20.0, straggler_ceiling_s=20.0, hang_s=1.0, health_s=1.0)
UNAVAILABLE = "the socket was closed"


def nobody_was_replaced(fleet: RolloutFleet) -> bool:
    stats = fleet.stats()
    return stats["restarts/generator"] == stats["restarts/reward"] == 0


# generators


async def test_a_group_longer_than_hang_s_costs_nobody_their_life_while_the_engine_makes_steps() -> None:
    stage = Stage(lambda generator, request: 2.5, timing=LONG_GROUPS)
    async with running(stage, supervised=True) as fleet:
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(4)))
        assert len(groups) == 4 and nobody_was_replaced(fleet)


async def test_an_engine_that_stops_making_steps_in_the_middle_of_a_group_is_replaced_and_the_group_made_elsewhere() -> None:
    def hang_first(generator: ScriptedGenerator, request: GroupRequest) -> float:
        generator.hung = generator.incarnation == 0
        return 15.0 if generator.hung else 0.05

    stage = Stage(hang_first, generators=1, timing=LONG_GROUPS)
    async with running(stage, supervised=True) as fleet:
        group = await fleet.run_group(request("u"))
        assert group.request.attempt == 0 and fleet.stats()["restarts/generator"] == 1 and len(stage.generators) == 2


async def test_an_engine_owes_no_steps_while_it_is_paused_or_has_nothing_to_do() -> None:
    stage = Stage(timing=LONG_GROUPS)
    async with running(stage, supervised=True) as fleet:
        stage.generators[0].running, stage.generators[0].paused = 2, True
        await asyncio.sleep(2 * LONG_GROUPS.hang_s)
        assert nobody_was_replaced(fleet)


async def test_an_engine_that_hangs_in_a_probe_is_found_without_a_group_in_it() -> None:
    stage = Stage(timing=LONG_GROUPS)
    async with running(stage, supervised=True) as fleet:
        stage.generators[0].probing = True
        await eventually(lambda: fleet.stats()["restarts/generator"] == 1, "the hung engine was replaced")


@pytest.mark.parametrize("error", [DeadlineExceededError("busy"), ActorUnavailableError(UNAVAILABLE, b"\0" * 16)])
@pytest.mark.parametrize("comes_back", [True, False])
async def test_an_actor_that_answers_late_lives_and_one_that_stays_silent_for_hang_s_does_not(error: Exception, comes_back: bool) -> None:
    stage = Stage(lambda generator, request: 0.2, timing=LONG_GROUPS if not comes_back else replace(LONG_GROUPS, hang_s=30.0))
    async with running(stage, supervised=True) as fleet:
        busy, unanswered = stage.generators[0], [0]
        answer = busy.health

        async def silent(timeout_s: float) -> GeneratorHealth:
            if unanswered[0] < 5 or not comes_back:
                unanswered[0] += 1
                raise error
            return await answer(timeout_s)

        busy.health = silent  # type: ignore[method-assign]
        await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(4)))
        if comes_back:
            await eventually(lambda: unanswered[0] == 5, "it was asked again")
            assert nobody_was_replaced(fleet)
        else:
            await eventually(lambda: fleet.stats()["restarts/generator"] == 1, "the silent one was replaced")
            assert unanswered[0] > 1, "one answer that is missing is no death"


async def test_a_network_that_is_down_for_a_moment_costs_a_group_a_try_and_nobody_their_life() -> None:
    failed: list[str] = []

    def once(generator: ScriptedGenerator, request: GroupRequest) -> float:
        if not failed:
            failed.append(generator.name)
            raise ActorUnavailableError(UNAVAILABLE, b"\0" * 16)
        return 0.0

    async with running(Stage(once)) as fleet:
        group = await fleet.run_group(request("u"))
        assert group.meta.generator != failed[0] and nobody_was_replaced(fleet)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RETRIES, FailureKind.INFRASTRUCTURE, RetryPolicy(tries=5, backoff_s=0.005, backoff_max_s=0.02))


def cut_off(times: float) -> Callable[..., float]:
    """A network that is cut for so many calls, which all fail at once."""
    calls = [0]

    def behave(*_: object) -> float:
        calls[0] += 1
        if calls[0] <= times:
            raise ActorUnavailableError(UNAVAILABLE, b"\0" * 16)
        return 0.0

    return behave


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("whose", ["generate", "score"])
async def test_a_network_that_is_cut_for_many_tries_drops_no_group_and_ends_no_run(whose: str) -> None:
    stage = Stage(**{whose: cut_off(40)}, timing=replace(LONG_GROUPS, hang_s=30.0))
    async with running(stage) as fleet:
        groups = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(8)))
        assert len(groups) == 8 and nobody_was_replaced(fleet)
        assert sum(scorer.scored for scorer in stage.scorers) == 16, "each was scored once"
        stats = fleet.stats()
        assert stats["retries/infrastructure" if whose == "generate" else "retries/reward"] == 40
        assert not any(value for name, value in stats.items() if name.startswith("dropped/"))


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(("whose", "end"), [("generate", GroupDropped), ("score", RewardBug)])
async def test_members_that_nobody_ever_reaches_again_hold_up_no_group_for_ever(whose: str, end: type[Exception]) -> None:
    async with running(Stage(**{whose: cut_off(float("inf"))}, timing=replace(LONG_GROUPS, hang_s=0.1))) as fleet:
        with pytest.raises(end):
            await asyncio.wait_for(fleet.run_group(request("u")), WAIT_S)


# reward workers


class SerialScorer(ScriptedScorer):
    """As RewardWorker: one call at a time. The deadline of a call runs from when it is made, so whatever queues here is on its clock."""

    queued = 0
    longest_queue = 0

    async def score_texts(self, jobs: Sequence[ScoreJob], timeout_s: float) -> list[Verdict]:
        self._lock = getattr(self, "_lock", None) or asyncio.Lock()
        self.queued += 1
        self.longest_queue = max(self.longest_queue, self.queued)
        try:
            return await await_ref(self._score(jobs), timeout_s, f"{self.name} scoring")
        finally:
            self.queued -= 1

    async def _score(self, jobs: Sequence[ScoreJob]) -> list[Verdict]:
        async with self._lock:
            await asyncio.sleep(self.behave(self))
            if self.killed:
                raise WorkerLostError(f"{self.name} was killed")
            self.scored += len(jobs)
            return [Verdict(1.0, Reason.CORRECT) for _ in jobs]


class ScoringStage(Stage):
    scorer_type: type[ScriptedScorer] = SerialScorer

    def scorer(self, index: int, incarnation: int) -> ScriptedScorer:
        self.scorers.append(self.scorer_type(f"reward-{index}", self.score))
        return self.scorers[-1]


# score_s is many times what a group takes, and less than what a backlog of them does.
BACKLOG = FleetTiming(
    straggler_floor_s=20, straggler_ceiling_s=20, score_s=1.5, pull_s=5, start_s=5, health_period_s=0.02, health_s=1, hang_s=5
)


@pytest.mark.parametrize("groups", [256, 512])
async def test_a_backlog_waits_for_reward_workers_and_none_of_them_dies_of_it(groups: int) -> None:
    stage = ScoringStage(score=lambda scorer: 0.02, timing=BACKLOG)
    async with running(stage, supervised=True) as fleet:
        scored = await asyncio.gather(*(fleet.run_group(request(f"u{n}")) for n in range(groups)))
        assert len(scored) == groups and nobody_was_replaced(fleet)
        assert max(scorer.longest_queue for scorer in stage.scorers if isinstance(scorer, SerialScorer)) == 1
        assert sum(scorer.scored for scorer in stage.scorers) == 2 * groups, "something was scored twice"


async def test_a_backlog_of_texts_waits_too() -> None:
    stage = ScoringStage(score=lambda scorer: 0.02, timing=BACKLOG)
    async with running(stage, supervised=True) as fleet:
        texts = [ScoreJob("t", str(n), {}, {}) for n in range(512)]
        verdicts, manifest = await asyncio.gather(fleet.score_texts(texts, chunk=2), fleet.score_texts(texts[:4], chunk=1))
        assert (len(verdicts), len(manifest)) == (512, 4) and nobody_was_replaced(fleet)


async def test_a_reward_worker_that_is_stuck_in_one_group_is_still_replaced() -> None:
    stuck: list[str] = []

    def once(scorer: ScriptedScorer) -> float:
        stuck.append(scorer.name)
        return 30.0 if len(stuck) == 1 else 0.0

    stage = ScoringStage(score=once, timing=BACKLOG)
    async with running(stage, supervised=True) as fleet:
        group = await fleet.run_group(request("u"))
        assert not any(verdict.failed for verdict in group.verdicts) and fleet.stats()["restarts/reward"] == 1


async def late_transfers(late: int) -> tuple[Stage, RolloutFleet, Callable[[], int]]:
    calls: list[str] = []

    def behave(scorer: ScriptedScorer) -> float:
        calls.append(scorer.name)
        if len(calls) <= late:
            raise TransferLate("its tokens did not arrive")
        return 0.0

    stage = Stage(score=behave)
    return stage, stage.fleet, lambda: len(calls)


async def test_tokens_that_come_late_are_scored_by_another_worker_and_cost_nobody_their_life() -> None:
    stage, fleet, calls = await late_transfers(1)
    async with running(stage):
        group = await fleet.run_group(request("u"))
        assert len(group.verdicts) == 2 and calls() == 2 and nobody_was_replaced(fleet)
        assert sum(len(generator.seen) for generator in stage.generators) == 1, "the group was generated again"
        assert [scorer.scored for scorer in stage.scorers] == [0, 2], "the next try went to another worker"


async def test_a_group_whose_tokens_never_arrive_is_asked_for_again() -> None:
    stage, fleet, calls = await late_transfers(5)
    async with running(stage):
        group = await fleet.run_group(request("u"))
        assert calls() == 6 and group.request.attempt == 0 and nobody_was_replaced(fleet)
        assert sum(len(generator.seen) for generator in stage.generators) == 2


async def test_an_idle_reward_worker_that_answers_late_lives_and_one_that_stays_silent_does_not() -> None:
    stage = Stage(timing=replace(TIMING, hang_s=1.0))
    async with running(stage, supervised=True) as fleet:
        unanswered = [0, 0]

        def answers_after(index: int, misses: float) -> Callable[[float], Any]:
            answer = stage.scorers[index].ready

            async def ready(timeout_s: float) -> bool:
                unanswered[index] += 1
                if unanswered[index] <= misses:
                    raise DeadlineExceededError("busy")
                return await answer(timeout_s)

            return ready

        stage.scorers[0].ready = answers_after(0, 3)  # type: ignore[method-assign]
        stage.scorers[1].ready = answers_after(1, float("inf"))  # type: ignore[method-assign]
        late = stage.scorers[0]
        await eventually(lambda: fleet.stats()["restarts/reward"] == 1, "the silent one was replaced")
        assert unanswered[0] > 3 and not late.killed


async def test_a_teachers_text_that_comes_late_is_asked_for_again_and_no_straggler() -> None:
    class Writing(ScriptedGenerator):
        async def generate(self, request: GroupRequest, timeout_s: float) -> tuple[Any, GroupMeta]:
            tokens, meta = await super().generate(request, timeout_s)
            return asyncio.sleep(60.0 if len(self.seen) == 1 else 0.0, tokens), meta

    class Writers(Stage):
        def generator(self, index: int, incarnation: int) -> ScriptedGenerator:
            self.generators.append(Writing(f"generator-{index}", incarnation, self.generate))
            return self.generators[-1]

    stage = Writers(generators=1)
    async with running(stage) as fleet:
        tokens, _ = await fleet.write(request("text"))
        assert tokens == "tokens of text, attempt 0" and nobody_was_replaced(fleet)
