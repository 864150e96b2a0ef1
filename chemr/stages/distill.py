"""Phase 2, Chemical Reasoning Protocol distillation (CHEM-R.md, phase 2).

A teacher writes a chain of thought for training examples along its task's protocol; the reward workers verify each answer with the same
hardened scorers as reinforcement learning; only verified traces are trained on. ``distill.traces`` is a file in the teacher's place.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chemr.config import Stage
from chemr.data.example import Example
from chemr.documents import training_pair
from chemr.evaluation import first_per_task
from chemr.run_stopped import RunStopped
from chemr.stages.supervised import train_supervised
from chemr.trace_file import TraceFileTeacher
from rewards.job import ScoreJob

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


class TooFewTraces(RunStopped):
    """The teacher's verified traces do not fill a training step."""


async def distill(run: TrainingRun) -> None:
    config = run.config.distill
    examples = run.teacher.examples if isinstance(run.teacher, TraceFileTeacher) else run.supervised_examples
    traces = await verified_traces(run, questions(examples, config.traces_per_task, run.config.run.seed))
    if len(traces) < config.documents_per_step:
        raise TooFewTraces(
            f"{len(traces)} traces were verified, fewer than distill.documents_per_step={config.documents_per_step}; "
            "see distill/rejected/* in the metrics for why, or raise distill.traces_per_task"
        )
    pairs = [training_pair(run.tokenizer, example, completion) for example, completion in traces]
    await run.begin_stage(Stage.distill, config.optim, config.steps, config.learner_threads)
    await train_supervised(run, Stage.distill, config, pairs)


def questions(examples: Sequence[Example], per_task: int, seed: int) -> list[Example]:
    """``per_task`` examples of every task, drawn without replacement by the seed."""
    shuffled = list(examples)
    random.Random(f"distill/{seed}").shuffle(shuffled)
    return first_per_task(shuffled, per_task)


async def verified_traces(run: TrainingRun, examples: Sequence[Example]) -> list[tuple[Example, str]]:
    """The teacher's completions that the reward workers accept, in the order of ``examples``."""
    written = await run.teacher.completions(examples)
    asked = [(example, text) for example, text in zip(examples, written, strict=True) if text is not None]
    verdicts = await run.fleet.score_texts([ScoreJob(example.task, text, example.inputs, example.reference) for example, text in asked])
    kept: list[tuple[Example, str]] = []
    rejected: Counter[str] = Counter()
    for (example, text), verdict in zip(asked, verdicts, strict=True):
        if verdict.value is not None and verdict.value >= run.config.distill.verify_at:
            kept.append((example, text))
        else:
            rejected[f"distill/rejected/{example.task}/{verdict.reason}"] += 1
    run.log(
        {
            "distill/asked": float(len(examples)),
            "distill/written": float(len(asked)),
            "distill/verified": float(len(kept)),
            **{name: float(count) for name, count in rejected.items()},
        }
    )
    return kept
