"""Phase 1, Chemical Foundation Training: supervised training on non-reasoning pairs (CHEM-R.md, phase 1).

The model learns the languages of chemistry (SMILES, formulas, names, reactions) from question and answer alone, no reasoning between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chemr.config import Stage
from chemr.documents import training_pair
from chemr.prompts import completion_direct
from chemr.stages.supervised import train_supervised

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


async def foundation(run: TrainingRun) -> None:
    config = run.config.foundation
    pairs = [training_pair(run.tokenizer, example, completion_direct(example)) for example in run.supervised_examples]
    await run.begin_stage(Stage.foundation, config.optim, config.steps, config.learner_threads)
    await train_supervised(run, Stage.foundation, config, pairs)
