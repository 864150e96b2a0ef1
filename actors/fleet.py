"""The rollout fleet: groups in, generated and scored groups out, whatever dies on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from actors.failures import (
    RETRIES,
    ActorFailure,
    DeadlineExceededError,
    FailureKind,
    GroupDropped,
    StragglerDeadline,
    WorkerLostError,
    classify,
)
from actors.generator import GeneratorHealth
from actors.handles import Generator, Scorer
from actors.pool_config import FleetTiming, OnStraggler
from actors.roster import Place, Roster
from actors.trajectory import GroupMeta, GroupRequest, ScoredGroup
from actors.weights import PullAck, WeightManifest
from rewards.job import ScoreJob
from rewards.verdict import Verdict

T = TypeVar("T")
log = logging.getLogger(__name__)


class Spawner(Protocol):
    """Makes the actors of the fleet; (index, incarnation) is never repeated, so that every engine gets its own seed."""

    def generator(self, index: int, incarnation: int) -> Generator: ...

    def scorer(self, index: int, incarnation: int) -> Scorer: ...


@dataclass(frozen=True, slots=True)
class _Weights:
    """What every serving generator must serve: a model folder, the version of the weights in it, and a newer publication if any."""

    model_dir: str
    version: int
    manifest: WeightManifest | None = None


class _Lost(ActorFailure):
    """The tokens of a group were lost between generator and reward worker: generate it again."""


class RolloutFleet:
    """Generators and reward workers behind three calls: ``run_group``, ``update_weights``, ``set_model``.

    A lost member never surfaces in ``run_group``: the group is retried elsewhere with the same sampling seeds (so the outcome is the
    same), and a replacement gets the newest weights before it serves. What does surface: GroupDropped with a reason (the prompt was
    given up after its tries), and bugs.
    """

    def __init__(self, spawner: Spawner, generators: int, scorers: int, timing: FleetTiming) -> None:
        self._spawner = spawner
        self._timing = timing
        self._weights: _Weights | None = None
        self._generators: Roster[Generator] = Roster("generator", generators, self._bring_up_generator)
        self._scorers: Roster[Scorer] = Roster("reward", scorers, self._bring_up_scorer)
        self._deadline = StragglerDeadline(timing.straggler_multiple, timing.straggler_floor_s, timing.straggler_ceiling_s)
        self._counts: Counter[str] = Counter()
        self._health: dict[int, tuple[int, GeneratorHealth]] = {}  # by index: incarnation and its last answer
        self._busy_before_s = 0.0  # of generators that were replaced
        self._progress: dict[int, tuple[tuple[int, int, int], float]] = {}  # by index: what last changed, and when

    async def start(self, model_dir: str | None = None, version: int = 0) -> None:
        """Bring everything up in parallel, generators on ``model_dir`` whose weights are ``version``.

        With ``model_dir=None`` reward workers only; generators then come up with ``set_model``.
        """
        if model_dir is None:
            await self._scorers.start()
            return
        self._weights = _Weights(model_dir, version)
        outcomes = await asyncio.gather(self._scorers.start(), self._generators.start(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    # groups

    async def run_group(self, request: GroupRequest, want_texts: bool = False, whole: bool = False) -> ScoredGroup:
        """Generate and score one group. With ``whole`` its samples are not cut at the rollout deadline, whatever the configuration.

        Raises GroupDropped (reasons: ``straggler``, ``data``, ``infrastructure``), or the bug that stopped it.
        """
        failures: Counter[FailureKind] = Counter()
        avoid: int | None = None
        while True:
            place = await self._generators.pick(self._timing.start_s, avoid)
            try:
                tokens_ref, meta = await self._generate(place, request, whole)
                verdicts, texts = await self._score(tokens_ref, request, want_texts)
            except Exception as error:  # sorted by kind; bugs are raised as they are
                kind = classify(error)
                failures[kind] += 1
                if kind is FailureKind.BUG or isinstance(error, GroupDropped):
                    raise
                request = await self._before_retry(request, error, kind, failures[kind])
                avoid = place.index
            else:
                self._count_group(request, meta, verdicts)
                return ScoredGroup(request, meta, verdicts, tokens_ref, texts)

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
        began, deadline_s = time.monotonic(), self._deadline.seconds()
        if self._timing.on_straggler is OnStraggler.cut and not whole:
            request = replace(request, cut_after_s=deadline_s)
            deadline_s += self._timing.straggler_floor_s
        with self._generators.leased(place, request.sampling.samples) as generator:
            try:
                outcome = await generator.generate(request, deadline_s)
            except DeadlineExceededError:
                raise  # a straggler is not a dead generator; the supervisor decides that from its counters
            except Exception as error:
                if classify(error) is FailureKind.INFRASTRUCTURE:
                    self._generators.lose(place, error)
                raise
        self._deadline.record(time.monotonic() - began)
        return outcome

    async def _before_retry(self, request: GroupRequest, error: Exception, kind: FailureKind, failures: int) -> GroupRequest:
        """Counts the failure and returns the request to try next, or raises GroupDropped when the tries are used up.

        After an infrastructure failure the same samples are asked for again (same attempt), so that a kill does not change the result;
        after a data failure other ones.
        """
        straggling = isinstance(error, DeadlineExceededError)
        reason = "straggler" if straggling else kind.value
        self._counts[f"retries/{reason}"] += 1
        if failures >= (2 if straggling else RETRIES[kind].tries):
            self._counts[f"dropped/{reason}"] += 1
            raise GroupDropped(request.uid, reason, str(error)) from error
        await asyncio.sleep(0.0 if straggling else RETRIES[kind].delay_s(failures))
        return replace(request, attempt=request.attempt + 1) if kind is FailureKind.DATA else request

    async def _score(self, tokens_ref: Any, request: GroupRequest, want_texts: bool) -> tuple[list[Verdict], list[str]]:
        from ray.exceptions import ObjectLostError

        async def call(scorer: Scorer) -> tuple[list[Verdict], list[str]]:
            try:
                return await scorer.score(tokens_ref, request, want_texts, self._timing.score_s)
            except ObjectLostError as error:
                raise _Lost(f"the tokens of {request.uid} were lost with their node: {error}") from error

        return await self._with_scorer(call, request.sampling.samples)

    async def _with_scorer(self, call: Callable[[Scorer], Awaitable[T]], load: int) -> T:
        """Runs ``call`` on the least loaded reward worker; a lost or stuck one is replaced and the call made again elsewhere."""
        policy, failures = RETRIES[FailureKind.INFRASTRUCTURE], 0
        while True:
            place = await self._scorers.pick(self._timing.start_s)
            with self._scorers.leased(place, load) as scorer:
                try:
                    return await call(scorer)
                except _Lost:
                    raise
                except Exception as error:
                    if classify(error) is not FailureKind.INFRASTRUCTURE:
                        raise RewardBug(f"{scorer.name} could not score: {error}") from error
                    self._scorers.lose(place, error)
                    failures += 1
                    self._counts["retries/reward"] += 1
                    if failures == policy.tries:
                        raise RewardBug(f"{failures} reward workers were lost on the same answers: {error}") from error
            await asyncio.sleep(policy.delay_s(failures))

    def _count_group(self, request: GroupRequest, meta: GroupMeta, verdicts: list[Verdict]) -> None:
        self._counts["groups"] += 1
        self._counts["samples"] += len(meta.lengths)
        self._counts["tokens"] += sum(meta.lengths)
        self._counts["truncated"] += meta.truncated
        self._counts["cut"] += meta.cut
        self._counts["nonfinite"] += len(meta.nonfinite)
        for verdict in verdicts:
            if verdict.failed:
                self._counts[f"reward_failed/{verdict.reason}"] += 1

    # weights and models

    async def update_weights(self, manifest: WeightManifest) -> list[PullAck]:
        """Every serving generator pulls ``manifest``, in parallel; returns the acknowledgements once none serves older weights.

        A generator that fails is replaced in the background and pulls the newest version before it serves again, so the slots of the
        step that produced these weights may be freed when this returns.
        """
        self._weights = replace(self._wanted(), manifest=manifest)
        places = self._generators.serving()
        outcomes = await asyncio.gather(*(self._pull(place, manifest) for place in places))
        return [ack for ack in outcomes if ack is not None]

    async def set_model(self, model_dir: str, version: int) -> None:
        """Retask every generator to another model folder inside its live actor (or start them), once its groups in flight are done."""
        first = self._weights is None
        self._weights = _Weights(model_dir, version)
        if first:
            await self._generators.start()
            return
        await asyncio.gather(*(self._retask(place, model_dir, version) for place in self._generators.serving()))

    async def _pull(self, place: Place[Generator], manifest: WeightManifest) -> PullAck | None:
        try:
            ack = await place.member.pull(manifest, self._timing.pull_s)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            self._generators.lose(place, error)
            return None
        if (ack.version, ack.sha256) != (manifest.version, manifest.sha256):
            self._generators.lose(place, WorkerLostError(f"acknowledged version {ack.version}, {manifest.version} was published"))
            return None
        return ack

    async def _retask(self, place: Place[Generator], model_dir: str, version: int) -> None:
        try:
            with self._generators.withdrawn(place) as generator:
                await self._generators.idle(place, self._timing.straggler_ceiling_s)
                await generator.retask(model_dir, version, self._timing.start_s)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            self._generators.lose(place, error)

    def _wanted(self) -> _Weights:
        if self._weights is None:
            raise RuntimeError("the generators have no model yet: start(model_dir) or set_model(model_dir, version) comes first")
        return self._weights

    async def _bring_up_generator(self, index: int, incarnation: int) -> Generator:
        generator = self._spawner.generator(index, incarnation)
        try:
            weights = self._wanted()
            await generator.start(weights.model_dir, weights.version, self._timing.start_s)
            while True:  # a newer publication may arrive while this one is pulled
                if weights.manifest is not None:
                    await generator.pull(weights.manifest, self._timing.pull_s)
                newest = self._wanted()
                if weights == newest:
                    return generator
                if (newest.model_dir, newest.version) != (weights.model_dir, weights.version):
                    await generator.retask(newest.model_dir, newest.version, self._timing.start_s)
                weights = newest
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

        Consumes:      health answers of generators.
        Waits for:     its period, and each answer up to its deadline.
        Unblocked by:  the clock.
        Produces:      replacements of dead or hung members; an error when one cannot be replaced. It ends in no other way.
        """
        while True:
            await asyncio.sleep(self._timing.health_period_s)
            self._generators.check()
            self._scorers.check()
            await asyncio.gather(
                *(self._check_generator(place) for place in self._generators.serving()),
                *(self._check_scorer(place) for place in self._scorers.serving() if place.load == 0),
            )

    async def _check_generator(self, place: Place[Generator]) -> None:
        try:
            health = await place.member.health(self._timing.health_s)
            if not health.alive:
                raise WorkerLostError(f"the engine of {place.member.name} is dead")
            self._note_health(place, health)
            self._check_progress(place, health)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            self._generators.lose(place, error)

    async def _check_scorer(self, place: Place[Scorer]) -> None:
        try:
            await place.member.ready(self._timing.health_s)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            if place.load == 0 or not isinstance(error, DeadlineExceededError):  # a busy one answers late
                self._scorers.lose(place, error)

    def _note_health(self, place: Place[Generator], health: GeneratorHealth) -> None:
        incarnation, before = self._health.get(place.index, (place.incarnation, health))
        if incarnation != place.incarnation:
            self._busy_before_s += before.busy_s
        self._health[place.index] = (place.incarnation, health)

    def _check_progress(self, place: Place[Generator], health: GeneratorHealth) -> None:
        counters, now = (place.incarnation, health.tokens, health.updates), time.monotonic()
        before, since = self._progress.get(place.index, (counters, now))
        if health.running == 0 or counters != before:
            since = now
        self._progress[place.index] = (counters, since)
        if now - since > self._timing.hang_s:
            raise WorkerLostError(f"{place.member.name} has {health.running} groups in flight and made no progress for {now - since:.0f} s")

    def busy_seconds(self) -> float:
        """Seconds that a generator had groups in flight, averaged over the generators."""
        return self._generators.busy_seconds()

    def generator_members(self) -> list[Generator]:
        return self._generators.members()

    def scorer_members(self) -> list[Scorer]:
        return self._scorers.members()

    def stats(self) -> dict[str, float]:
        """Counters since the start: groups, samples, tokens, truncated, cut, nonfinite, retries/*, dropped/*, reward_failed/<reason>;
        restarts/generator, restarts/reward; generator_busy_s (sum over generators, as of the last health check); straggler_deadline_s."""
        busy_s = self._busy_before_s + sum(health.busy_s for _, health in self._health.values())
        return {
            **{name: float(number) for name, number in self._counts.items()},
            "restarts/generator": float(self._generators.restarts),
            "restarts/reward": float(self._scorers.restarts),
            "generator_busy_s": busy_s,
            "straggler_deadline_s": self._deadline.seconds(),
        }

    async def close(self) -> None:
        """Stop generators first (nothing new is produced), then reward workers."""
        await self._generators.close()
        await self._scorers.close()


class RewardBug(ActorFailure):
    """Scoring failed in a way that is not one answer's: every answer's own failure is a verdict, so this stops the run."""

    kind = FailureKind.BUG
