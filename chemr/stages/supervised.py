"""The supervised loop that foundation and distillation share: packed SFT with held-out evaluations running beside it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chemr.config import SftStageConfig, Stage
from chemr.evaluation import Evaluation

if TYPE_CHECKING:
    from actors.learner_worker import Pair
    from chemr.training_run import TrainingRun


def batches(documents: int, per_step: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Indices of the documents of each step: passes over a reshuffled deck, as a pure function of the seed.

    A step never holds a document twice, even where one pass ends and the next begins within it.
    """
    if per_step > documents:
        raise ValueError(f"a step of {per_step} documents cannot be filled from {documents}; lower documents_per_step or provide more data")
    deck: list[int] = []
    lap = 0
    for _ in range(steps):
        if len(deck) < per_step:
            fresh = list(range(documents))
            random.Random(f"sft/{seed}/{lap}").shuffle(fresh)
            rest = set(deck)
            deck += [index for index in fresh if index not in rest] + [index for index in fresh if index in rest]
            lap += 1
        yield deck[:per_step]
        deck = deck[per_step:]


async def train_supervised(run: TrainingRun, stage: Stage, config: SftStageConfig, pairs: Sequence[Pair]) -> None:
    """Train ``config.steps`` steps on ``pairs``; the generators evaluate every published version while training goes on.

    Consumes: the pairs. Waits for: the learner. Unblocked by: each finished step. Produces: weight versions and metrics.
    """
    await run.learners.load_dataset(pairs)
    evaluating: asyncio.Task[Evaluation] | None = None
    plan = batches(len(pairs), config.documents_per_step, config.steps, run.config.run.seed)
    try:
        for step, indices in enumerate(plan, start=1):
            if step <= run.state.stage_step:  # done before a resume
                continue
            await run.control.between_steps(run.checkpoint)
            with run.clock.share("train"):
                metrics = await run.learners.sft_step(indices)
            run.finish_step(stage, step, config.steps, {**metrics, "train/samples": float(len(indices)), **run.clock.finish_step()})
            if evaluating is not None and evaluating.done():
                run.report_validation(stage, evaluating.result())
                evaluating = None
            if config.eval_every and step % config.eval_every == 0 and step < config.steps:
                if evaluating is not None:
                    with run.clock.share("wait_eval"):
                        run.report_validation(stage, await evaluating)
                with run.clock.share("publish"):
                    await run.publish()
                evaluating = asyncio.create_task(run.validate())
            if step % config.checkpoint_every == 0 and step < config.steps:
                with run.clock.share("checkpoint"):
                    await run.checkpoint()
        if evaluating is not None:
            run.report_validation(stage, await evaluating)
    finally:
        if evaluating is not None:
            evaluating.cancel()  # a stage that fails leaves nothing running behind it
