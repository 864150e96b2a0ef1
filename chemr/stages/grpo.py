"""Phase 3, asynchronous multi-task GRPO with a curriculum over tasks (CHEM-R.md, phase 3; DESIGN §2–4).

    prompts ──▶ generators ──▶ reward workers ──▶ windowed buffer ──▶ learner ──▶ weight versions ──▶ generators

Two loops, supervised together, and a short-lived task per rollout and per pull. Each opens with what it consumes, waits for, is unblocked
by and produces.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actors.buffer import Taken
from actors.failures import GroupDropped, GroupsLost, LearnerLost
from actors.trajectory import Sampling
from actors.weights import WeightManifest
from chemr.checkpoints import Checkpoint
from chemr.config import Stage
from chemr.graded_group import GradedGroup, grade, orders_of_step
from chemr.learner_recovery import go_back
from chemr.prompt_source import PromptSource
from chemr.run_control import Save
from chemr.stages.answer_form import check_answer_form
from chemr.stages.grpo_state import GrpoState
from chemr.supervision import first_cause, run_until_done

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


async def grpo(run: TrainingRun) -> None:
    config = run.config.grpo
    await run.begin_stage(Stage.grpo, config.optim, config.steps, config.learner_threads)
    await check_answer_form(run)
    sampling = Sampling(config.samples_per_group, config.max_new_tokens, config.algo.temperature, end_ids=run.tokenizer.end_ids)
    state = GrpoState(run, PromptSource(run.grpo_examples, run.tokenizer, config.curriculum, sampling, run.config.run.seed))
    run.control.grpo = state
    try:
        await run_until_done(learn(run, state), submit=submit(run, state))
    finally:
        run.control.grpo = None
        state.buffer.close()
    run.state.stage_state = state.settle()


async def submit(run: TrainingRun, state: GrpoState) -> None:
    """Consumes: prompts. Waits for: a free slot, the end of a pause. Unblocked by: slots freed after a pull, groups given back, a resume.
    Produces: rollouts."""
    async with asyncio.TaskGroup() as rollouts:
        while True:
            await run.control.admission()
            seq = await state.buffer.acquire()
            if not run.control.admits:  # paused while it waited for the slot
                state.buffer.release(seq)
                continue
            uid = state.next_prompt()
            rollouts.create_task(roll_out(run, state, seq, uid), name=uid)


async def roll_out(run: TrainingRun, state: GrpoState, seq: int, uid: str) -> None:
    """Consumes: one prompt. Waits for: a generator, then a reward worker. Unblocked by: their replies or deadlines. Produces: a group in
    the buffer, or a slot given back with a reason."""
    try:
        scored = await run.fleet.run_group(state.source.request(uid), want_texts=state.wants_texts(uid))
    except GroupDropped as failure:
        state.failed(seq, failure)
        return
    state.graded(seq, grade(scored, run.config.grpo.algo, run.config.grpo.shaping))


async def learn(run: TrainingRun, state: GrpoState) -> None:
    """Consumes: the steps still to do. Waits for: the learner. Unblocked by: the last step, or the learner's loss, after which it goes on
    from the newest checkpoint while the rollouts go on. Produces: a trained policy."""
    while run.state.stage_step < run.config.grpo.steps:
        try:
            await train_steps(run, state)
        except* LearnerLost as losses:
            await go_back(run, state, first_cause(losses))


async def train_steps(run: TrainingRun, state: GrpoState) -> None:
    """Consumes: P groups a step. Waits for: the buffer. Unblocked by: finished rollouts. Produces: weight versions, which the generators
    pull while the next step trains; its slots are free once they have."""
    config = run.config.grpo
    async with asyncio.TaskGroup() as pulls:
        pulling = pulls.create_task(asyncio.sleep(0.0))

        async def save() -> Checkpoint | None:
            await pulling
            state.keep_harvest()
            return await run.checkpoint(state.state_dict())

        for step in range(run.state.stage_step + 1, config.steps + 1):
            taken, trained = await train_step(run, state, save)
            state.judge_engine(taken, trained)
            state.say_if_skipped(trained)
            state.trained(step, [one.item for one in taken])
            checkpoint_due = step % config.checkpoint_every == 0 and step < config.steps
            with run.clock.share("publish"):
                await pulling
                # After the last step no slot is freed: nobody would train on what it would be filled with.
                freed = taken if step < config.steps else []
                pulling = pulls.create_task(pull(run, state, await run.publish_version(), freed))
                if checkpoint_due or config.off_policy_steps == 0:
                    await pulling
            metrics = state.recorder.step(taken, trained, run.clock.finish_step())
            run.finish_step(Stage.grpo, step, config.steps, metrics | state.source.metrics() | state.harvest.metrics())
            run.tracker.distributions(run.state.step, state.recorder.distributions)
            run.tracker.samples(run.state.step, state.trajectories.finish_step(run.state.step))
            if config.eval_every and step % config.eval_every == 0:
                with run.clock.share("eval"):
                    run.report_validation(Stage.grpo, await run.validate())
            if checkpoint_due:
                with run.clock.share("checkpoint"):
                    await save()


async def train_step(run: TrainingRun, state: GrpoState, save: Save) -> tuple[list[Taken[GradedGroup]], dict[str, float]]:
    """Consumes: P groups. Waits for: the buffer, then the learner. Unblocked by: finished rollouts; where a group's tokens were lost with
    their node, the same group made again. Produces: the groups of a step, and its metrics."""
    config = run.config.grpo
    while True:
        with run.clock.share("wait_rollouts"):
            taken = await run.control.take(save, state.buffer.take_step(run.state.version), state.groups_in_flight)
        try:
            with run.clock.share("train"):
                orders = orders_of_step([one.item for one in taken], config.shaping)
                return taken, await run.learners.grpo_step(orders, config.algo)
        except GroupsLost as loss:
            state.lost(taken, loss)


async def pull(run: TrainingRun, state: GrpoState, manifest: WeightManifest, freed: list[Taken[GradedGroup]]) -> None:
    """Consumes: a weight version. Waits for: every serving generator. Unblocked by: acknowledgements. Produces: free slots."""
    await run.update_fleet(manifest)
    state.buffer.free(freed)
