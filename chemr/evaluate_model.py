"""`chemr eval`: a model folder's held-out scores, on a pool without learners."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from actors.pool import ActorPool
from chemr.config import ChemrConfig, ConfigError, pool_config
from chemr.data.loading import load_data
from chemr.display import Display
from chemr.evaluation import Evaluation, evaluate, first_per_task
from chemr.supervision import run_until_done
from chemr.tokenization import ChatTokenizer


async def evaluate_model(config: ChemrConfig, model: Path, json_file: Path | None) -> Evaluation:
    """Evaluate the model in ``model`` on the test split, print the table and write the figures to ``json_file``.

    Raises:
        ConfigError: ``model`` is not a model folder.
    """
    if not (model / "config.json").is_file():
        raise ConfigError(
            f"--model {model} is not a Hugging Face model folder: it has no config.json (a finished run has one at runs/NAME/model)"
        )
    tokenizer = ChatTokenizer.load(model)
    data = load_data(config)
    examples = first_per_task(data.test, config.eval.test_prompts_per_task)
    results: list[Evaluation] = []
    with tempfile.TemporaryDirectory(prefix="chemr-eval-") as scratch:
        pool = ActorPool(pool_config(config, model, Path(scratch), with_learners=False))

        async def ask() -> None:
            results.append(await evaluate(pool.fleet, examples, tokenizer, config.eval, version=0))

        try:
            await pool.start(model.resolve())
            await run_until_done(ask(), fleet=pool.fleet.supervise())
        finally:
            await pool.close()
    evaluation = results[0]
    display = Display.create()
    display.final_table({task: {"T = 1": score.mean} for task, score in evaluation.tasks.items()} | {"mean": {"T = 1": evaluation.mean}})
    display.note(f"mean reward {evaluation.mean:.3f}, 95 % interval {evaluation.interval[0]:.3f} to {evaluation.interval[1]:.3f}")
    display.close()
    if json_file is not None:
        json_file.write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")
    return evaluation
