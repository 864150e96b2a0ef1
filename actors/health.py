"""Health by progress: what members say of themselves, and what follows from it. One check per member is under way at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from statistics import fmean
from typing import Any

from actors.clock import monotonic
from actors.failures import FailureKind, WorkerLostError, classify
from actors.fleet_losses import out_of_reach
from actors.generator import GeneratorHealth
from actors.handles import Generator, Scorer
from actors.pool_config import FleetTiming
from actors.roster import Roster
from actors.seats import Place

TOLD_TO_END = "it was told to end (SIGTERM)"


class HealthChecks:
    """Asks every serving member, loses the dead and the hung, drains those that were told to end, and remembers the last answers."""

    def __init__(self, generators: Roster[Generator], scorers: Roster[Scorer], timing: FleetTiming) -> None:
        self._generators, self._scorers, self._timing = generators, scorers, timing
        self._under_way: dict[object, asyncio.Task[None]] = {}
        self._answers: dict[int, tuple[int, GeneratorHealth]] = {}  # by index: incarnation and its last answer
        self._busy_before_s = 0.0  # of generators that were replaced
        self._progress: dict[int, tuple[tuple[int, ...], float]] = {}  # by index: incarnation and what last changed, and when

    def start_round(self) -> None:
        """Start a check of every member that has none under way: one that hangs delays nobody else's. Raises what a check found wrong
        with itself."""
        for place, task in [*self._under_way.items()]:
            if task.done():
                del self._under_way[place]
                task.result()
        for generator in self._generators.supervised():
            self._check(generator, self._check_generator(generator))
        for scorer in self._scorers.supervised():
            self._check(scorer, self._check_scorer(scorer))

    async def cancel(self) -> None:
        tasks = [*self._under_way.values()]
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def busy_s(self) -> float:
        """Seconds that generators had groups in the engine, summed over all of them, as of the last answers."""
        return self._busy_before_s + sum(health.busy_s for _, health in self._answers.values())

    def engines(self) -> dict[str, float]:
        """As of the last answers: engine/cache_usage, the largest share of a key-value cache in use; engine/preemptions, the samples
        thrown out for want of cache since the engines' starts, summed over them; and, once there have been enough decoding steps, means
        over the engines of what one takes, engine/step_s, with how many samples, engine/running, and of what it is made,
        engine/pace/{step_s,sample_s,prompt_token_s,end_s} (:class:`actors.decoding_pace.DecodingPace`)."""
        known = [health for _, health in self._answers.values()]
        paces = [health.pace for health in known if health.pace is not None]
        load = {
            "engine/cache_usage": max((health.cache_usage for health in known), default=0.0),
            "engine/preemptions": float(sum(health.preemptions for health in known)),
        }
        if not paces:
            return load
        return load | {
            "engine/step_s": fmean(pace.mean_s for pace in paces),
            "engine/running": fmean(pace.samples for pace in paces),
            "engine/pace/step_s": fmean(pace.step_s for pace in paces),
            "engine/pace/sample_s": fmean(pace.sample_s for pace in paces),
            "engine/pace/prompt_token_s": fmean(pace.prompt_token_s for pace in paces),
            "engine/pace/end_s": fmean(pace.end_s for pace in paces),
        }

    def last(self, place: Place[Generator]) -> GeneratorHealth | None:
        """The last answer of this very member."""
        incarnation, health = self._answers.get(place.index, (-1, None))
        return health if incarnation == place.incarnation else None

    def progress_s(self, place: Place[Generator]) -> float | None:
        """Seconds since a counter of this member moved, or it was idle; None before its first answer."""
        (incarnation, *_), since = self._progress.get(place.index, ((-1,), 0.0))
        return monotonic() - since if incarnation == place.incarnation else None

    def _check(self, place: object, check: Coroutine[Any, Any, None]) -> None:
        if place in self._under_way:
            check.close()
        else:
            self._under_way[place] = asyncio.create_task(check)

    async def _check_generator(self, place: Place[Generator]) -> None:
        try:
            health = await place.member.health(self._timing.health_s)
            place.heard = monotonic()
            if not health.alive:
                raise WorkerLostError(f"the engine of {place.member.name} is dead")
            self._note(place, health)
            self._check_progress(place, health)
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            if not out_of_reach(error) or self._is_silent(place):
                self._generators.lose(place, error)
            return
        if place.limit is not None:
            place.limit.engine(health.cache_usage, health.preemptions, place.load, monotonic())
        if health.leaving:
            self._generators.drain(place, TOLD_TO_END)

    async def _check_scorer(self, place: Place[Scorer]) -> None:
        try:
            leaving = await place.member.ready(self._timing.health_s)
            place.heard = monotonic()
        except Exception as error:
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            if place.load:  # it answers between two calls, and the call under way has a clock of its own
                place.heard = monotonic()
            if not out_of_reach(error) or self._is_silent(place):
                self._scorers.lose(place, error)
            return
        if leaving:
            self._scorers.drain(place, TOLD_TO_END)

    def _is_silent(self, place: Place[Any]) -> bool:
        """A process that is busy, or a machine, answers late. One that answers nothing for ``hang_s`` does nothing else either."""
        return monotonic() - place.heard >= self._timing.hang_s

    def _note(self, place: Place[Generator], health: GeneratorHealth) -> None:
        incarnation, before = self._answers.get(place.index, (place.incarnation, health))
        if incarnation != place.incarnation:
            self._busy_before_s += before.busy_s
        self._answers[place.index] = (place.incarnation, health)

    def _check_progress(self, place: Place[Generator], health: GeneratorHealth) -> None:
        """Progress is a step of the engine, whatever the step was for, not a finished group: a long rollout finishes nothing for minutes.
        An engine that has nothing to do, or is paused for new weights (which has deadlines of its own), owes none."""
        counters, now = (place.incarnation, health.steps, health.tokens, health.updates), monotonic()
        before, since = self._progress.get(place.index, (counters, now))
        if not health.working or counters != before:
            since = now
        self._progress[place.index] = (counters, since)
        if now - since > self._timing.hang_s:
            raise WorkerLostError(
                f"{place.member.name} has {health.running} groups in flight and its engine made no step for {now - since:.0f} s"
            )
