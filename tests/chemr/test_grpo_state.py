"""The books of the GRPO stage when the learner is lost: nothing is lost, nothing is trained on twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.config import load
from chemr.graded_group import GradedGroup, grade
from chemr.stages.grpo_state import DROUGHT, HOPELESS, GrpoState, NothingTaught
from rewards.verdict import Reason, Verdict


class Prompts:
    """Stands in for the prompt source: prompts p0, p1, ... of one task."""

    def __init__(self) -> None:
        self.drawn = 0
        self.curriculum = SimpleNamespace(update=lambda *args, **kwargs: None)

    def draw(self) -> str:
        self.drawn += 1
        return f"p{self.drawn - 1}"

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    config, _ = load(["experiment=smoke", "grpo.groups_per_step=2", "grpo.off_policy_steps=1", "grpo.window_fraction=1.0"])
    fleet = SimpleNamespace(busy_seconds=lambda: 0.0)
    state = SimpleNamespace(stage="grpo", stage_step=0, stage_state={}, version=1)
    return SimpleNamespace(
        config=config, directory=SimpleNamespace(path=tmp_path), tokenizer=SimpleNamespace(decode=str), fleet=fleet, state=state
    )


def rolled_out(run: Any, uid: str, *values: float) -> GradedGroup:
    request = GroupRequest(uid, "forward", (1, 2), {}, {}, Sampling(2, 8), 0)
    meta = GroupMeta(uid, "g", (3, 3), 2, run.state.version, run.state.version, 0, (), 0.1)
    verdicts = [Verdict(value, Reason.CORRECT if value else Reason.WRONG) for value in values or (1.0, 0.0)]
    return grade(ScoredGroup(request, meta, verdicts, tokens_ref=None), run.config.grpo.algo)


def train_step(run: Any, state: GrpoState, step: int, *, freed: bool = True) -> list[str]:
    """Fills the buffer, trains one step and publishes; returns the uids trained on."""
    while (seq := state.buffer.try_acquire()) is not None:
        state.graded(seq, rolled_out(run, state.next_prompt()))
    taken = state.buffer.try_take_step(run.state.version)
    assert taken is not None
    state.trained(step, [one.item for one in taken])
    run.state.stage_step = step
    run.state.version += 1
    if freed:
        state.buffer.free(taken)
    return [one.item.uid for one in taken]


def checkpoint(run: Any, state: GrpoState) -> dict[str, Any]:
    return {"stage": "grpo", "stage_step": run.state.stage_step, "version": run.state.version, "stage_state": state.state_dict()}


def test_what_was_trained_since_the_checkpoint_is_trained_again_exactly_once(run: Any) -> None:
    state = GrpoState(run, Prompts())
    before = train_step(run, state, 1)
    kept = checkpoint(run, state)
    lost = train_step(run, state, 2) + train_step(run, state, 3, freed=False)
    assert state.can_undo(kept)
    run.state.stage_step, run.state.version = 1, run.state.version + 1
    back, again = state.undo(kept, run.state.version)
    assert (back, again) == (2, 2), "step 3 is still in the buffer, step 2 has to be asked again"
    assert state.ledger.trained == 2 and state.ledger.error == 0
    assert set(lost) <= set(state.ledger.in_flight)
    standing = [uid for step in (2, 3, 4) for uid in train_step(run, state, step)]
    assert set(lost) <= set(standing) and len(set(before + standing)) == 2 * 4, "every lost prompt is trained on once more, none twice"
    assert state.recorder.age_max <= state.buffer.max_age


def test_a_checkpoint_from_before_this_process_cannot_be_undone_to(run: Any) -> None:
    state = GrpoState(run, Prompts())
    train_step(run, state, 1)
    kept = checkpoint(run, state)
    run.state.stage_state = kept["stage_state"]
    resumed = GrpoState(run, Prompts())
    train_step(run, resumed, 2)
    assert resumed.can_undo(kept)
    assert not resumed.can_undo(kept | {"stage_step": 0}), "what step 1 trained on is not known here: the stage has to begin again"
    assert not resumed.can_undo(kept | {"stage": "distill"})


def test_the_balance_of_prompts_is_in_every_step_s_metrics(run: Any) -> None:
    state = GrpoState(run, Prompts())
    for _ in range(4):
        state.graded(state.buffer.try_acquire(), rolled_out(run, state.next_prompt()))
    taken = state.buffer.try_take_step(run.state.version)
    state.trained(1, [one.item for one in taken])
    metrics = state.recorder.step(taken, {}, {"time/step_s": 1.0, "time/train": 0.5})
    ledger = {name.rpartition("/")[2]: value for name, value in metrics.items() if name.startswith("async/ledger/")}
    assert ledger == {"submitted": 4, "trained": 2, "dropped": 0, "in_flight": 2}
    assert np.isclose(sum(ledger.values()), 2 * ledger["submitted"]), "submitted = trained + dropped + in flight"


def test_a_run_that_nothing_teaches_is_warned_of_and_then_ends(run: Any) -> None:
    notes: list[str] = []
    run.display = SimpleNamespace(note=notes.append)
    state = GrpoState(run, Prompts())
    for number in range(HOPELESS * 2):
        seq = state.buffer.try_acquire()
        assert seq is not None, "a group that teaches nothing gives its slot back"
        group = rolled_out(run, state.next_prompt(), 0.0, 0.0)
        if number < HOPELESS * 2 - 1:
            state.graded(seq, group)
    with pytest.raises(NothingTaught, match="the model may need more supervised steps"):
        state.graded(seq, group)
    assert len(notes) == HOPELESS // DROUGHT - 1, "a person was told every so often"
    assert state.ledger.dropped == {"zero_variance": HOPELESS * 2}, "and every group is in the books"
