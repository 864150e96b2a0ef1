"""Held-out evaluation on the pool that trains: sampled at T = 1 and greedy, per task, with intervals.

Every prompt is answered ``samples`` times at temperature 1 and once greedily, with seeds that depend on the prompt alone: two models
are compared on the same prompts and the same random numbers. A reward that could not be computed is left out and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from actors.failures import GroupDropped
from actors.fleet import RolloutFleet
from actors.trajectory import GroupRequest, Sampling, ScoredGroup
from chemr.data.example import Example
from chemr.evaluation_config import EvalConfig
from chemr.intervals import bootstrap_mean, bootstrap_stratified
from chemr.prompts import messages
from chemr.tokenization import ChatTokenizer


@dataclass
class TaskScore:
    """One task's held-out scores. ``mean``: mean reward of the sampled answers; ``solved``: share with full credit."""

    prompts: int
    mean: float
    interval: tuple[float, float]
    solved: float
    greedy: float | None
    failures: int
    reasons: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts,
            "mean": self.mean,
            "interval95": list(self.interval),
            "solved": self.solved,
            "greedy": self.greedy,
            "failures": self.failures,
            "reasons": self.reasons,
        }


@dataclass
class Evaluation:
    """Scores of one model version. ``by_prompt``: task -> example uid -> mean reward of its sampled answers (for paired comparison).

    ``mean`` is the unweighted mean over tasks, so that a task's number of prompts does not weigh it.
    """

    version: int
    tasks: dict[str, TaskScore]
    mean: float
    interval: tuple[float, float]
    greedy: float | None
    by_prompt: dict[str, dict[str, float]]
    seconds: float
    tokens: int

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "mean_reward": self.mean,
            "interval95": list(self.interval),
            "greedy_mean_reward": self.greedy,
            "seconds": self.seconds,
            "generated_tokens": self.tokens,
            "tasks": {task: score.to_json() for task, score in self.tasks.items()},
        }

    def metrics(self, suite: str) -> dict[str, float]:
        record = {f"eval/{suite}/{task}": score.mean for task, score in self.tasks.items()}
        record[f"eval/{suite}/mean"] = self.mean
        if self.greedy is not None:
            record[f"eval/{suite}/greedy"] = self.greedy
        return record


class NothingEvaluated(RuntimeError):
    """Every reward of a task failed, so there is no score to report."""


def first_per_task(examples: Sequence[Example], per_task: int) -> list[Example]:
    """The first ``per_task`` examples of every task, in file order (0 = all)."""
    kept: list[Example] = []
    seen: dict[str, int] = {}
    for example in examples:
        seen[example.task] = seen.get(example.task, 0) + 1
        if per_task == 0 or seen[example.task] <= per_task:
            kept.append(example)
    return kept


def prompt_request(example: Example, tokenizer: ChatTokenizer, uid: str, sampling: Sampling, seed: int) -> GroupRequest:
    """The rollout request of one example."""
    prompt_ids = tuple(tokenizer.encode_prompt(messages(example)))
    return GroupRequest(uid, example.task, prompt_ids, example.inputs, example.reference, sampling, seed)


async def evaluate(
    fleet: RolloutFleet, examples: Sequence[Example], tokenizer: ChatTokenizer, config: EvalConfig, version: int
) -> Evaluation:
    """Answer, score and aggregate ``examples`` with the fleet's current weights.

    Raises:
        NothingEvaluated: a task has no computable reward at all.
    """
    started = asyncio.get_running_loop().time()
    gate = asyncio.Semaphore(config.concurrency)
    sampled = Sampling(config.samples, config.max_new_tokens, temperature=1.0)
    greedy = Sampling(1, config.max_new_tokens, temperature=0.0)

    async def ask(example: Example, kind: str, sampling: Sampling) -> tuple[Example, str, ScoredGroup | None]:
        async with gate:
            request = prompt_request(example, tokenizer, f"eval/{kind}/{example.uid}", sampling, config.seed)
            try:
                return example, kind, await fleet.run_group(request)
            except GroupDropped:
                return example, kind, None

    questions = [ask(example, "sampled", sampled) for example in examples]
    if config.greedy:
        questions += [ask(example, "greedy", greedy) for example in examples]
    answers = await asyncio.gather(*questions)
    seconds = asyncio.get_running_loop().time() - started
    return _aggregate(answers, config, version, seconds)


def _aggregate(answers: Sequence[tuple[Example, str, ScoredGroup | None]], config: EvalConfig, version: int, seconds: float) -> Evaluation:
    by_prompt: dict[str, dict[str, float]] = {}
    greedy_values: dict[str, list[float]] = {}
    sampled_values: dict[str, list[float]] = {}
    reasons: dict[str, dict[str, int]] = {}
    failures: dict[str, int] = {}
    tokens = 0
    for example, kind, group in answers:
        task = example.task
        failures.setdefault(task, 0)
        if group is None:
            failures[task] += 1 if kind == "greedy" else config.samples
            continue
        tokens += sum(group.meta.lengths)
        values = [verdict.value for verdict in group.verdicts if verdict.value is not None]
        failures[task] += len(group.verdicts) - len(values)
        if kind == "greedy":
            greedy_values.setdefault(task, []).extend(values)
            continue
        counts = reasons.setdefault(task, {})
        for verdict in group.verdicts:
            counts[str(verdict.reason)] = counts.get(str(verdict.reason), 0) + 1
        if values:
            by_prompt.setdefault(task, {})[example.uid] = fmean(values)
            sampled_values.setdefault(task, []).extend(values)
    unscored = sorted(set(failures) - set(by_prompt))
    if unscored:
        raise NothingEvaluated(f"no reward could be computed for {', '.join(unscored)}; see reward/*/reason/* for why")
    prompt_means = {task: list(means.values()) for task, means in sorted(by_prompt.items())}
    tasks = {
        task: TaskScore(
            prompts=len(means),
            mean=fmean(means),
            interval=bootstrap_mean(np.array(means)),
            solved=fmean(float(value >= 1.0) for value in sampled_values[task]),
            greedy=fmean(greedy_values[task]) if greedy_values.get(task) else None,
            failures=failures[task],
            reasons=dict(sorted(reasons[task].items())),
        )
        for task, means in prompt_means.items()
    }
    greedy_means = [score.greedy for score in tasks.values() if score.greedy is not None]
    return Evaluation(
        version=version,
        tasks=tasks,
        mean=fmean(score.mean for score in tasks.values()),
        interval=bootstrap_stratified([np.array(means) for means in prompt_means.values()]),
        greedy=fmean(greedy_means) if greedy_means else None,
        by_prompt=by_prompt,
        seconds=seconds,
        tokens=tokens,
    )
