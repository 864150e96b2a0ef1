"""A run: its state, its pool and what stages do with them. The stage drivers hold the algorithms; this holds what they share.

What must survive is in :class:`RunState` and in the learner's checkpoint; both are written together by :meth:`TrainingRun.checkpoint`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from actors.clock import monotonic
from actors.failures import ActorFailure, LearnerLost
from actors.fleet import RolloutFleet
from actors.learner_group import LearnerGroup
from actors.pool import ActorPool
from actors.weights import PullAck, WeightManifest
from chemr.checkpoints import LEARNER, Checkpoint, storage_failure
from chemr.config import ChemrConfig, Stage
from chemr.data.example import Example
from chemr.data.reserve import split_reserve
from chemr.data.task_data import TaskData
from chemr.display import Display
from chemr.documents import training_pair
from chemr.evaluation import Evaluation, evaluate, first_per_task
from chemr.learner_recovery import LearnerLosses
from chemr.prompts import completion_direct
from chemr.resume_changes import goes_further
from chemr.run_control import RunControl
from chemr.run_directory import RunDirectory
from chemr.run_stopped import RunStopped
from chemr.step_clock import StepClock
from chemr.teachers import Teacher
from chemr.tokenization import ChatTokenizer
from chemr.tracking.tracker import Tracker
from learner.config import OptimConfig

log = logging.getLogger(__name__)

T = TypeVar("T")


class NoCheckpoint(RunStopped):
    """The run has nothing to come back to."""


async def in_thread(work: Callable[[], T]) -> T:
    """``work``, which blocks on storage, beside the event loop. A caller that is cancelled still waits for its end: nothing may be written
    into a run's directory by somebody who no longer holds it."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


@dataclass
class RunState:
    """The driver's part of a checkpoint.

    Attributes:
        step: optimiser steps over all stages.
        version: newest published weight version.
        stage: the stage in progress, empty before the first.
        stage_step: its finished steps.
        stage_state: what the stage's own driver needs to go on (GRPO: ledger, curriculum, cursor, totals).
        stage_totals: trained documents, tokens and seconds of the stage in progress.
        results: of the finished stages, as they go into summary.json.
        seconds: wall time of the run, over all its processes.
        tracker: what the sinks need to go on.
        rows: which rows it trains on, see ``resume_changes.rows_digest``; empty in checkpoints of version 0.1.
    """

    step: int = 0
    version: int = 0
    stage: str = ""
    stage_step: int = 0
    stage_state: dict[str, Any] = field(default_factory=dict)
    stage_totals: dict[str, float] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    tracker: dict[str, Any] = field(default_factory=dict)
    rows: str = ""


@dataclass
class TrainingRun:
    """Everything a stage driver may touch."""

    config: ChemrConfig
    directory: RunDirectory
    pool: ActorPool
    tokenizer: ChatTokenizer
    data: TaskData
    teacher: Teacher
    tracker: Tracker
    display: Display
    state: RunState = field(default_factory=RunState)
    clock: StepClock = field(default_factory=StepClock)
    restore_from: Checkpoint | None = None
    learner_losses: LearnerLosses = field(default_factory=LearnerLosses)
    on_step: Callable[[TrainingRun], None] | None = None  # tests watch and disturb a run here
    control: RunControl = field(init=False)
    _since: float = field(default_factory=monotonic)
    _told_of_fallback: bool = False

    def __post_init__(self) -> None:
        self.control = RunControl(self.clock, self.config.control.drain_s, self.display.note)

    @property
    def fleet(self) -> RolloutFleet:
        return self.pool.fleet

    @property
    def learners(self) -> LearnerGroup:
        assert self.pool.learner is not None, "a training pool has learners"
        return self.pool.learner

    @functools.cached_property
    def supervised_examples(self) -> list[Example]:
        """Training rows of foundation and distillation."""
        return split_reserve(self.data.train, self.config.data.grpo_share)[0]

    @functools.cached_property
    def grpo_examples(self) -> list[Example]:
        """Training rows of reinforcement learning."""
        return split_reserve(self.data.train, self.config.data.grpo_share)[1]

    @functools.cached_property
    def probe_ids(self) -> tuple[int, ...]:
        """A fixed question and answer: every generator proves after a pull that it computes for it what the learner computes."""
        prompt_ids, completion_ids = training_pair(self.tokenizer, self.data.validation[0], completion_direct(self.data.validation[0]))
        return (*map(int, prompt_ids), *map(int, completion_ids))

    # stages

    async def begin_stage(self, stage: Stage, optim: OptimConfig, steps: int, threads: int | None) -> None:
        """Give the learner a fresh optimiser for the stage; or, when the stage is being continued, the state of the one in the checkpoint
        under the settings and the schedule of now."""
        self.display.stage(stage, steps)
        going_on = self.state.stage == stage
        if self.restore_from is not None:
            # In the middle of the stage the optimizer's settings are those of now, which a resume may have changed.
            await self.learners.load(self.restore_from.learner, *((optim, steps) if going_on else ()))
            self.restore_from = None
        if not going_on:
            await self.learners.begin_stage(optim, steps, self.config.run.seed)
            self.state.stage, self.state.stage_step = stage, 0
            self.state.stage_state, self.state.stage_totals = {}, {}
            await self.checkpoint()  # a learner lost in the first steps comes back to here
        await self.learners.set_threads(threads or self.config.learner.threads)
        await self.publish()
        self.clock.finish_step()

    def finish_step(self, stage: Stage, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Count and report an optimiser step."""
        self.state.step += 1
        self.state.stage_step = step
        totals = self.state.stage_totals
        for name in ("train/samples", "train/tokens"):
            totals[name] = totals.get(name, 0.0) + metrics.get(name, 0.0)
        totals["seconds"] = totals.get("seconds", 0.0) + metrics["time/step_s"]
        self.log(metrics)
        self.display.step(stage, step, steps, metrics)
        if self.on_step is not None:
            self.on_step(self)

    def log(self, metrics: Mapping[str, float]) -> None:
        self.tracker.log(self.state.step, {"stage": self.state.stage, **metrics})

    # weights

    async def publish_version(self) -> WeightManifest:
        """A new weight version in the object store; nobody has pulled it yet."""
        self.state.version += 1
        began = time.perf_counter()
        weights = self.config.pool.weights
        direct = weights.transport == "direct"
        manifest = await self.learners.publish(
            self.state.version,
            self.probe_ids,
            receivers=self.fleet.receivers(direct) if weights.broadcasts else [],
            receive_s=weights.timeout_s,
            engine_processes=self.config.generator.tensor_parallel if direct else 0,
        )
        self.log({"weights/publish_s": time.perf_counter() - began, "weights/bytes": float(manifest.nbytes)})
        return manifest

    async def update_fleet(self, manifest: WeightManifest) -> None:
        """Make every serving generator pull a version."""
        acknowledgements = await self.fleet.update_weights(manifest)
        if not acknowledgements:
            return  # no generator serves just now; those that are started pull before they do
        record = {"weights/version_lag": float(max(ack.lag for ack in acknowledgements))}
        slowest = max(acknowledgements, key=lambda ack: sum(ack.seconds.values()))
        record["weights/pull_s"] = sum(slowest.seconds.values())
        record |= {f"weights/pull/{phase}_s": seconds for phase, seconds in slowest.seconds.items()}
        if self.config.pool.weights.broadcasts:
            record["weights/fallback"] = float(self._missed_broadcast(manifest, acknowledgements))
        errors = [ack.probe_error for ack in acknowledgements if ack.probe_error is not None]
        if errors:
            record["weights/probe_error"] = max(errors)
            record["weights/probe_mean"] = max(ack.probe_mean or 0.0 for ack in acknowledgements)
        self.log(record)

    def _missed_broadcast(self, manifest: WeightManifest, acknowledgements: Sequence[PullAck]) -> bool:
        """Whether a generator had to take the version from the store; the first time it is said why."""
        reasons = [ack.fallback for ack in acknowledgements if ack.fallback]
        if manifest.offer is None:
            reasons.append("the learner could not offer a broadcast")
        if reasons and not self._told_of_fallback:
            self._told_of_fallback = True
            log.warning("version %d of the weights came from the object store, not by broadcast: %s", manifest.version, reasons[0])
        return bool(reasons)

    async def publish(self) -> None:
        await self.update_fleet(await self.publish_version())

    async def keep_published(self) -> None:
        """Consumes: versions whose bytes are gone with the node that published them. Waits for: a generator that misses one. Unblocked by:
        its pull. Produces: the weights of now as a new version, which no age counts. A learner that was lost with the node is its stage's
        to restart, which publishes."""
        while True:
            lost = await self.fleet.version_lost()
            self.display.note(f"version {lost.version} of the weights was lost with the node that published it; it is published again")
            if self.control.grpo is not None:
                self.control.grpo.buffer.republished(self.state.version + 1)
            with contextlib.suppress(LearnerLost):
                await self.publish()

    # evaluation

    async def validate(self) -> Evaluation:
        """The short evaluation that runs beside training."""
        examples = first_per_task(self.data.validation, self.config.eval.validation_prompts_per_task)
        return await evaluate(self.fleet, examples, self.tokenizer, self.config.eval, self.state.version, want_texts=True)

    def report_validation(self, stage: Stage, evaluation: Evaluation) -> None:
        self.log(evaluation.metrics("validation"))
        self.display.evaluation(stage, {task: score.mean for task, score in evaluation.tasks.items()}, evaluation.mean)

    async def test(self) -> Evaluation:
        """The held-out evaluation that results are made of."""
        examples = first_per_task(self.data.test, self.config.eval.test_prompts_per_task)
        return await evaluate(self.fleet, examples, self.tokenizer, self.config.eval, self.state.version)

    # checkpoints

    async def checkpoint(self, stage_state: Mapping[str, Any] | None = None) -> Checkpoint | None:
        """Write learner and driver state together; ``stage_state`` is taken before anything is awaited, so both are of one moment.

        None when the storage failed: training goes on with the checkpoint before, and says so each time.

        Raises:
            NoCheckpoint: it failed and there is no checkpoint before.
        """
        if stage_state is not None:
            self.state.stage_state = dict(stage_state)
        fulfils = self.control.checkpoint_begins()
        self.account_time()
        self.state.tracker = self.tracker.state()
        state = asdict(self.state)  # a copy: the loops go on meanwhile
        store, step = self.directory.checkpoints, self.state.step
        try:
            partial = await in_thread(functools.partial(store.begin, step))
            files = [file.under(LEARNER) for file in await self.learners.save(partial / LEARNER)]
            checkpoint = await in_thread(functools.partial(store.commit, step, state, files))
        except Exception as error:
            if isinstance(error, ActorFailure):  # a rank, not its storage
                raise
            reason = await in_thread(functools.partial(storage_failure, error, store.directory))
            if not reason:
                raise
            self.log({"checkpoint/failed": 1.0})
            if not await in_thread(functools.partial(store.abandon, step)):
                raise NoCheckpoint(
                    f"the first checkpoint could not be written, and without one a run survives nothing: {reason}"
                ) from error
            self.display.note(
                f"the checkpoint of step {step} was NOT written: {reason}. Training goes on and would restart from the one before"
            )
            return None
        self.log({"checkpoint/failed": 0.0})
        self.control.checkpoint_written(fulfils, checkpoint.path)
        self.tracker.folder("checkpoint", checkpoint.path, step, {"stage": self.state.stage})
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over a checkpoint's state; the learner loads its part when the stage begins."""
        version, rows = self.state.version, self.state.rows
        self.state = RunState(**checkpoint.state)
        self.state.rows = rows  # compared before
        if goes_further(checkpoint.state, self.config):
            del self.state.results[self.state.stage]
        # Versions never go back while generators live: a version names one set of weights.
        self.state.version = max(version, self.state.version)
        self.restore_from = checkpoint
        self.tracker.rewind(self.state.step)

    def account_time(self) -> None:
        now = monotonic()
        self.state.seconds += now - self._since
        self._since = now
