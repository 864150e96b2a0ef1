"""Written traces in a teacher's place: what a line must hold, and what distillation makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.config import ConfigError, load
from chemr.data.example import Example
from chemr.stages.distill import TooFewTraces, distill
from chemr.trace_file import TraceFileError, TraceFileTeacher, read_traces
from rewards.job import ScoreJob
from rewards.verdict import Reason, Verdict

EXAMPLES = [Example(f"e{n}", "forward" if n % 2 else "retro", {"n": n}, {"answer": "CCO"}, 0.5, "test", "MIT") for n in range(6)]


def line(uid: str, completion: str = "<think>a</think><answer>CCO</answer>", **more: Any) -> str:
    task = "forward" if int(uid[1:] or 0) % 2 else "retro"
    return json.dumps({"uid": uid, "task": task, "completion": completion} | more)


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_traces_come_with_their_examples_in_order_and_none_twice(tmp_path: Path) -> None:
    path = written(tmp_path, line("e3"), "", line("e0", "b", reward=1.0), line("e3"), line("e3", "c"))
    assert [(example.uid, text) for example, text in read_traces(path, EXAMPLES)] == [
        ("e3", "<think>a</think><answer>CCO</answer>"),
        ("e0", "b"),
        ("e3", "c"),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{"], [":1:", "not JSON", "uid, task, completion"]),
        ([line("e1"), "[1]"], [":2:", "found list"]),
        (['{"uid": "e1", "task": "forward"}'], [":1:", "'completion' is missing", "a non-empty string"]),
        (['{"uid": "e1", "task": "forward", "completion": 3}'], [":1:", "'completion' is 3", "a non-empty string"]),
        ([line("e1", "  ")], [":1:", "'completion'", "a non-empty string"]),
        ([line("e1"), line("e9")], [":2:", "'e9'", "6 rows", "data.tasks"]),
        ([line("e1", task="retro")], [":1:", "'task' is 'retro'", "'forward'"]),
        ([""], ["holds no trace"]),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_what_was_expected(tmp_path: Path, lines: list[str], words: list[str]) -> None:
    with pytest.raises(TraceFileError) as caught:
        read_traces(written(tmp_path, *lines), EXAMPLES)
    for word in ("traces.jsonl", *words):
        assert word in str(caught.value), f"{word!r} should be in: {caught.value}"


def test_broken_text_and_a_missing_file_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"uid": "\xff"}\n')
    with pytest.raises(TraceFileError, match=r"t\.jsonl:1: not JSON"):
        read_traces(tmp_path / "t.jsonl", EXAMPLES)
    with pytest.raises(TraceFileError, match="cannot be read"):
        read_traces(tmp_path / "none.jsonl", EXAMPLES)


async def test_each_occurrence_of_an_example_gets_its_next_trace(tmp_path: Path) -> None:
    teacher = TraceFileTeacher.load(written(tmp_path, line("e1", "a"), line("e2", "b"), line("e1", "c")), EXAMPLES)
    assert [example.uid for example in teacher.examples] == ["e1", "e2", "e1"]
    e1, e2 = EXAMPLES[1], EXAMPLES[2]
    assert await teacher.completions([e1, e1, e2, e1, EXAMPLES[0]]) == ["a", "c", "b", None, None]
    assert await teacher.completions([e1]) == ["a"], "asking again, as a stage that begins again does, gives the same"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["distill.traces=none.jsonl"], ["distill.traces=none.jsonl", "not a file"]),
        (["distill.traces=none.jsonl", "stages=[foundation,grpo]"], ["no effect", "no distill"]),
    ],
)
def test_traces_that_cannot_be_used_are_refused_at_load(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["experiment=smoke", *overrides])
    for word in words:
        assert word in str(caught.value), str(caught.value)


class Run:
    """What the stage touches of a run, with reward workers that reject the answer CO."""

    def __init__(self, teacher: Any, per_task: int, per_step: int) -> None:
        config, _ = load(["experiment=smoke", f"distill.traces_per_task={per_task}", f"distill.documents_per_step={per_step}"])
        config.distill.steps = 0
        self.config, self.teacher = config, teacher
        self.supervised_examples = EXAMPLES
        self.logged: dict[str, float] = {}
        self.trained: list[Any] = []
        encode = SimpleNamespace(encode_prompt=lambda _: [1], encode_completion=lambda text: list(text.encode()))
        self.tokenizer: Any = encode
        self.fleet = SimpleNamespace(score_texts=self._score)
        self.learners = SimpleNamespace(load_dataset=self._load)

    def log(self, record: dict[str, float]) -> None:
        self.logged |= record

    async def begin_stage(self, *_: Any) -> None:
        pass

    async def _load(self, pairs: list[Any]) -> None:
        self.trained = [bytes(completion.tolist()).decode() for _, completion in pairs]

    async def _score(self, jobs: list[ScoreJob]) -> list[Verdict]:
        return [Verdict(0.0, Reason.WRONG) if job.completion == "CO" else Verdict(1.0, Reason.CORRECT) for job in jobs]


async def test_distillation_trains_on_the_traces_of_the_file_that_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chemr.stages.distill.training_pair", lambda tokenizer, example, text: _pair(text))
    traces = [(EXAMPLES[1], "a"), (EXAMPLES[3], "CO"), (EXAMPLES[1], "b"), (EXAMPLES[2], "c")]
    run: Any = Run(TraceFileTeacher(traces), per_task=3, per_step=1)
    await distill(run)
    assert sorted(run.trained) == ["a", "b", "c"], "the wrong one is left out, an example may have two"
    assert run.logged["distill/asked"] == 4.0 and run.logged["distill/rejected/forward/wrong"] == 1.0
    few: Any = Run(TraceFileTeacher(traces), per_task=1, per_step=1)
    await distill(few)
    assert len(few.trained) + (few.logged.get("distill/rejected/forward/wrong") or 0) == 2, "distill.traces_per_task caps each task"
    with pytest.raises(TooFewTraces, match="fewer than"):
        await distill(Run(TraceFileTeacher(traces), per_task=3, per_step=4))


def _pair(text: str) -> Any:
    import numpy as np

    return np.array([1], np.int32), np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def test_a_file_is_read_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chemr.dry_run import dry_run
    from chemr.train import teacher_of

    data: Any = SimpleNamespace(train=EXAMPLES, validation=[], test=[])
    monkeypatch.setattr("chemr.dry_run.load_data", lambda _: data)
    config, _ = load(["experiment=smoke", f"distill.traces={written(tmp_path, line('e1'), line('e2'))}"])
    assert any("2 traces of" in said for said in dry_run(config))
    teacher = teacher_of(config, data)
    assert isinstance(teacher, TraceFileTeacher) and [example.uid for example in teacher.examples] == ["e1", "e2"]
    written(tmp_path, line("e9"))
    for reads in (lambda: dry_run(config), lambda: teacher_of(config, data)):
        with pytest.raises(TraceFileError, match="'e9' is no example of this run's training data"):
            reads()
    config.distill.traces = None
    assert not isinstance(teacher_of(config, data), TraceFileTeacher)
