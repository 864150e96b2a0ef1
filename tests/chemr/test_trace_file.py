"""Written traces in a teacher's place: what a line must hold, and what distillation makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chemr.config import ConfigError, load
from chemr.data import loading
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.trace_file import TraceFileError, read_traces

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


def test_a_header_is_skipped_and_rows_left_out_since_take_their_traces_with_them(tmp_path: Path) -> None:
    path = written(tmp_path, '{"header": {"rows": 2}}', line("e1"), line("e2"))
    assert [example.uid for example, _ in read_traces(path, EXAMPLES[2:], skip_unknown=True)] == ["e2"]


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


def test_a_run_reads_its_traces_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TaskData(train=EXAMPLES, validation=EXAMPLES, test=EXAMPLES)
    monkeypatch.setattr(loading, "load_starter", lambda *_: data)
    config, _ = load(["data.tasks=[forward,retro]", f"distill.traces={written(tmp_path, line('e1'), line('e2'))}"])
    assert loading.load_data(config).train == EXAMPLES, "rows that are kept for GRPO may have traces, too: a harvest is of them"
    written(tmp_path, line("e9"))
    with pytest.raises(ConfigError, match="'e9' is no example of this run's training data"):
        loading.load_data(config)


def test_tasks_without_a_programmatic_protocol_can_be_distilled_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Example("p1", "property_bbbp", {"smiles": "C"}, {"answer": "Yes"}, 0.0, "tests", "Apache-2.0")
    monkeypatch.setattr(loading, "load_starter", lambda *_: TaskData(train=[row], validation=[row], test=[row]))
    path = written(tmp_path, json.dumps({"uid": "p1", "task": "property_bbbp", "completion": "x"}))
    overrides = ["data.tasks=[property_bbbp]", "data.grpo_share=0.0"]
    assert loading.load_data(load([*overrides, f"distill.traces={path}"])[0]).train == [row]
    with pytest.raises(ConfigError, match=r"no protocol for property_bbbp.*distill\.traces"):
        loading.load_data(load(overrides)[0])
