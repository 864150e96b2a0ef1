"""The textbook GRPO loop: one prompt after the other, nothing overlaps. What asynchronous training at S = 0 must equal, bit for bit."""

from __future__ import annotations

from actors.ledger import Ledger
from actors.trajectory import Sampling
from chemr.config import Stage
from chemr.curriculum.outcome import Outcome
from chemr.graded_group import GradedGroup, grade
from chemr.prompt_source import PromptSource
from chemr.training_run import TrainingRun


async def synchronous_grpo(run: TrainingRun) -> Ledger:
    config = run.config.grpo
    sampling = Sampling(config.samples_per_group, config.max_new_tokens, config.algo.temperature, end_ids=run.tokenizer.end_ids)
    source = PromptSource(run.grpo_examples, run.tokenizer, config.curriculum, sampling, run.config.run.seed)
    ledger = Ledger()
    await run.begin_stage(Stage.grpo, config.optim, config.steps, config.learner_threads)
    for _ in range(config.steps):
        graded: list[GradedGroup] = []
        while sum(not group.untrainable for group in graded) < config.groups_per_step:
            uid = ledger.next_uid(source.draw())
            ledger.submit(uid)
            graded.append(grade(await run.fleet.run_group(source.request(uid)), config.algo))
            if graded[-1].untrainable:
                ledger.drop(uid, graded[-1].untrainable)
        batch = [group for group in graded if not group.untrainable]
        await run.learners.grpo_step([group.for_training() for group in batch], config.algo)
        ledger.train([group.uid for group in batch])
        outcomes = [
            Outcome(group.uid, group.task, group.success, group.abs_advantage, group.scored.meta.oldest_version, group.trivial)
            for group in graded
            if group.success is not None
        ]
        source.learn(outcomes, run.state.version)
        await run.publish()
    return ledger
