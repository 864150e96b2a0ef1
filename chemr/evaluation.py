"""Held-out evaluation on the pool that trains: sampled at T = 1 and greedy, per task, with intervals.

Every prompt is answered ``samples`` times at temperature 1 and once greedily, with seeds that depend on the prompt alone: two models
are compared on the same prompts and the same random numbers. A reward that could not be computed is left out and counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from actors.failures import GroupDropped
from actors.fleet import RolloutFleet
from actors.trajectory import GroupRequest, Sampling
from chemr.data.example import Example
from chemr.evaluation_config import EvalConfig
from chemr.intervals import bootstrap_mean, bootstrap_stratified
from chemr.prompts import messages
from chemr.run_stopped import RunStopped
from chemr.tasks import has_one_answer
from chemr.tokenization import ChatTokenizer
from rewards.answer import extract
from rewards.verdict import Reason, Verdict


@dataclass
class TaskScore:
    """One task's held-out scores.

    Attributes:
        mean: mean reward of the sampled answers.
        solved: share of them with full credit.
        pass_at: k -> chance that one of k sampled answers has full credit (:func:`pass_at_k`), for k = 1, 2, 4, … up to their number.
        greedy, greedy_solved: mean reward and share with full credit of the greedy answers.
        failures: answers whose reward could not be computed.
        verbatim: share of the sampled answers that repeat the reference to the letter, a rule that owes the scorers nothing; None where
            texts were not asked for, or the task has more than one right answer.
    """

    prompts: int
    mean: float
    interval: tuple[float, float]
    solved: float
    greedy: float | None
    failures: int
    reasons: dict[str, int] = field(default_factory=dict)
    pass_at: dict[int, float] = field(default_factory=dict)
    greedy_solved: float | None = None
    verbatim: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts,
            "mean": self.mean,
            "interval95": list(self.interval),
            "solved": self.solved,
            "pass_at": {str(k): value for k, value in self.pass_at.items()},
            "greedy": self.greedy,
            "greedy_solved": self.greedy_solved,
            "failures": self.failures,
            "reasons": self.reasons,
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back for one prompt; ``verdicts`` is empty when the group was given up after its tries."""

    example: Example
    kind: str  # "sampled" or "greedy"
    texts: Sequence[str]  # empty unless asked for
    verdicts: Sequence[Verdict]
    tokens: int = 0  # generated


@dataclass
class Evaluation:
    """Scores of one model version. ``by_prompt``: task -> example uid -> mean reward of its sampled answers (for paired comparison).

    ``mean`` is the unweighted mean over tasks, so that a task's number of prompts does not weigh it. ``answers`` is empty unless the
    texts were asked for.
    """

    version: int
    tasks: dict[str, TaskScore]
    mean: float
    interval: tuple[float, float]
    greedy: float | None
    by_prompt: dict[str, dict[str, float]]
    seconds: float
    tokens: int
    answers: Sequence[Answered] = ()

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
        record |= {f"eval/{suite}/{task}/verbatim": score.verbatim for task, score in self.tasks.items() if score.verbatim is not None}
        record[f"eval/{suite}/mean"] = self.mean
        if self.greedy is not None:
            record[f"eval/{suite}/greedy"] = self.greedy
        return record


class NothingEvaluated(RunStopped):
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


def verbatim(text: str, example: Example) -> bool:
    """Whether the text's answer is the reference answer to the letter."""
    answer = extract(text)
    return not isinstance(answer, Verdict) and answer.text == example.reference.get("answer")


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` answers drawn from ``samples`` without replacement is among the ``correct`` ones.

    The unbiased estimator 1 − C(n−c, k) / C(n, k) of Chen et al. 2021 (Evaluating Large Language Models Trained on Code), equation 1.
    """
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


async def evaluate(
    fleet: RolloutFleet,
    examples: Sequence[Example],
    tokenizer: ChatTokenizer,
    config: EvalConfig,
    version: int,
    *,
    unasked: Sequence[Example] = (),
    want_texts: bool = False,
    on_answer: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Answer, score and aggregate ``examples`` with the fleet's current weights.

    Args:
        unasked: examples that cannot be asked (their prompt is too long for the model): they count as unanswered, with reward 0.
        want_texts: keep every answer in ``Evaluation.answers``.
        on_answer: called with (groups back, groups asked) after every group.

    Raises:
        NothingEvaluated: a task has no computable reward at all.
    """
    started = asyncio.get_running_loop().time()
    gate = asyncio.Semaphore(config.concurrency)
    sampled = Sampling(config.samples, config.max_new_tokens, temperature=1.0, end_ids=tokenizer.end_ids)
    greedy = Sampling(1, config.max_new_tokens, temperature=0.0, end_ids=tokenizer.end_ids)

    back = 0

    async def ask(example: Example, kind: str, sampling: Sampling) -> Answered:
        async with gate:
            request = prompt_request(example, tokenizer, f"eval/{kind}/{example.uid}", sampling, config.seed)
            try:
                group = await fleet.run_group(request, want_texts=want_texts, whole=True)
            except GroupDropped:
                group = None
        nonlocal back
        back += 1
        if on_answer is not None:
            on_answer(back, len(questions))
        return Answered(example, kind, group.texts, group.verdicts, sum(group.meta.lengths)) if group else Answered(example, kind, [], [])

    kinds = [("sampled", sampled)] + ([("greedy", greedy)] if config.greedy else [])
    questions = [ask(example, kind, sampling) for kind, sampling in kinds for example in examples]
    answers = await asyncio.gather(*questions)
    answers += [
        Answered(example, kind, [""] * sampling.samples, [Verdict(0.0, Reason.NO_ANSWER)] * sampling.samples)
        for kind, sampling in kinds
        for example in unasked
    ]
    evaluation = _aggregate(answers, config, version, asyncio.get_running_loop().time() - started)
    if want_texts:
        evaluation.answers = answers
    return evaluation


def _aggregate(answers: Sequence[Answered], config: EvalConfig, version: int, seconds: float) -> Evaluation:
    by_prompt: dict[str, dict[str, float]] = {}
    greedy_values: dict[str, list[float]] = {}
    sampled_values: dict[str, list[float]] = {}
    reasons: dict[str, dict[str, int]] = {}
    failures: dict[str, int] = {}
    right: dict[str, list[tuple[int, int]]] = {}  # task -> (answers scored, answers with full credit) of every prompt
    repeated: dict[str, list[bool]] = {}  # task -> of every sampled answer whose text came back: is it the reference to the letter?
    tokens = 0
    for answered in answers:
        task = answered.example.task
        failures.setdefault(task, 0)
        if not answered.verdicts:
            failures[task] += 1 if answered.kind == "greedy" else config.samples
            continue
        tokens += answered.tokens
        values = [verdict.value for verdict in answered.verdicts if verdict.value is not None]
        failures[task] += len(answered.verdicts) - len(values)
        if answered.kind == "greedy":
            greedy_values.setdefault(task, []).extend(values)
            continue
        repeated.setdefault(task, []).extend(verbatim(text, answered.example) for text in answered.texts if has_one_answer(task))
        counts = reasons.setdefault(task, {})
        for verdict in answered.verdicts:
            counts[str(verdict.reason)] = counts.get(str(verdict.reason), 0) + 1
        if values:
            by_prompt.setdefault(task, {})[answered.example.uid] = fmean(values)
            sampled_values.setdefault(task, []).extend(values)
            right.setdefault(task, []).append((len(values), sum(value >= 1.0 for value in values)))
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
            pass_at=_pass_at(right[task]),
            greedy_solved=fmean(float(value >= 1.0) for value in greedy_values[task]) if greedy_values.get(task) else None,
            verbatim=fmean(repeated[task]) if repeated.get(task) else None,
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


def _pass_at(right: Sequence[tuple[int, int]]) -> dict[int, float]:
    """pass@k averaged over prompts, for k = 1, 2, 4, … as far as every prompt has k scored answers."""
    fewest = min(scored for scored, _ in right)
    return {
        k: fmean(pass_at_k(scored, correct, k) for scored, correct in right)
        for k in (2**power for power in range(fewest.bit_length()))
        if k <= fewest
    }
