"""Phase 3, asynchronous multi-task GRPO with a curriculum over tasks (CHEM-R.md, phase 3; DESIGN §2–4).

    prompts ──▶ generators ──▶ reward workers ──▶ windowed buffer ──▶ learner ──▶ weight versions ──▶ generators

Three loops, supervised together. Each opens with what it consumes, waits for, is unblocked by and produces.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.buffer import Taken, WindowedBuffer
from actors.failures import GroupDropped
from actors.ledger import Ledger
from actors.trajectory import Sampling
from chemr.config import Stage
from chemr.graded_group import GradedGroup, grade
from chemr.prompt_source import PromptSource
from chemr.stages.grpo_metrics import StepRecorder
from chemr.supervision import run_until_done

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


async def grpo(run: TrainingRun) -> None:
    config = run.config.grpo
    await run.begin_stage(Stage.grpo, config.optim, config.steps, config.learner_threads)
    loops = GrpoLoops(run)
    try:
        await run_until_done(loops.learn(), submit=loops.submit())
    finally:
        loops.buffer.close()
    loops.settle()


class Outcome(NamedTuple):
    """What the curriculum is told of a group."""

    uid: str
    task: str
    success: float
    abs_advantage: float
    oldest_version: int


class GrpoLoops:
    """The stage's state (ledger, curriculum, buffer) and the loops that move it."""

    def __init__(self, run: TrainingRun) -> None:
        config = run.config.grpo
        self.run = run
        self.config = config
        self.ledger = Ledger()
        self.source = PromptSource(
            run.data.train,
            run.tokenizer,
            config.curriculum,
            Sampling(config.samples_per_group, config.max_new_tokens, config.algo.temperature),
            run.config.run.seed,
        )
        self.buffer: WindowedBuffer[GradedGroup] = WindowedBuffer(
            config.groups_per_step, config.off_policy_steps, config.window_fraction
        )
        self.recorder = StepRecorder(run, self.buffer, self.ledger)
        self._outcomes: dict[int, Outcome] = {}  # by sequence number, since the last step: what the curriculum learns from
        self._pulling: asyncio.Task[None] | None = None
        if run.state.stage_state:
            self.load_state_dict(run.state.stage_state)

    async def submit(self) -> None:
        """Consumes: prompts. Waits for: a free slot. Unblocked by: slots freed after a pull, and trivial groups. Produces: rollouts."""
        again = list(self.ledger.in_flight)  # after a resume: what the checkpoint was still waiting for
        async with asyncio.TaskGroup() as rollouts:
            while True:
                seq = await self.buffer.acquire()
                if again:
                    uid = again.pop(0)
                else:
                    uid = self.ledger.next_uid(self.source.draw())
                    self.ledger.submit(uid)
                rollouts.create_task(self.roll_out(seq, uid), name=uid)

    async def roll_out(self, seq: int, uid: str) -> None:
        """Consumes: one prompt. Waits for: a generator, then a reward worker. Unblocked by: their replies or deadlines. Produces: a
        group in the buffer, or a slot given back with a reason."""
        try:
            scored = await self.run.fleet.run_group(self.source.request(uid))
        except GroupDropped as failure:
            self.drop(seq, uid, failure.reason)
            return
        group = grade(scored, self.config.algo)
        if group.success is not None:
            self._outcomes[seq] = Outcome(uid, group.task, group.success, group.abs_advantage, group.oldest_version)
        self.recorder.graded(group)
        if group.untrainable:
            self.drop(seq, uid, group.untrainable)
        else:
            self.buffer.complete(seq, group, scored.meta.oldest_version)

    async def learn(self) -> None:
        """Consumes: P groups a step. Waits for: the buffer. Unblocked by: finished rollouts. Produces: weight versions."""
        run, config = self.run, self.config
        for step in range(run.state.stage_step + 1, config.steps + 1):
            with run.clock.share("wait_rollouts"):
                taken = await self.buffer.take_step(run.state.version)
            with run.clock.share("train"):
                trained = await run.learners.grpo_step([t.item.for_training() for t in taken], config.algo)
            self.ledger.train(t.item.uid for t in taken)
            self.feed_curriculum()
            self.ledger.assert_balanced()
            with run.clock.share("publish"):
                await self.pulled()
                manifest = await run.publish_version()
            self._pulling = asyncio.create_task(self.pull(manifest, taken))
            if step % config.checkpoint_every == 0 or config.off_policy_steps == 0:
                await self.pulled()
            metrics = self.recorder.step(taken, trained, run.clock.finish_step())
            run.finish_step(Stage.grpo, step, config.steps, metrics | self.source.curriculum.metrics())
            if step % config.checkpoint_every == 0 and step < config.steps:
                with run.clock.share("checkpoint"):
                    await run.checkpoint(self.state_dict())
        await self.pulled()

    async def pull(self, manifest: Any, taken: list[Taken[GradedGroup]]) -> None:
        """Consumes: a weight version. Waits for: every serving generator. Unblocked by: acknowledgements. Produces: free slots."""
        await self.run.update_fleet(manifest)
        self.buffer.free(taken)

    async def pulled(self) -> None:
        if self._pulling is not None:
            await self._pulling
            self._pulling = None

    def drop(self, seq: int, uid: str, reason: str) -> None:
        self.ledger.drop(uid, reason)
        self.buffer.release(seq, reason)

    def feed_curriculum(self) -> None:
        """In submission order, whatever the order of completion: at S = 0 the curriculum is a function of the seed alone."""
        for _, outcome in sorted(self._outcomes.items()):
            self.source.curriculum.update(
                outcome.task,
                success=outcome.success,
                abs_advantage=outcome.abs_advantage,
                age=self.run.state.version - outcome.oldest_version,
            )
        self._outcomes.clear()

    def settle(self) -> None:
        """Whatever is still in flight when the last step is done will not be trained on; the ledger says so."""
        for uid in self.ledger.in_flight:
            self.ledger.drop(uid, "stage_end")
        self.ledger.assert_balanced()
        self.run.state.stage_state = self.state_dict() | {"summary": self.recorder.summary()}

    def state_dict(self) -> dict[str, Any]:
        # Only groups that were given back are told to the curriculum after a resume; the others are asked and graded again.
        waiting = set(self.ledger.in_flight)
        outcomes = [outcome for _, outcome in sorted(self._outcomes.items()) if outcome.uid not in waiting]
        return {
            "ledger": self.ledger.state_dict(),
            "source": self.source.state_dict(),
            "recorder": self.recorder.state_dict(),
            "outcomes": outcomes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ledger.load_state_dict(state["ledger"])
        self.source.load_state_dict(state["source"])
        self.recorder.load_state_dict(state["recorder"])
        # Negative sequence numbers: before everything that this process will submit.
        self._outcomes = {i - len(state["outcomes"]): Outcome(*outcome) for i, outcome in enumerate(state["outcomes"])}
