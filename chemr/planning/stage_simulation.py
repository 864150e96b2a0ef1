"""Discrete-event simulation of a GRPO stage under the control rules of a real run.

The rules are not written again here: slots, window and age are :class:`actors.buffer.WindowedBuffer`, the rollout deadline is
:class:`actors.failures.StragglerDeadline`, samples in flight per engine are :class:`actors.concurrency.ConcurrencyLimit`. What is simulated
is time: engines (:mod:`chemr.planning.simulated_engine`), reward processes, the learner, publication and pulls, in the order of
chemr/stages/grpo.py. One event a sample, a group or a phase of a step; all lengths are drawn in blocks.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np

from actors.buffer import Taken, WindowedBuffer
from actors.failures import StragglerDeadline
from actors.pool_config import OnStraggler
from chemr.planning.core_sharing import deal
from chemr.planning.errors import PlanError
from chemr.planning.scenario import Prediction, Setup, StepFigures
from chemr.planning.simulated_engine import SimulatedEngine
from chemr.planning.simulated_work import Event, SimulatedGroup, SimulatedStep

HOPELESS = 500  # groups per group wanted without a step, before a plan is called impossible (as in chemr/stages/grpo_state.py)
BLOCK = 1024  # groups whose lengths are drawn at once


class StageSimulation:
    """One stage, from its first submission; see the module's docstring."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self._setup, self._work = setup, setup.workload
        self._rng = np.random.default_rng(seed)
        self._drawn = self._draw()
        work = self._work
        context = work.prompt_tokens + work.lengths.mean_of_running
        self._engines = [
            SimulatedEngine(index, setup.engine, work.prompt_tokens, context, setup.keep_cache) for index in range(setup.engines)
        ]
        self._buffer: WindowedBuffer[SimulatedGroup] = WindowedBuffer(work.groups_per_step, work.off_policy_steps, work.window_fraction)
        timing = setup.timing
        self._deadline = StragglerDeadline(timing.straggler_multiple, timing.straggler_floor_s, timing.straggler_ceiling_s)
        self._events: list[tuple[float, int, Event, int, object]] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self._groups: dict[int, SimulatedGroup] = {}  # being generated or waiting for it, by seq
        self._pending: deque[SimulatedGroup] = deque()
        self._servers = [0.0] * setup.reward_servers
        self._ready = 0
        self._submitted = self._trained = self._since_step = 0
        self._dropped: Counter[str] = Counter()
        self._rollout = [0, 0.0]
        self._back = [0, 0.0, 0.0]  # since the last step: groups, their seconds of generation and in all
        # the learner
        self._version = 0
        self._step: list[Taken[SimulatedGroup]] | None = None
        self._work_left = 0.0
        self._learner_share = 1.0
        self._learner_at = 0.0
        self._learner_stamp = 0
        self._trained_now = False  # a step is trained and waits to be published
        self._pulling: list[Taken[SimulatedGroup]] | None = None
        self._asks = True  # the learner waits for groups
        self._wait_began = self._train_began = 0.0
        self._waited = 0.0
        self._steps: list[SimulatedStep] = []
        self._sharing: tuple[object, ...] = ()

    def run(self, steps: int) -> Prediction:
        if steps < 2:
            raise PlanError(f"{steps} simulated steps: should be at least 2")
        warm = min(max(4, 2 * (self._work.off_policy_steps + 1)), steps // 2)
        if self._setup.failures_per_hour > 0.0:
            for engine in self._engines:
                self._push(self._now + self._until_failure(), Event.FAILS, engine.index)
        self._submit()
        at_warm: tuple[float, float, float] | None = None
        while len(self._steps) < steps:
            self._share_cores()
            if not self._events:
                raise PlanError("the simulated run came to a standstill: no engine serves and nothing is under way")
            self._now, _, event, subject, detail = heapq.heappop(self._events)
            self._happen(event, subject, detail)
            if at_warm is None and len(self._steps) == warm:
                at_warm = self._totals()
        assert at_warm is not None
        return self._predict(warm, at_warm)

    # events

    def _happen(self, event: Event, subject: int, detail: object) -> None:
        match event:
            case Event.ENGINE:
                engine = self._engines[subject]
                if detail == engine.stamp:
                    self._samples_end(engine)
            case Event.SCORED:
                self._scored(self._groups[subject])
            case Event.LEARNER:
                if detail == self._learner_stamp:
                    self._learner_done()
            case Event.PUBLISHED:
                self._published()
            case Event.PULLED:
                self._pulled()
            case Event.DEADLINE:
                group = self._groups.get(subject)
                if group is not None and group.engine is not None and group.attempt == detail:
                    self._too_late(group)
            case Event.FAILS:
                self._fails(self._engines[subject])
            case Event.RETURNS:
                engine = self._engines[subject]
                engine.advance(self._now)
                engine.up, engine.version = True, self._served_version()
                self._push(self._now + self._until_failure(), Event.FAILS, subject)
                self._dispatch()

    def _submit(self) -> None:
        """As the loop ``submit``: a group for every free slot."""
        while (seq := self._buffer.try_acquire()) is not None:
            lengths, trivial = next(self._drawn)
            group = SimulatedGroup(seq, lengths, trivial, submitted=self._now)
            self._groups[seq] = group
            self._pending.append(group)
            self._submitted += 1
            self._since_step += 1
        if self._since_step > HOPELESS * self._work.groups_per_step:
            raise PlanError(
                f"no step gets full: {self._since_step} groups were asked for one step of {self._work.groups_per_step} "
                f"(given up: {dict(self._dropped)}); deadlines are too short for these lengths, or nearly all groups are trivial"
            )
        self._dispatch()

    def _dispatch(self) -> None:
        """As the fleet's roster: the least loaded engine with room; one group that finds none holds up those behind it."""
        samples, touched = self._work.samples_per_group, set()
        while self._pending:
            free = [e for e in self._engines if e.up and (e.load == 0 or e.load + samples <= e.limit.value)]
            if not free:
                break
            engine = min(free, key=lambda e: (e.load, e.index))
            group = self._pending.popleft()
            engine.advance(self._now)
            engine.load += samples
            group.engine, group.oldest, group.began, group.left = engine, engine.version, self._now, samples
            engine.start_group(group.seq, group.attempt, group.lengths)
            self._push(self._now + self._deadline.seconds(), Event.DEADLINE, group.seq, group.attempt)
            touched.add(engine.index)
        for engine in self._engines:
            engine.limit.demand(bool(self._pending), self._now)
        for index in touched:
            self._plan(self._engines[index])

    def _samples_end(self, engine: SimulatedEngine) -> None:
        engine.advance(self._now)
        came_back = False
        for seq, _ in engine.end_of_samples():
            group = self._groups[seq]
            group.left -= 1
            if group.left == 0:
                self._generated(group, sum(group.lengths))
                came_back = True
        self._plan(engine)
        if came_back:
            self._dispatch()

    def _generated(self, group: SimulatedGroup, tokens: int) -> None:
        """A group's last sample ended: it gives its place back and queues for a reward process."""
        engine = group.engine
        assert engine is not None
        engine.load -= len(group.lengths)
        seconds = self._now - group.began
        self._deadline.record(seconds)
        self._rollout[0] += 1
        self._rollout[1] += seconds
        engine.limit.finished(len(group.lengths), tokens, self._now)
        group.engine, group.tokens, group.seconds = None, tokens, seconds
        server = min(range(len(self._servers)), key=self._servers.__getitem__)
        done = max(self._servers[server], self._now) + len(group.lengths) * self._work.reward_s
        self._servers[server] = done
        self._push(done + self._setup.latency_s, Event.SCORED, group.seq)

    def _scored(self, group: SimulatedGroup) -> None:
        del self._groups[group.seq]
        self._back[0] += 1
        self._back[1] += group.seconds
        self._back[2] += self._now - group.submitted
        if group.trivial:
            self._drop(group, "zero_variance")
            return
        self._buffer.complete(group.seq, group, group.oldest)
        self._ready += 1
        self._take()

    def _drop(self, group: SimulatedGroup, reason: str) -> None:
        self._dropped[reason] += 1
        self._buffer.release(group.seq)
        self._submit()
        self._take()

    def _too_late(self, group: SimulatedGroup) -> None:
        """The rollout deadline: cut, or replaced once and then given up."""
        engine = group.engine
        assert engine is not None
        engine.advance(self._now)
        unfinished = engine.withdraw(group.seq, group.attempt)
        if self._setup.timing.on_straggler is OnStraggler.cut:
            self._generated(group, sum(sorted(group.lengths)[: len(group.lengths) - unfinished]))
        else:
            engine.load -= len(group.lengths)
            group.engine, group.attempt, group.stragglings = None, group.attempt + 1, group.stragglings + 1
            if group.stragglings == 2:
                del self._groups[group.seq]
                self._drop(group, "straggler")
            else:
                self._pending.appendleft(group)
        self._plan(engine)
        self._dispatch()

    def _fails(self, engine: SimulatedEngine) -> None:
        engine.advance(self._now)
        engine.fail()
        engine.stamp += 1
        for group in self._groups.values():
            if group.engine is engine:
                group.engine, group.attempt = None, group.attempt + 1
                self._pending.appendleft(group)
        self._push(self._now + self._setup.restart_s, Event.RETURNS, engine.index)
        self._dispatch()

    # the learner, as the loop ``train_steps``

    def _take(self) -> None:
        if not self._asks or self._ready < self._work.groups_per_step:
            return
        step = self._buffer.try_take_step(self._version)
        if step is None:
            return
        self._asks = False
        self._ready -= len(step)
        self._waited = self._now - self._wait_began
        self._step, self._train_began = step, self._now
        self._since_step = 0
        speed, expected = self._setup.learner, self._work.trained_tokens
        tokens = sum(one.item.tokens for one in step)
        self._work_left = speed.train_s + speed.computing_s * (tokens / expected - 1.0)
        self._learner_at = self._now
        self._plan_learner()

    def _learner_done(self) -> None:
        self._trained_now = True
        self._work_left = 0.0
        if self._pulling is None:
            self._publish()

    def _publish(self) -> None:
        self._trained_now = False
        self._push(self._now + self._setup.learner.publish_s + self._setup.overhead_s, Event.PUBLISHED, 0)

    def _published(self) -> None:
        step = self._step
        assert step is not None
        self._version += 1
        self._pulling = step
        self._push(self._now + self._setup.engine.pull_s, Event.PULLED, 0)
        self._trained += len(step)
        train = self._now - self._train_began - self._setup.learner.publish_s - self._setup.overhead_s
        tokens = sum(one.item.tokens for one in step)
        graded, seconds, in_all = self._back
        self._back = [0, 0.0, 0.0]
        ages = [one.age for one in step]
        means = [total / graded if graded else float("nan") for total in (seconds, in_all)]
        self._steps.append(SimulatedStep(self._now, train, self._waited, ages, tokens, int(graded), *means))
        self._step = None
        if self._work.off_policy_steps > 0:
            self._ask()

    def _pulled(self) -> None:
        assert self._pulling is not None
        for engine in self._engines:
            engine.advance(self._now)
            if engine.up:
                engine.update(self._version)
                self._plan(engine)
        self._buffer.free(self._pulling)
        self._pulling = None
        self._submit()
        if self._trained_now:
            self._publish()
        elif self._work.off_policy_steps == 0:
            self._ask()

    def _ask(self) -> None:
        self._asks, self._wait_began = True, self._now
        self._take()

    # time

    def _push(self, when: float, event: Event, subject: int, detail: object = None) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), event, subject, detail))

    def _plan(self, engine: SimulatedEngine) -> None:
        engine.stamp += 1
        until = engine.next_event()
        if until is not None:
            self._push(self._now + until, Event.ENGINE, engine.index, engine.stamp)

    def _plan_learner(self) -> None:
        self._learner_stamp += 1
        if self._learner_share > 0.0:
            self._push(self._now + self._work_left / self._learner_share, Event.LEARNER, 0, self._learner_stamp)

    def _training(self) -> bool:
        return self._step is not None and self._work_left > 0.0

    def _share_cores(self) -> None:
        """Deals the cores out anew when somebody has begun or ended to compute."""
        cores = self._setup.cores
        if cores is None:
            return
        computing = tuple(engine.computing for engine in self._engines)
        if (computing, self._training()) == self._sharing:
            return
        self._sharing = (computing, self._training())
        of_engines, of_learner = deal(cores, computing, self._training())
        for engine, share in zip(self._engines, of_engines, strict=True):
            engine.advance(self._now)
            engine.share = share if engine.computing else 1.0
            self._plan(engine)
        if self._training():
            self._work_left = max(0.0, self._work_left - (self._now - self._learner_at) * self._learner_share)
            self._learner_at, self._learner_share = self._now, of_learner
            self._plan_learner()

    def _until_failure(self) -> float:
        rate = self._setup.failures_per_hour / 3600.0
        return float(self._rng.exponential(1.0 / rate)) if rate > 0.0 else float("inf")

    def _served_version(self) -> int:
        return self._version if self._pulling is None else self._version - 1

    def _draw(self) -> Iterator[tuple[list[int], bool]]:
        """Lengths and triviality of one group after the other."""
        while True:
            lengths = self._work.lengths.draw(BLOCK, self._work.samples_per_group, self._rng)
            trivial = self._rng.random(BLOCK) < self._work.trivial
            yield from zip(lengths.tolist(), trivial.tolist(), strict=True)

    # what came of it

    def _totals(self) -> tuple[float, float, float]:
        for engine in self._engines:
            engine.advance(self._now)
        self._rollout = [0, 0.0]
        return self._now, sum(engine.busy_s for engine in self._engines), sum(engine.tokens for engine in self._engines)

    def _predict(self, warm: int, at_warm: tuple[float, float, float]) -> Prediction:
        began, busy_before, tokens_before = at_warm
        groups, seconds = self._rollout
        now, busy, tokens = self._totals()
        steps, wall = self._steps[warm:], now - began
        count = len(steps)
        train = sum(step.train_s for step in steps) / count
        generation = (busy - busy_before) / len(self._engines) / count
        step_s = wall / count
        ages = [age for step in steps for age in step.ages]
        rollout = seconds / groups if groups else 0.0
        returned = [step for step in steps if step.graded]
        turnaround = sum(step.turnaround_s * step.graded for step in returned) / max(1, sum(step.graded for step in returned))
        # By Little's law: what came back per second, times the seconds it took.
        return Prediction(
            step_s=step_s,
            train_s=train,
            wait_s=sum(step.wait_s for step in steps) / count,
            age_mean=sum(ages) / len(ages),
            age_max=self._buffer.oldest_age_seen,
            age_bound=self._buffer.max_age,
            overlap_efficiency=max(generation, train) / step_s,
            idle_learner=max(0.0, 1.0 - train / step_s),
            idle_generators=max(0.0, 1.0 - generation / step_s),
            running=groups * self._work.samples_per_group * rollout / wall / len(self._engines),
            rollout_s=rollout,
            turnaround_s=turnaround,
            trained_tokens_per_s=sum(step.tokens for step in steps) / wall,
            generated_tokens_per_s=(tokens - tokens_before) / wall,
            submitted=self._submitted,
            trained=self._trained,
            dropped={reason: number for reason, number in self._dropped.items() if number},
            in_flight=sum(self._buffer.counts()[state] for state in ("generating", "ready")) + (len(self._step) if self._step else 0),
            steps=count,
            by_step=tuple(self._figures(warm)),
        )

    def _figures(self, warm: int) -> Iterator[StepFigures]:
        for before, step in itertools.pairwise(self._steps[warm - 1 :]):
            yield StepFigures(step.ended - before.ended, step.graded, step.rollout_s, step.turnaround_s)
