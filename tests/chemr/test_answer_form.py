"""A pretrained policy that does not know the form of an answer is found out before GRPO's first step."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.config import PolicyConfig
from chemr.evaluation import Evaluation, TaskScore
from chemr.stages.answer_form import NoAnswerForm, check_answer_form, judge_form


def evaluated(*tasks: dict[str, int]) -> Evaluation:
    scores = {
        f"task{number}": TaskScore(
            prompts=1, mean=0.0, interval=(0.0, 0.0), solved=0.0, greedy=None, failures=0, reasons=reasons, pass_at={}, greedy_solved=None
        )
        for number, reasons in enumerate(tasks)
    }
    return Evaluation(0, scores, 0.0, (0.0, 0.0), None, {}, 0.0, 0)


def run_of(policy: PolicyConfig, evaluation: Evaluation, stop: float = 0.9, step: int = 0) -> tuple[Any, list[str]]:
    said: list[str] = []

    async def validate() -> Evaluation:
        said.append("asked")
        return evaluation

    return SimpleNamespace(
        config=SimpleNamespace(grpo=SimpleNamespace(formless_stop=stop), policy=policy),
        state=SimpleNamespace(stage_step=step),
        display=SimpleNamespace(note=said.append),
        validate=validate,
    ), said


def test_a_policy_without_the_form_is_not_trained_and_the_message_says_what_to_do() -> None:
    with pytest.raises(NoAnswerForm) as stopped:
        judge_form(evaluated({"no_answer": 90, "wrong": 4}, {"bad_format": 6}), 0.9)
    said = str(stopped.value)
    assert "96% of 100 answers" in said and "bad_format 6%, no_answer 90%" in said, "the share by reason"
    assert "grpo.formless_stop" in said and "distill" in said and "\n" not in said


@pytest.mark.parametrize("reasons", [{"no_answer": 90, "ok": 10}, {"ok": 3}, {"wrong": 3}, {"too_long": 5}, {}])
def test_others_go_on_and_are_noted(reasons: dict[str, int]) -> None:
    assert "answers lack the form" in judge_form(evaluated(reasons), 0.9)


def test_only_a_pretrained_policy_at_step_0_is_asked(tmp_path: Path) -> None:
    hopeless = evaluated({"no_answer": 5})
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 128}))
    for policy, stop, step in (
        (PolicyConfig(), 0.9, 0),  # from scratch
        (PolicyConfig(path=str(tmp_path)), 0.9, 0),  # a small one that such a run has made
        (PolicyConfig(path="/models/large"), 0.9, 3),  # continued
        (PolicyConfig(path="/models/large"), 1.0, 0),  # switched off
    ):
        run, said = run_of(policy, hopeless, stop, step)
        asyncio.run(check_answer_form(run))
        assert said == []
    run, said = run_of(PolicyConfig(path="/models/large"), evaluated({"ok": 5}))
    asyncio.run(check_answer_form(run))
    assert said[0] == "asked" and "0% of 5 answers" in said[1]
    with pytest.raises(NoAnswerForm):
        asyncio.run(check_answer_form(run_of(PolicyConfig(path="/models/large"), hopeless)[0]))
