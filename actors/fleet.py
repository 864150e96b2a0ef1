"""The rollout fleet: groups in, generated and scored groups out, whatever dies on the way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from actors.clock import monotonic
from actors.concurrency import ConcurrencyLimit
from actors.failures import (
    RETRIES,
    DeadlineExceededError,
    FailureKind,
    GroupDropped,
    StragglerDeadline,
    await_ref,
    classify,
)
from actors.fleet_losses import Outage, RewardBug, TokensLost, TransferLate, losing_tokens, out_of_reach, unknown_where_cut
from actors.fleet_report import FleetCounts, describe, member_counts
from actors.fleet_weights import FleetWeights, Weights, not_delivered
from actors.handles import Generator, Scorer
from actors.health import HealthChecks
from actors.pool_config import FleetSize, FleetTiming, OnStraggler
from actors.roster import Roster
from actors.seats import Place, Rooms, SeatState
from actors.trajectory import GroupMeta, GroupRequest, GroupTokens, ScoredGroup
from actors.weights import PullAck, WeightManifest
from rewards.job import ScoreJob
from rewards.verdict import Verdict

T = TypeVar("T")
log = logging.getLogger(__name__)


class Spawner(Protocol):
    """Makes the actors of the fleet; (index, incarnation) is never repeated, so that every engine gets its own seed."""

    def generator(self, index: int, incarnation: int) -> Generator: ...

    def scorer(self, index: int, incarnation: int) -> Scorer: ...


class RolloutFleet:
    """Generators and reward workers behind three calls: ``run_group`` (or ``write``, unscored), ``update_weights``, ``set_model``.

    A lost member never surfaces in ``run_group``: the group is retried elsewhere with the same sampling seeds (so the outcome is the
    same), and a replacement gets the newest weights before it serves. What does surface: GroupDropped with a reason (the prompt was
    given up after its tries), and bugs.
    """

    def __init__(
        self,
        spawner: Spawner,
        generators: int,
        scorers: int,
        timing: FleetTiming,
        size: FleetSize | None = None,
        rooms: Rooms | None = None,
    ) -> None:
        size = size or FleetSize()
        self._spawner = spawner
        self._timing = timing
        self._rooms = rooms
        self._engine_samples = size.engine_samples
        self._grow_to = size.max_generators if generators else None
        self._weights = FleetWeights(timing)
        self._generators: Roster[Generator] = Roster(
            "generator", generators, self._bring_up_generator, timing, size.min_generators, rooms, self._limit
        )
        self._scorers: Roster[Scorer] = Roster(
            "reward", scorers, self._bring_up_scorer, timing, size.min_reward_workers, rooms, one_at_a_time=True
        )
        self._health = HealthChecks(self._generators, self._scorers, timing)
        self._deadline = StragglerDeadline(timing.straggler_multiple, timing.straggler_floor_s, timing.straggler_ceiling_s)
        self._counts = FleetCounts()

    async def start(self, model_dir: str | None = None, version: int = 0) -> None:
        """Bring everything up in parallel, generators on ``model_dir`` whose weights are ``version``.

        With ``model_dir=None`` reward workers only; generators then come up with ``set_model``. Members that fail to start are tried again
        in the background as long as one of their kind came up (:meth:`actors.roster.Roster.start`).
        """
        if model_dir is None:
            await self._scorers.start()
            return
        self._weights.want_model(model_dir, version)
        outcomes = await asyncio.gather(self._scorers.start(), self._generators.start(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    # groups

    async def run_group(self, request: GroupRequest, want_texts: bool = False, whole: bool = False) -> ScoredGroup:
        """Generate and score one group. With ``whole`` its samples are not cut at the rollout deadline, whatever the configuration.

        Raises GroupDropped (reasons: ``straggler``, ``data``, ``infrastructure``), FleetTooSmallError, or the bug that stopped it.
        """

        began = monotonic()

        async def scored(asked: GroupRequest, tokens_ref: Any, meta: GroupMeta) -> ScoredGroup:
            scores, texts = await self._score(tokens_ref, asked, want_texts)
            samples = len(scores) - len(asked.blind)
            verdicts = unknown_where_cut(scores[:samples], meta)
            self._counts.scored(verdicts)
            return ScoredGroup(asked, meta, verdicts, tokens_ref, texts, scores[samples:], monotonic() - began)

        return await self._retried(request, whole, scored)

    async def write(self, request: GroupRequest) -> tuple[GroupTokens, GroupMeta]:
        """Generate one group and bring its tokens to the driver, unscored and uncut: a teacher's texts, which go to a file.

        Raises as :meth:`run_group`.
        """

        async def fetched(asked: GroupRequest, tokens_ref: Any, meta: GroupMeta) -> tuple[GroupTokens, GroupMeta]:
            with losing_tokens(asked):
                try:
                    return await await_ref(tokens_ref, self._timing.score_s, f"fetching {asked.uid}"), meta
                except DeadlineExceededError as error:
                    raise TransferLate(str(error)) from error

        return await self._retried(request, True, fetched)

    async def _retried(self, request: GroupRequest, whole: bool, finish: Callable[[GroupRequest, Any, GroupMeta], Awaitable[T]]) -> T:
        """Generates and finishes a group, with as many tries as the kinds of its failures are given."""
        failures: Counter[str] = Counter()  # by reason: a group that straggled once and lost its generator once has one of each
        avoid, outage = None, self._outage()
        while True:
            try:
                async with self._generators.lease(request.sampling.samples, avoid, urgent=bool(failures)) as place:
                    avoid = place.index
                    tokens_ref, meta = await self._generate(place, request, whole)
                outcome = await finish(request, tokens_ref, meta)
            except Exception as error:  # sorted by kind; bugs are raised as they are
                kind = classify(error)
                if kind is FailureKind.BUG or isinstance(error, GroupDropped):
                    raise
                reason = "straggler" if isinstance(error, DeadlineExceededError) else kind.value
                if (pause_s := outage.pause_s(error)) is not None:
                    self._counts[f"retries/{reason}"] += 1
                    await asyncio.sleep(pause_s)
                    continue
                failures[reason] += 1
                request = await self._before_retry(request, error, kind, reason, failures[reason])
            else:
                self._counts.generated(meta)
                return outcome

    async def score_texts(self, jobs: Sequence[ScoreJob], chunk: int = 64) -> list[Verdict]:
        """Verdicts of texts that no generator wrote, in order; spread over the reward workers in chunks."""
        chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]

        async def score(part: Sequence[ScoreJob]) -> list[Verdict]:
            return await self._with_scorer(lambda scorer: scorer.score_texts(part, self._timing.score_s), len(part))

        parts = await asyncio.gather(*(score(part) for part in chunks))
        return [verdict for part in parts for verdict in part]

    async def scorer_manifest(self) -> dict[str, Any]:
        """What verdicts depend on besides the answers (:func:`rewards.manifest.manifest`), as a reward worker reports it."""
        return await self._with_scorer(lambda scorer: scorer.manifest(self._timing.score_s), 1)

    async def _generate(self, place: Place[Generator], request: GroupRequest, whole: bool) -> tuple[Any, GroupMeta]:
        began, deadline_s = monotonic(), self._deadline.seconds()
        if self._timing.on_straggler is OnStraggler.cut and not whole:
            request = replace(request, cut_after_s=deadline_s)
            deadline_s += self._timing.straggler_floor_s
        try:
            tokens_ref, meta = await place.member.generate(request, deadline_s)
        except Exception as error:
            # A straggler is no dead generator, nor is one that cannot be reached for a moment: the supervisor decides that.
            if classify(error) is FailureKind.INFRASTRUCTURE and not out_of_reach(error):
                self._generators.lose(place, error)
            raise
        now = monotonic()
        self._deadline.record(now - began)
        if place.limit is not None:
            place.limit.finished(len(meta.lengths), sum(meta.lengths), now)
        return tokens_ref, meta

    async def _before_retry(self, request: GroupRequest, error: Exception, kind: FailureKind, reason: str, failures: int) -> GroupRequest:
        """Counts the failure and returns the request to try next, or raises GroupDropped when the tries are used up.

        After an infrastructure failure the same samples are asked for again (same attempt), so that a kill does not change the result;
        after a data failure other ones.
        """
        straggling = reason == "straggler"
        self._counts[f"retries/{reason}"] += 1
        if failures >= (2 if straggling else RETRIES[kind].tries):
            self._counts[f"dropped/{reason}"] += 1
            raise GroupDropped(request.uid, reason, str(error)) from error
        await asyncio.sleep(0.0 if straggling else RETRIES[kind].delay_s(failures))
        return replace(request, attempt=request.attempt + 1) if kind is FailureKind.DATA else request

    async def _score(self, tokens_ref: Any, request: GroupRequest, want_texts: bool) -> tuple[list[Verdict], list[str]]:
        async def call(scorer: Scorer) -> tuple[list[Verdict], list[str]]:
            with losing_tokens(request):
                return await scorer.score(tokens_ref, request, want_texts, self._timing.score_s)

        return await self._with_scorer(call, request.sampling.samples)

    async def _with_scorer(self, call: Callable[[Scorer], Awaitable[T]], load: int) -> T:
        """Runs ``call`` on a reward worker that has nothing else to do; a lost or stuck one is replaced, and the call made again elsewhere.

        Calls wait for a worker here, as long as it takes, so the deadline of a call is on the work alone.
        """
        policy, failures, avoid, outage = RETRIES[FailureKind.INFRASTRUCTURE], 0, None, self._outage()
        while True:
            async with self._scorers.lease(load, avoid, urgent=bool(failures)) as place:
                scorer, avoid = place.member, place.index
                try:
                    return await call(scorer)
                except TokensLost:
                    raise
                except Exception as error:
                    if classify(error) is not FailureKind.INFRASTRUCTURE:
                        raise RewardBug(f"{scorer.name} could not score: {error}") from error
                    if isinstance(error, DeadlineExceededError) or not out_of_reach(error):
                        self._scorers.lose(place, error)
                    self._counts["retries/reward"] += 1
                    if (pause_s := outage.pause_s(error)) is None:
                        failures += 1
                        pause_s = policy.delay_s(failures)
                    if failures == policy.tries:
                        raise self._given_up(error, failures) from error
            await asyncio.sleep(pause_s)

    def _outage(self) -> Outage:
        """The health checks need ``hang_s`` and a round to replace who is silent."""
        return Outage(2.0 * self._timing.hang_s)

    @staticmethod
    def _given_up(error: Exception, failures: int) -> Exception:
        if isinstance(error, TransferLate):
            return TokensLost(f"{failures} reward workers waited in vain for the same answers: {error}")
        return RewardBug(f"{failures} reward workers were lost on the same answers: {error}")

    # weights and models

    async def update_weights(self, manifest: WeightManifest) -> list[PullAck]:
        """Every serving generator pulls ``manifest``, in parallel; returns the acknowledgements once none serves older weights.

        A generator that does not get the version, or not within ``pull_s``, takes no groups from then on and goes on trying in the
        background; one that fails is replaced. Either pulls the newest version before it serves again, so the slots of the step that
        produced these weights may be freed when this returns. A version that nobody can get any more: :meth:`version_lost`.
        """
        self._weights.want_version(manifest)
        places = self._generators.serving()
        outcomes = await asyncio.gather(*(self._pull(place, manifest) for place in places))
        return [ack for ack in outcomes if ack is not None]

    async def set_model(self, model_dir: str, version: int) -> None:
        """Retask every generator to another model folder inside its live actor (or start them), once its groups in flight are done."""
        first = not self._weights.known
        self._weights.want_model(model_dir, version)
        if first:
            await self._generators.start()
            return
        await asyncio.gather(*(self._retask(place, model_dir, version) for place in self._generators.serving()))

    async def version_lost(self) -> WeightManifest:
        """Returns the newest version once a generator found that its bytes are gone with the node that published them. Generators that
        lack it wait for the next publication, so whoever owns the weights should publish again."""
        return await self._weights.lost()

    async def _pull(self, place: Place[Generator], manifest: WeightManifest) -> PullAck | None:
        wanted = self._weights.wanted
        try:
            return await self._weights.pull(place.member, manifest)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            if not_delivered(error):
                self._hold_back(place, wanted, error)
            else:
                self._generators.lose(place, error)
        return None

    def _hold_back(self, place: Place[Generator], wanted: Weights, error: Exception) -> None:
        async def catch_up() -> None:
            older = replace(wanted, manifest=None)  # what it has, as far as anybody knows
            await self._weights.bring_up_to_date(place.member, older, lambda: self._until_idle(place), (wanted, error))

        self._generators.hold_back(place, catch_up)

    async def _retask(self, place: Place[Generator], model_dir: str, version: int) -> None:
        try:
            with self._generators.withdrawn(place) as generator:
                await self._until_idle(place)
                await generator.retask(model_dir, version, self._timing.start_s)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            self._generators.lose(place, error)

    async def _until_idle(self, place: Place[Generator]) -> None:
        """Longer than any group in flight may still take: up to the ceiling, and back from the cut."""
        await self._generators.idle(place, self._timing.straggler_ceiling_s + 2.0 * self._timing.straggler_floor_s)

    async def _bring_up_generator(self, index: int, incarnation: int) -> Generator:
        generator = self._spawner.generator(index, incarnation)
        try:
            weights = self._weights.wanted
            await generator.start(weights.model_dir, weights.version, self._timing.start_s)
            await self._weights.bring_up_to_date(generator, replace(weights, manifest=None))
            return generator
        except BaseException:
            generator.kill()
            raise

    async def _bring_up_scorer(self, index: int, incarnation: int) -> Scorer:
        scorer = self._spawner.scorer(index, incarnation)
        try:
            await scorer.ready(self._timing.start_s)
        except BaseException:
            scorer.kill()
            raise
        return scorer

    # supervision

    async def supervise(self) -> None:
        """Runs beside the other loops for as long as the stage does.

        Consumes:      health answers of all members, each up to its deadline.
        Waits for:     its period.
        Unblocked by:  the clock.
        Produces:      replacements of dead or hung members, draining of those told to end, growth up to ``max_generators``; an error when
                       one cannot be replaced or the fleet stays too small. It ends in no other way.
        """
        try:
            while True:
                await asyncio.sleep(self._timing.health_period_s)
                self._generators.check()
                self._scorers.check()
                self._health.start_round()
                await self._grow()
        finally:
            await self._health.cancel()

    async def _grow(self) -> None:
        """One generator more when there is room for it and none is on its way already."""
        if self._grow_to is None or self._rooms is None or not self._weights.known or self._generators.size >= self._grow_to:
            return
        if any(seat.state is SeatState.starting for seat in self._generators.seats()) or not await self._rooms.for_another_generator():
            return
        log.warning("the cluster has room for another generator: the fleet grows to %d", self._generators.size + 1)
        self._generators.scale(self._generators.size + 1)

    def scale(self, kind: str, count: int) -> None:
        """Want ``count`` ``"generators"`` or ``"rewards"`` from now on; returns at once.

        Newcomers wait for resources of their own and serve once they have the newest weights; leavers take no more groups, finish those in
        flight (``drain_s`` at most, then they are generated elsewhere) and end. Asking for generators ends growth by ``max_generators``.

        Raises ValueError for an unknown kind, fewer than the minimum, or more than the cluster can ever hold.
        """
        rosters: dict[str, Roster[Any]] = {"generators": self._generators, "rewards": self._scorers}
        if kind not in rosters:
            raise ValueError(f"cannot scale {kind!r}; choose one of {', '.join(rosters)}")
        roster = rosters[kind]
        if roster is self._generators and (not self._weights.known or not roster.size):
            raise ValueError("generators can be scaled once they serve a model")
        if self._rooms is not None and count > roster.size:
            self._rooms.require(roster.kind, count)
        roster.scale(count)
        if roster is self._generators:
            self._grow_to = None

    def waiting(self) -> str | None:
        """Why the run is held up for want of members, for people; None while enough serve."""
        return self._generators.waiting() or self._scorers.waiting()

    def snapshot(self) -> list[dict[str, Any]]:
        """Plain data of every seat: name, kind, state (:class:`actors.seats.SeatState`), version, load and limit (samples in flight),
        restarts, pid, last_progress_s; see :func:`actors.fleet_report.describe`."""
        return describe(self._generators, self._health) + describe(self._scorers)

    def _limit(self) -> ConcurrencyLimit | None:
        samples = self._engine_samples
        if samples is None:
            return None
        # A quarter to begin with, since growing is quick, or what the others have learnt. At most a quarter more than the engine computes
        # at once, so that its batch stays full.
        learnt = [place.limit.value for place in self._generators.serving() if place.limit is not None]
        return ConcurrencyLimit(max(learnt, default=samples // 4), samples + samples // 4)

    def busy_seconds(self) -> float:
        """Seconds that a generator had groups in flight, averaged over the generators."""
        return self._generators.busy_seconds()

    def serving_generators(self) -> list[Generator]:
        """Those that an update of the weights would reach now."""
        return [place.member for place in self._generators.serving()]

    def receivers(self, direct: bool) -> list[tuple[str, int]]:
        """(name, pid) of the serving generators that a broadcast of the weights invites: with ``direct`` all of them, each for itself, else
        one of each node, whose file the others use."""
        chosen = {generator.name if direct else generator.node: generator for generator in reversed(self.serving_generators())}
        return sorted((generator.name, generator.pid) for generator in chosen.values())

    def generator_members(self) -> list[Generator]:
        return self._generators.members()

    def scorer_members(self) -> list[Scorer]:
        return self._scorers.members()

    def stats(self) -> dict[str, float]:
        """Counters since the start: groups, samples, tokens, truncated, cut, nonfinite, retries/*, dropped/*, reward_failed/<reason>;
        restarts/, quarantines/, drains/, members/ and queued/ of generator and reward (leases that wait for room); load/<generator> and
        limit/<generator> (samples in flight); generator_busy_s (sum over generators, as of the last answers); straggler_deadline_s;
        engine/* (:meth:`actors.health.HealthChecks.engines`)."""
        counts = {name: float(number) for name, number in self._counts.items()}
        members = member_counts(self._generators) | member_counts(self._scorers)
        times = {"generator_busy_s": self._health.busy_s(), "straggler_deadline_s": self._deadline.seconds()}
        return counts | members | self._health.engines() | times

    async def close(self) -> None:
        """Stop generators first (nothing new is produced), then reward workers."""
        await self._generators.close()
        await self._scorers.close()
