"""Phase 2, Chemical Reasoning Protocol distillation (CHEM-R.md, phase 2).

A teacher writes a chain of thought for training examples along its task's protocol, now or earlier (``distill.traces``, docs/mining.md);
the reward workers verify each answer with the same hardened scorers as reinforcement learning; only verified traces are trained on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chemr.config import Stage
from chemr.data.example import Example
from chemr.documents import training_pair
from chemr.evaluation import first_per_task
from chemr.run_stopped import RunStopped
from chemr.stages.supervised import train_supervised
from chemr.trace_file import read_traces
from rewards.job import ScoreJob

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


class TooFewTraces(RunStopped):
    """The teacher's verified traces do not fill a training step."""


async def distill(run: TrainingRun) -> None:
    config = run.config.distill
    written = await taught(run) if config.traces is None else of_file(run, Path(config.traces))
    traces = await verified(run, written)
    if len(traces) < config.documents_per_step:
        raise TooFewTraces(
            f"{len(traces)} traces were verified, fewer than distill.documents_per_step={config.documents_per_step}; "
            "see distill/rejected/* in the metrics for why, and raise distill.traces_per_task (or mine more traces)"
        )
    pairs = [training_pair(run.tokenizer, example, completion) for example, completion in traces]
    await run.begin_stage(Stage.distill, config.optim, config.steps, config.learner_threads)
    await train_supervised(run, Stage.distill, config, pairs)


def questions(examples: Sequence[Example], per_task: int, seed: int) -> list[Example]:
    """``per_task`` examples of every task, drawn without replacement by the seed."""
    shuffled = list(examples)
    random.Random(f"distill/{seed}").shuffle(shuffled)
    return first_per_task(shuffled, per_task)


async def taught(run: TrainingRun) -> list[tuple[Example, str | None]]:
    """What the teacher writes about ``distill.traces_per_task`` rows of every task; None where it cannot."""
    config = run.config
    examples = questions(run.supervised_examples, config.distill.traces_per_task, config.run.seed)
    return list(zip(examples, await run.teacher.completions(examples), strict=True))


def of_file(run: TrainingRun, path: Path) -> list[tuple[Example, str | None]]:
    """The traces of a file; None for one that is longer than the model's context.

    That the data have its rows was checked at the start. A row that was left out since, for its length, takes its traces with it.
    """
    longest = run.config.generator.max_model_len

    def fits(example: Example, completion: str) -> bool:
        return sum(map(len, training_pair(run.tokenizer, example, completion))) <= longest

    traces = read_traces(path, run.data.train, skip_unknown=True)
    return [(example, completion if fits(example, completion) else None) for example, completion in traces]


async def verified(run: TrainingRun, written: Sequence[tuple[Example, str | None]]) -> list[tuple[Example, str]]:
    """The completions that the reward workers accept, in their order."""
    asked = [(example, text) for example, text in written if text is not None]
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
            "distill/asked": float(len(written)),
            "distill/written": float(len(asked)),
            "distill/verified": float(len(kept)),
            **{name: float(count) for name, count in rejected.items()},
        }
    )
    return kept
