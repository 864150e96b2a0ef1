"""The books of the GRPO stage when the learner is lost: nothing is lost, nothing is trained on twice."""

from __future__ import annotations

import functools
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.failures import GroupsLost
from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.config import ChemrConfig, ConfigError, load
from chemr.curriculum.config import AlertsConfig, CurriculumConfig, PromptSampling, PromptsConfig, UnlockRule, Weighting
from chemr.curriculum.outcome import Notice, Outcome
from chemr.data.example import Example
from chemr.graded_group import GradedGroup, grade
from chemr.prompt_source import PromptSource
from chemr.stages.barren_groups import DROUGHT, NothingTaught, bound
from chemr.stages.grpo_state import GrpoState
from rewards.verdict import Reason, Verdict


class Prompts:
    """Stands in for the prompt source: prompts p0, p1, ... of one task."""

    def __init__(self) -> None:
        self.drawn = 0
        self.told: list[tuple[str, int]] = []  # submissions and ages

    def draw(self) -> str:
        self.drawn += 1
        return f"p{self.drawn - 1}"

    def learn(self, outcomes: Sequence[Outcome], version: int) -> list[Notice]:
        self.told += [(outcome.uid, version - outcome.oldest_version) for outcome in outcomes]
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]


@functools.cache
def smoke(*overrides: str) -> ChemrConfig:
    return load(["experiment=smoke", *overrides])[0]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    config = smoke("grpo.groups_per_step=2", "grpo.off_policy_steps=1", "grpo.window_fraction=1.0")
    fleet = SimpleNamespace(busy_seconds=lambda: 0.0, stats=dict)
    state = SimpleNamespace(stage="grpo", stage_step=0, stage_state={}, version=1)
    notes: list[str] = []
    return SimpleNamespace(
        config=config,
        directory=SimpleNamespace(path=tmp_path),
        tokenizer=SimpleNamespace(decode=str),
        fleet=fleet,
        state=state,
        display=SimpleNamespace(notes=notes, note=notes.append),
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


def lose(run: Any, state: GrpoState, *indices: int) -> list[str]:
    """A step is taken and the tokens of these groups turn out to be gone; returns its uids."""
    taken = state.buffer.try_take_step(run.state.version)
    assert taken is not None
    state.lost(taken, GroupsLost(indices))
    return [one.item.uid for one in taken]


def ask_all(run: Any, state: GrpoState) -> list[str]:
    """Every free slot gets a group; returns the uids that were asked."""
    asked = []
    while (seq := state.buffer.try_acquire()) is not None:
        asked.append(state.next_prompt())
        state.graded(seq, rolled_out(run, asked[-1]))
    return asked


def test_a_group_whose_tokens_are_gone_is_asked_again_under_its_name_and_trained_on_once(run: Any) -> None:
    source = Prompts()
    state = GrpoState(run, source)
    ask_all(run, state)
    step = lose(run, state, 1)
    assert state.ledger.in_flight == ("p0#0", "p1#1", "p2#2", "p3#3") and state.ledger.error == 0
    assert state.groups_in_flight() == 0, "a drain does not wait for what nobody makes"
    assert ask_all(run, state) == [step[1]], "the lost one, and no new prompt"
    standing = [uid for number in (1, 2) for uid in train_step(run, state, number)]
    assert standing[:2] == step and len(set(standing)) == 4
    assert [uid for uid, _ in source.told].count(step[1]) == 1, "the samplers hear of it once"
    record = state.recorder._drops()
    assert record["async/asked_again"] == 1.0 and "1 are asked again" in run.display.notes[-1]


def test_the_samplers_hear_once_of_a_group_that_is_lost_after_they_did(run: Any) -> None:
    source = Prompts()
    state = GrpoState(run, source)
    train_step(run, state, 1)  # they hear of the whole buffer
    step = lose(run, state, 0, 1)
    assert ask_all(run, state)[:2] == step
    train_step(run, state, 2)
    assert max(Counter(uid for uid, _ in source.told).values()) == 1


def test_a_group_that_is_lost_as_often_as_a_machine_may_fail_is_dropped_with_that_reason(run: Any) -> None:
    state = GrpoState(run, Prompts())
    ask_all(run, state)
    for _ in range(4):
        lose(run, state, 0)
        assert ask_all(run, state) == ["p0#0"]
    lose(run, state, 0)
    assert state.ledger.dropped == {"infrastructure": 1} and state.ledger.error == 0
    assert "p0#0" not in ask_all(run, state)
    assert train_step(run, state, 1) == ["p1#1", "p2#2"]


def test_a_checkpoint_while_tokens_are_lost_asks_for_them_after_a_resume(run: Any) -> None:
    state = GrpoState(run, Prompts())
    train_step(run, state, 1)
    ask_all(run, state)
    lost = lose(run, state, 0)[0]
    kept = json.loads(json.dumps(checkpoint(run, state)))
    assert lost in kept["stage_state"]["ledger"]["in_flight"]
    run.state.stage_state = kept["stage_state"]
    resumed = GrpoState(run, Prompts())
    assert resumed.next_prompt() == lost and resumed.ledger.error == 0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_the_books_balance_and_every_prompt_is_trained_on_at_most_once(run: Any, seed: int) -> None:
    """Random histories: tokens lost, learners lost, groups that teach nothing."""
    rng = random.Random(seed)
    state = GrpoState(run, Prompts())
    kept = checkpoint(run, state)
    standing: list[list[str]] = []  # by step
    while len(standing) < 12:
        while (seq := state.buffer.try_acquire()) is not None:
            values = (1.0, 0.0) if rng.random() < 0.8 else (1.0, 1.0)
            state.graded(seq, rolled_out(run, state.next_prompt(), *values))
        chance = rng.random()
        if chance < 0.3:
            lose(run, state, *sorted(rng.sample(range(2), rng.choice([1, 2]))))
        elif chance < 0.4 and state.can_undo(kept):
            run.state.stage_step, run.state.version = kept["stage_step"], run.state.version + 1
            standing = standing[: kept["stage_step"]]
            state.undo(kept, run.state.version)
        else:
            standing.append(train_step(run, state, len(standing) + 1))
            if rng.random() < 0.4:
                kept = checkpoint(run, state)
        assert state.ledger.error == 0
        flat = [uid for step in standing for uid in step]
        assert len(set(flat)) == len(flat) == state.ledger.trained
        assert not set(flat) & set(state.ledger.in_flight)
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


def barren(run: Any, state: GrpoState, *values: float) -> None:
    seq = state.buffer.try_acquire()
    assert seq is not None, "a group that teaches nothing gives its slot back"
    state.graded(seq, rolled_out(run, state.next_prompt(), *values))


def test_a_run_that_nothing_teaches_is_warned_of_and_then_ends(run: Any) -> None:
    notes: list[str] = []
    run.display = SimpleNamespace(note=notes.append)
    state = GrpoState(run, Prompts())
    limit = bound(None, groups_per_step=2)
    for _ in range(limit - 1):
        barren(run, state, 0.0, 0.0)
    with pytest.raises(NothingTaught) as caught:
        barren(run, state, 0.0, 0.0)
    assert len(notes) == limit // (2 * DROUGHT) - 1, "a person was told every so often"
    assert f"max_barren_groups={limit}" in notes[0] and "forward: 40 groups, mean reward 0.000; wrong 100 %" in notes[0], notes[0]
    assert state.ledger.dropped == {"zero_variance": limit}, "and every group is in the books"
    said = str(caught.value)
    assert f"forward: {limit} groups, mean reward 0.000; wrong 100 %" in said, said
    for remedy in ("more supervised steps", "grpo.samples_per_group", "run.resume=auto", "grpo.max_barren_groups"):
        assert remedy in said, f"a person has to know of {remedy}: {said}"
    assert "solved" not in said


def test_the_bound_is_generous_unless_it_is_set(run: Any) -> None:
    assert (bound(None, 4), bound(None, 16), bound(0, 16), bound(7, 16)) == (2000, 3200, 0, 7)
    with pytest.raises(ConfigError, match=r"grpo\.max_barren_groups=-1 is negative"):
        smoke("grpo.max_barren_groups=-1")
    run.config = smoke("grpo.groups_per_step=2", "grpo.max_barren_groups=0")
    notes: list[str] = []
    run.display = SimpleNamespace(note=notes.append)
    state = GrpoState(run, Prompts())
    for _ in range(3000):
        barren(run, state, 1.0, 1.0)
    assert len(state.barren) == 3000 and "it goes on" in notes[-1]


def test_barren_groups_are_counted_from_step_to_step_and_over_a_resume(run: Any) -> None:
    run.config = smoke("grpo.groups_per_step=2", "grpo.off_policy_steps=1", "grpo.window_fraction=1.0", "grpo.max_barren_groups=10")
    run.display = SimpleNamespace(note=lambda note: None)
    state = GrpoState(run, Prompts())
    for _ in range(9):
        barren(run, state, 1.0, 1.0)
    train_step(run, state, 1)
    assert len(state.barren) == 0, "a step was trained: the run learns"
    for _ in range(6):
        barren(run, state, 1.0, 1.0)
    run.state.stage_state = json.loads(json.dumps(state.state_dict()))
    resumed = GrpoState(run, Prompts())
    for _ in range(3):
        barren(run, resumed, 1.0, 1.0)
    with pytest.raises(
        NothingTaught, match=r"forward: 10 groups, mean reward 1\.000; correct 100 %\nsolved, so nothing is left to learn: forward"
    ):
        barren(run, resumed, 1.0, 1.0)
    del run.state.stage_state["barren"]
    assert len(GrpoState(run, Prompts()).barren) == 0, "a checkpoint of before goes on, too"


# samplers that learn

TASKS = ("forward", "retro", "property_hiv")
CURRICULA = {
    "defaults": CurriculumConfig(),
    "bounded": CurriculumConfig(weighting=Weighting.variance, floors={"retro": 0.2}, caps={"forward": 0.5}),
    "unlocking": CurriculumConfig(unlock={"retro": UnlockRule(["forward"], success=0.3, plateau=12)}, alerts=AlertsConfig(window=20)),
    "replay": CurriculumConfig(prompts=PromptsConfig(PromptSampling.replay, epsilon=0.6, buffer=3)),
    "gaussian": CurriculumConfig(prompts=PromptsConfig(PromptSampling.gaussian, epsilon=0.5)),
}


def learning_source(curriculum: CurriculumConfig) -> PromptSource:
    rows = [
        Example(f"test/{task}/{n}", task, {"smiles": "C"}, {"answer": "Yes" if n % 4 == 0 else "No"}, 0.0, "test", "MIT")
        for task in TASKS
        for n in range(12)
    ]
    return PromptSource(rows, SimpleNamespace(), curriculum, Sampling(4, 8), seed=5)


def answered(run: Any, uid: str) -> GradedGroup:
    """What comes back for a submission depends on its name alone; about a third of the groups teaches nothing."""
    task = uid.split("/")[1]
    luck = random.Random(uid)
    request = GroupRequest(uid, task, (1, 2), {}, {}, Sampling(4, 8), 0)
    meta = GroupMeta(uid, "g", (3,) * 4, 2, run.state.version, run.state.version, 0, (), 0.1)
    right = [luck.random() < {"forward": 0.6, "retro": 0.2, "property_hiv": 0.5}[task] for _ in range(4)]
    verdicts = [Verdict(1.0, Reason.CORRECT) if one else Verdict(0.0, Reason.WRONG) for one in right]
    return grade(ScoredGroup(request, meta, verdicts, tokens_ref=None), run.config.grpo.algo)


def fill(run: Any, state: GrpoState, at_most: int = 1000) -> None:
    for _ in range(at_most):
        if (seq := state.buffer.try_acquire()) is None:
            return
        state.graded(seq, answered(run, state.next_prompt()))


def synchronous_steps(run: Any, state: GrpoState, first: int, last: int) -> list[dict[str, float]]:
    """The samplers' metrics after each step."""
    metrics = []
    for step in range(first, last + 1):
        fill(run, state)
        taken = state.buffer.try_take_step(run.state.version)
        assert taken is not None
        state.trained(step, [one.item for one in taken])
        run.state.stage_step, run.state.version = step, run.state.version + 1
        state.buffer.free(taken)
        metrics.append(state.source.metrics())
    return metrics


@pytest.fixture
def synchronous_run(run: Any) -> Any:
    run.config = smoke("grpo.groups_per_step=4", "grpo.off_policy_steps=0")
    run.notes = []
    run.display = SimpleNamespace(note=run.notes.append)
    return run


@pytest.mark.parametrize("name", CURRICULA)
@pytest.mark.parametrize("asked_before", [0, 3, 7])
def test_at_s0_a_resumed_run_samples_what_an_uninterrupted_one_would(synchronous_run: Any, name: str, asked_before: int) -> None:
    run = synchronous_run
    whole = GrpoState(run, learning_source(CURRICULA[name]))
    expected = synchronous_steps(run, whole, 1, 30)

    run.state.stage_step, run.state.version = 0, 1
    first = GrpoState(run, learning_source(CURRICULA[name]))
    before = synchronous_steps(run, first, 1, 13)
    fill(run, first, at_most=asked_before)  # asked and graded before the checkpoint was written
    run.state.stage_state = json.loads(json.dumps(first.state_dict()))
    run.state.version += 1  # the checkpoint's weights are published again
    second = GrpoState(run, learning_source(CURRICULA[name]))
    after = synchronous_steps(run, second, 14, 30)

    assert before + after == expected, "the samplers of a resumed run must be, to the bit, those of an uninterrupted one"
    assert second.ledger.state_dict() == whole.ledger.state_dict(), "and must have asked the very same prompts"
    assert second.source.state_dict() == whole.source.state_dict()


def test_replayed_prompts_reach_the_rollouts_as_what_they_are(synchronous_run: Any) -> None:
    state = GrpoState(synchronous_run, learning_source(CURRICULA["replay"]))
    asked: list[str] = []
    draw = state.next_prompt
    state.next_prompt = lambda: asked.append(draw()) or asked[-1]  # type: ignore[method-assign,func-returns-value]
    metrics = synchronous_steps(synchronous_run, state, 1, 30)[-1]
    replayed = [uid for uid in asked if "@replay#" in uid]
    assert 0.2 < len(replayed) / len(asked) <= 0.7 and len(set(asked)) == len(asked), "every submission has a name of its own"
    assert any(name.startswith("curriculum/replay/trivial_replayed/") for name in metrics), "their outcomes are told apart"


def test_what_a_person_should_know_is_shown_once(synchronous_run: Any) -> None:
    state = GrpoState(synchronous_run, learning_source(CURRICULA["unlocking"]))
    synchronous_steps(synchronous_run, state, 1, 30)
    joined = [note for note in synchronous_run.notes if "retro joins" in note]
    assert len(joined) == 1 and joined[0].startswith("curriculum: "), synchronous_run.notes


def test_a_checkpoint_from_before_samplers_learnt_from_prompts_is_gone_on_from(synchronous_run: Any) -> None:
    run = synchronous_run
    first = GrpoState(run, learning_source(CURRICULA["defaults"]))
    synchronous_steps(run, first, 1, 5)
    fill(run, first, at_most=7)
    kept = json.loads(json.dumps(first.state_dict()))
    del kept["version"], kept["source"]["prompts"]
    for name in ("locks", "courses", "watches"):
        del kept["source"]["curriculum"][name]
    kept["outcomes"] = [outcome[:5] for outcome in kept["outcomes"]]
    run.state.stage_state = kept
    resumed = GrpoState(run, learning_source(CURRICULA["replay"]))
    synchronous_steps(run, resumed, 6, 10)
    assert resumed.ledger.error == 0


def test_outcomes_are_told_in_submission_order_whatever_came_back_first(run: Any) -> None:
    prompts = Prompts()
    state = GrpoState(run, prompts)
    slots = [(state.buffer.try_acquire(), state.next_prompt()) for _ in range(4)]
    for seq, uid in reversed(slots):
        state.graded(seq, rolled_out(run, uid))
    taken = state.buffer.try_take_step(run.state.version)
    state.trained(1, [one.item for one in taken])
    assert [uid for uid, _ in prompts.told] == [uid for _, uid in slots]
