"""The first step says whether engine and learner compute the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chemr.config import load
from chemr.config_checks import ConfigError
from chemr.engine_agreement import EngineDisagrees, judge_agreement
from chemr.stages.grpo_state import GrpoState


def mismatch(mean: float) -> dict[str, float]:
    return {"train/mismatch_mean": mean, "train/mismatch_p99": 3 * mean}


def test_rounding_passes_a_bf16_engine_is_worth_a_word_and_a_wrong_distribution_ends_the_run() -> None:
    assert judge_agreement(mismatch(1e-6), 0.02, 0.1) == ""
    assert judge_agreement({}, 0.02, 0.1) == "", "without behaviour log-probs nothing was measured"
    assert "0.05 nats" in judge_agreement(mismatch(0.05), 0.02, 0.1)
    with pytest.raises(EngineDisagrees, match=r"grpo\.mismatch_stop=0\.1"):
        judge_agreement(mismatch(0.3), 0.02, 0.1)


def test_only_the_first_step_of_equal_weights_is_judged() -> None:
    notes: list[str] = []
    config, _ = load(["experiment=smoke"])
    run: Any = SimpleNamespace(config=config, display=SimpleNamespace(note=notes.append))
    state: Any = SimpleNamespace(_run=run, _engine_judged=False)

    def step(age: int, mean: float) -> None:
        GrpoState.judge_engine(state, [SimpleNamespace(age=age)], mismatch(mean))  # type: ignore[list-item]

    step(age=1, mean=0.3)
    assert not notes, "older samples differ because the weights do"
    step(age=0, mean=0.05)
    assert len(notes) == 1
    step(age=0, mean=0.3)
    assert len(notes) == 1, "once is enough"


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"grpo\.mismatch_warn"):
        load(["experiment=smoke", "grpo.mismatch_warn=0.5"])
