"""The harvest: which of the policy's own right answers are kept, and that no kill or resume loses or doubles one."""

from __future__ import annotations

import errno
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.trajectory import GroupMeta, GroupRequest, Sampling, ScoredGroup
from chemr.config import ConfigError, load
from chemr.data.example import Example
from chemr.graded_group import GradedGroup, grade
from chemr.harvest import Harvest, HarvestedTrace
from chemr.harvest_config import HarvestConfig
from chemr.stages.grpo_state import GrpoState
from chemr.trace_file import TraceFileError, read_traces
from learner.config import GrpoConfig
from rewards.verdict import Reason, Verdict

ALL = HarvestConfig(share=1.0)


def group(uid: str, values: list[float | None], texts: list[str] | None = None, task: str = "forward", **meta: Any) -> GradedGroup:
    request = GroupRequest(uid, task, (1, 2), {}, {}, Sampling(len(values), 8), 0)
    lengths = meta.get("lengths", tuple(range(3, 3 + len(values))))
    facts = GroupMeta(uid, "g", tuple(lengths), 2, 4, 5, 0, meta.get("nonfinite", ()), 0.1)
    reasons = {None: Reason.TIMEOUT, 0.0: Reason.WRONG, 1.0: Reason.CORRECT}
    verdicts = [Verdict(value, reasons.get(value, Reason.PARTIAL)) for value in values]
    texts = [f"{uid} answer {n}" for n in range(len(values))] if texts is None else texts
    return grade(ScoredGroup(request, facts, verdicts, None, texts), GrpoConfig())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_right_answers_are_kept_with_where_they_came_from(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / "harvest" / "grpo.jsonl", HarvestConfig(share=1.0, per_prompt=8), seed=0)
    harvest.add(group("e1#7", [1.0, 0.0, None, 0.5, 1.0], nonfinite=(4,)))
    harvest.add(group("e2#8", [1.0, 1.0], texts=[]))
    harvest.write()
    (kept,) = lines(harvest.path)
    assert kept == {
        "uid": "e1",
        "task": "forward",
        "prompt_uid": "e1#7",
        "sample": 0,
        "completion": "e1#7 answer 0",
        "reward": 1.0,
        "group_success": 0.5,
        "tokens": 3,
        "version": 4,
    }, "failures, partial credit and samples with broken log-probs are not harvested"
    assert harvest.metrics() == {"harvest/traces": 1.0, "harvest/task/forward": 1.0}


def test_hard_prompts_come_first_then_short_answers(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / "h.jsonl", HarvestConfig(share=1.0, per_prompt=2, per_task=3), seed=0)
    harvest.add(group("easy#0", [1.0, 1.0], lengths=(1, 1)))
    harvest.add(group("hard#1", [1.0, 0.0, 0.0, 0.0], lengths=(9, 1, 1, 1)))
    harvest.add(group("half#2", [1.0, 1.0, 1.0, 0.0, 0.0, 0.0], lengths=(7, 5, 6, 1, 1, 1)))
    harvest.write()
    assert [(one["uid"], one["tokens"]) for one in lines(harvest.path)] == [("hard", 9), ("half", 5), ("half", 6)]


traces_st = st.lists(
    st.builds(
        HarvestedTrace,
        uid=st.sampled_from(["a", "b", "c"]),
        task=st.sampled_from(["forward", "retro"]),
        prompt_uid=st.integers(0, 40).map(lambda n: f"p#{n}"),
        sample=st.integers(0, 7),
        completion=st.sampled_from(["x", "y", "z", "w"]),
        reward=st.just(1.0),
        group_success=st.sampled_from([0.25, 0.5, 1.0]),
        tokens=st.integers(1, 5),
        version=st.just(1),
    ),
    max_size=25,
    unique_by=lambda trace: (trace.prompt_uid, trace.sample),
)


@settings(deadline=None)
@given(traces_st, st.integers(1, 3), st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_is_kept_does_not_depend_on_the_order(traces: list[HarvestedTrace], per_prompt: int, per_task: int, order: Any) -> None:
    expected: dict[str, list[HarvestedTrace]] = {}
    for task in {trace.task for trace in traces}:
        best: dict[tuple[str, str], HarvestedTrace] = {}
        for trace in sorted((t for t in traces if t.task == task), key=lambda t: t.rank):
            best.setdefault((trace.uid, trace.completion), trace)
        taken: list[HarvestedTrace] = []
        for trace in best.values():
            if sum(other.uid == trace.uid for other in taken) < per_prompt:
                taken.append(trace)
        expected[task] = taken[:per_task]
    harvest = Harvest(Path("nowhere.jsonl"), HarvestConfig(1.0, 1.0, per_prompt, per_task), seed=0)
    order.shuffle(traces)
    for trace in traces:
        harvest.offer(trace)
    assert {task: kept for task, kept in harvest._kept.items() if kept} == expected


def test_a_resumed_stage_goes_on_from_the_file_and_keeps_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "harvest" / "grpo.jsonl"
    config = HarvestConfig(share=1.0, per_prompt=2)
    first = Harvest(path, config, seed=0)
    first.add(group("e1#0", [1.0, 0.0]))
    first.add(group("e2#1", [1.0, 0.0]))
    first.write()
    before = path.read_bytes()
    first.add(group("e3#2", [1.0, 0.0]))  # after the checkpoint: lost with the driver
    again = Harvest(path, config, seed=0)
    again.add(group("e2#1", [1.0, 0.0]))
    again.write()
    assert path.read_bytes() == before, "the prompt that was asked again is there once"
    again.add(group("e3#2", [1.0, 0.0]))
    again.write()
    assert [one["uid"] for one in lines(path)] == ["e1", "e2", "e3"]
    assert not list(path.parent.glob("*.partial")), "nothing half-written stays"


def test_the_share_is_a_function_of_the_seed_and_the_name(tmp_path: Path) -> None:
    half = Harvest(tmp_path / "h.jsonl", HarvestConfig(share=0.5), seed=3)
    names = [f"e{n}#{n}" for n in range(400)]
    wanted = [half.wants(name) for name in names]
    assert wanted == [Harvest(tmp_path / "h.jsonl", HarvestConfig(share=0.5), seed=3).wants(name) for name in names]
    assert 160 < sum(wanted) < 240, "about half of them"
    half.add(group(names[wanted.index(False)], [1.0, 0.0]))
    assert len(half) == 0, "texts that came along for another reason are not harvested"
    off = Harvest(tmp_path / "h.jsonl", HarvestConfig(), seed=3)
    assert not any(map(off.wants, names)) and off.metrics() == {}
    off.write()
    assert not (tmp_path / "h.jsonl").exists(), "off by default, without a trace on the disk"


def test_a_harvest_is_a_file_of_traces(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / "h.jsonl", ALL, seed=0)
    harvest.add(group("starter/forward/1a#7", [1.0, 0.0]))
    harvest.write()
    example = Example("starter/forward/1a", "forward", {}, {"answer": "CCO"}, 0.5, "test", "MIT")
    assert read_traces(harvest.path, [example]) == [(example, "starter/forward/1a#7 answer 0")]


def test_a_replayed_prompt_is_harvested_under_its_examples_name(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / "h.jsonl", ALL, seed=0)
    harvest.add(group("e1@replay#7", [1.0, 0.0]))
    harvest.write()
    assert [(one["uid"], one["prompt_uid"]) for one in lines(harvest.path)] == [("e1", "e1@replay#7")], "else no data would know it"


def test_a_damaged_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text('{"uid": "e1", "task": "forward", "prompt_uid": "e1#0", "sample": "0"}\n')
    with pytest.raises(TraceFileError, match=r"h\.jsonl:1: field 'sample' is '0'; expected an integer"):
        Harvest(path, ALL, seed=0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("grpo.harvest.share=1.5", ["grpo.harvest.share=1.5", "[0, 1]"]),
        ("grpo.harvest.threshold=0", ["grpo.harvest.threshold=0", "(0, 1]"]),
        ("grpo.harvest.per_prompt=0", ["grpo.harvest.per_prompt=0", "at least 1"]),
        ("grpo.harvest.per_task=0", ["grpo.harvest.per_task=0", "at least 1"]),
        ("grpo.harvest.pertask=9", ["grpo.harvest.pertask", "grpo.harvest.per_task"]),
    ],
)
def test_a_wrong_setting_is_refused(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["experiment=smoke", override])
    for word in words:
        assert word in str(caught.value), str(caught.value)


def run_with(tmp_path: Path, *overrides: str) -> Any:
    config, _ = load(["experiment=smoke", "grpo.groups_per_step=2", *overrides])
    notes: list[str] = []
    return SimpleNamespace(
        config=config,
        directory=SimpleNamespace(path=tmp_path),
        tokenizer=SimpleNamespace(decode=str),
        fleet=SimpleNamespace(busy_seconds=lambda: 0.0, stats=dict),
        state=SimpleNamespace(stage="grpo", stage_step=0, stage_state={}, version=1),
        display=SimpleNamespace(note=notes.append, notes=notes),
    )


def prompts() -> Any:
    uids = (f"e{n}" for n in range(100))
    return SimpleNamespace(draw=lambda: next(uids), curriculum=SimpleNamespace(update=lambda *a, **k: None), state_dict=dict)


def test_the_stage_harvests_every_group_and_logs_only_the_sampled_ones(tmp_path: Path) -> None:
    state = GrpoState(run_with(tmp_path, "grpo.harvest.share=1.0"), prompts())
    for _ in range(4):
        uid = state.next_prompt()
        assert state.wants_texts(uid)
        state.graded(state.buffer.try_acquire(), group(uid, [1.0, 0.0]))
    assert {row["uid"] for row in state.trajectories._rows} == {"e0#0", "e1#1"}, "trajectories stay a sample of two groups"
    assert [trace.prompt_uid for trace in state.harvest._kept["forward"]] == ["e0#0", "e1#1", "e2#2", "e3#3"]
    assert state.settle()["summary"]["harvested"] == 4
    assert len(lines(tmp_path / "harvest" / "grpo.jsonl")) == 4


def test_without_a_harvest_texts_come_as_they_did(tmp_path: Path) -> None:
    state = GrpoState(run_with(tmp_path), prompts())
    assert [state.wants_texts(state.next_prompt()) for _ in range(4)] == [True, True, False, False]
    assert "harvested" not in state.settle()["summary"]
    assert not (tmp_path / "harvest").exists()


def test_a_full_disk_costs_the_write_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(tmp_path, "grpo.harvest.share=1.0")
    state = GrpoState(run, prompts())
    uid = state.next_prompt()
    state.graded(state.buffer.try_acquire(), group(uid, [1.0, 0.0]))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        state.keep_harvest()
    assert "NOT written" in run.display.notes[0]
    state.keep_harvest()
    assert len(lines(tmp_path / "harvest" / "grpo.jsonl")) == 1, "the next checkpoint writes what this one could not"


def test_traces_in_the_file_are_in_order_of_preference(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / "h.jsonl", ALL, seed=0)
    for n in range(20):
        harvest.add(group(f"e{n}#{n}", [1.0, float(n % 2), float(n % 3 == 0), 0.0], lengths=(1 + n % 4, 9, 9, 9)))
    harvest.write()
    ranks = [(one["group_success"], one["tokens"]) for one in lines(harvest.path)]
    assert all(earlier <= later for earlier, later in pairwise(ranks))
