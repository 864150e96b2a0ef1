"""GRPO's loops while generators' nodes die with finished groups: the same prompts are trained on, once each, within the age bound."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from actors.failures import GroupsLost
from chemr.graded_group import GradedGroup
from chemr.stages.grpo_state import GrpoState
from tests.chemr import test_shaped_stage
from tests.chemr.test_shaped_stage import Learners, stage

STEPS = 10


class Unlucky(Learners):
    """Every so often it finds tokens of a step gone; never more than twice in a row, so that no group uses up its tries."""

    losses: random.Random | None = None  # None: nothing is ever lost

    def __init__(self) -> None:
        super().__init__()
        self._in_a_row = 0

    async def grpo_step(self, groups: Any, algo: Any) -> dict[str, float]:
        if self.losses is not None and self._in_a_row < 2 and self.losses.random() < 0.4:
            self._in_a_row += 1
            raise GroupsLost(sorted(self.losses.sample(range(len(groups)), self.losses.choice([1, len(groups)]))))
        self._in_a_row = 0
        return await super().grpo_step(groups, algo)


async def trained_on(path: Path, monkeypatch: pytest.MonkeyPatch, off_policy_steps: int, losses: random.Random | None) -> Any:
    """The uids of every step, in order, and the state of the stage's end."""
    steps: list[list[str]] = []
    settle = GrpoState.trained

    def trained(state: GrpoState, step: int, groups: list[GradedGroup]) -> None:
        settle(state, step, groups)
        steps.append([group.uid for group in groups])

    monkeypatch.setattr(Unlucky, "losses", losses)
    monkeypatch.setattr(test_shaped_stage, "Learners", Unlucky)
    monkeypatch.setattr(GrpoState, "trained", trained)
    path.mkdir()
    run, state, _, _, told, source = await stage(
        path, f"grpo.steps={STEPS}", f"grpo.off_policy_steps={off_policy_steps}", "grpo.checkpoint_every=2"
    )
    return steps, run, state, told, source


@pytest.mark.parametrize("off_policy_steps", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
async def test_every_prompt_is_trained_on_once_however_often_its_tokens_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_policy_steps: int, seed: int
) -> None:
    steps, run, state, told, source = await trained_on(tmp_path / "lossy", monkeypatch, off_policy_steps, random.Random(seed))
    flat = [uid for step in steps for uid in step]
    assert len(steps) == STEPS and len(set(flat)) == len(flat) == 3 * STEPS
    ledger = run.state.stage_state["ledger"]
    assert ledger["submitted"] == ledger["trained"] + sum(ledger["dropped"].values()) and not ledger["in_flight"]
    assert set(ledger["dropped"]) <= {"stage_end"}
    assert state.recorder.age_max <= state.buffer.max_age
    asked_again = sum(record.get("async/asked_again", 0.0) for record in told.records)
    assert asked_again == state.ledger.losses > 0, "and it is counted"
    assert run.directory.checkpoints.newest()[0] is not None, "checkpoints were written meanwhile"
    assert len(source.successes) <= ledger["submitted"], "the samplers hear of each once"


async def test_at_s0_a_run_that_loses_groups_trains_on_the_same_steps_as_one_that_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses = (await trained_on(tmp_path / "lossy", monkeypatch, 0, random.Random(5)))[0]
    monkeypatch.undo()
    assert with_losses == (await trained_on(tmp_path / "well", monkeypatch, 0, None))[0]
