"""``chemr eval`` and ``score``: a model's own answers, and anybody's predictions."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides, completes
from chemr.completion.words import Words, either, folders, paths, suite_names, task_names
from chemr.configured_command import with_config
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

EVAL_EXAMPLES = (
    "chemr eval model=runs/mine/model                                        # on the starter's held-out rows",
    "chemr eval model=PATH suite=chemllmbench data.dir=DATA --json eval.json # on a published benchmark",
    "chemr eval model=PATH suite=uspto 'eval.tasks=[retro]' data.dir=DATA --parquet answers.parquet",
)
SCORE_EXAMPLES = (
    "chemr score task=retro predictions=answers.csv",
    "chemr score task=forward predictions=sample1.csv,sample2.csv data=uspto hardened=false --json scores.json",
)
_YES_NO = either("true", "false")
SCORE_NAMES: dict[str, Words] = {  # chemr.score_predictions.ScoreOptions, which takes scorers to import
    "task": lambda prefix, **_: task_names(),
    "predictions": paths,
    "data": lambda prefix, **_: [*suite_names(), *paths(prefix)],
    "data_dir": folders,
    "row": either("none", "row"),
    "prediction": either("prediction"),
    "rows": either("all", "given"),
    "answer": either("whole", "tagged"),
    "wordnet": folders,
    "scibert": folders,
    "novelty": paths,
    "fcd": _YES_NO,
    "hardened": _YES_NO,
    "workers": either(),
    "deadline": either(),
}


def add_eval(commands: Any) -> None:
    parser = add_command(
        commands,
        "eval",
        "score a model folder on the starter's held-out rows, or on a published suite (suite=NAME)",
        description="Let a model answer held-out questions and score it: mean reward with its interval, pass@k, published figures.",
        examples=EVAL_EXAMPLES,
        run=_eval,
    )
    own = {"model": folders, "suite": lambda prefix, **_: ["starter", *suite_names()]}
    add_overrides(parser, "model=FOLDER, suite=NAME (that is eval.suite), and Hydra overrides", own=own)
    add_cfg(parser)
    add_config_dir(parser)
    model = parser.add_argument("--model", type=Path, metavar="FOLDER", help="a Hugging Face model folder, e.g. runs/starter/model")
    completes(model, folders)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write every answer, its reward and the reason to this file")


def add_score(commands: Any) -> None:
    parser = add_command(
        commands,
        "score",
        "score a file of predictions by the benchmark's published rules and by the hardened scorers",
        examples=SCORE_EXAMPLES,
        run=_score,
    )
    add_overrides(parser, "task=T predictions=FILE [data=FILE or suite] …; all of them: docs/benchmarks.md", schemas={}, own=SCORE_NAMES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and a reason for every row, to this file")


def _eval(options: argparse.Namespace) -> int:
    """``model=PATH`` is ``--model PATH`` and ``suite=NAME`` is ``eval.suite=NAME``: what is evaluated is no setting of a run."""
    others = []
    for override in options.overrides:
        name, _, value = override.partition("=")
        if name == "model":
            options.model = Path(value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value)
        else:
            others.append(f"eval.{override}" if name == "suite" else override)
    options.overrides = others

    def evaluate(config: ChemrConfig, _: str) -> int:
        if options.model is None:
            raise UsageError("a model folder is missing: model=runs/NAME/model")
        from chemr.evaluate_model import evaluate_model

        asyncio.run(evaluate_model(config, options.model, options.json, options.parquet))
        return EXIT_OK

    return with_config(options, evaluate, own_policy=False)


def _score(options: argparse.Namespace) -> int:
    from chemr.score_predictions import ScoreInputError, score_predictions

    try:
        score_predictions(options.overrides, options.json)
    except ScoreInputError as error:
        print(f"chemr score: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("chemr score: interrupted", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK
