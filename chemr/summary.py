"""``summary.json``: what a finished run achieved, in one small file that scripts and people can compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chemr.evaluation import Evaluation
from chemr.intervals import paired_difference

if TYPE_CHECKING:
    from chemr.training_run import TrainingRun


def stage_result(run: TrainingRun, evaluation: Evaluation) -> dict[str, Any]:
    """What is remembered of a finished stage. ``by_prompt`` is for paired comparison and stays out of the summary."""
    totals = run.state.stage_totals
    result: dict[str, Any] = {
        "wall_s": totals.get("seconds", 0.0),
        "trained_samples": int(totals.get("train/samples", 0)),
        "trained_tokens": int(totals.get("train/tokens", 0)),
        "evaluation": evaluation.to_json(),
        "by_prompt": evaluation.by_prompt,
    }
    recorder = run.state.stage_state.get("summary")
    return result | (recorder or {})


def summarise(run: TrainingRun) -> dict[str, Any]:
    """The content of summary.json.

    Under each stage's name: held-out mean reward with its 95 % interval, per-task values, wall seconds, trained samples and tokens, and
    for ``grpo`` ages, overlap, rates and the ledger. ``gain.<stage>``: mean reward over the stage before, 0..1, with the paired interval
    in ``gain_interval95``. ``table``: task × stage.
    """
    run.account_time()
    config = run.config
    head = {"run": config.run.name, "seed": config.run.seed, "wall_s": run.state.seconds}
    return head | summary_of(run.state.results, config.stages)


def summary_of(results: Mapping[str, Mapping[str, Any]], stages: Sequence[str]) -> dict[str, Any]:
    """The part of :func:`summarise` that follows from the results of the finished stages alone; ``stages``: all of the run, in order."""
    done = [str(stage) for stage in stages if stage in results]
    summary: dict[str, Any] = {"stages": done}
    for stage in done:
        figures = {name: value for name, value in results[stage].items() if name not in ("by_prompt", "evaluation")}
        summary[stage] = results[stage]["evaluation"] | figures
    gains: dict[str, dict[str, Any]] = {"gain": {}, "gain_interval95": {}, "gain_greedy": {}}
    for earlier, later in pairwise(done):
        difference, low, high = paired_difference(results[later]["by_prompt"], results[earlier]["by_prompt"])
        gains["gain"][later] = difference
        gains["gain_interval95"][later] = [low, high]
        before, after = summary[earlier]["greedy_mean_reward"], summary[later]["greedy_mean_reward"]
        if before is not None and after is not None:
            gains["gain_greedy"][later] = after - before
    table: dict[str, dict[str, float]] = {}
    for stage in done:
        for task, score in summary[stage]["tasks"].items():
            table.setdefault(task, {})[stage] = score["mean"]
    for stage in done:
        table.setdefault("mean", {})[stage] = summary[stage]["mean_reward"]
    return summary | gains | {"table": table}
