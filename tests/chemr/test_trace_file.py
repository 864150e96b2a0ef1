"""A file of traces for distillation: what it may hold, and that a line that does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.config import ConfigError, load
from chemr.data import loading
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.trace_file import TraceFileError, read_traces

ROWS = [Example(f"u/{n}", "smiles2formula", {"smiles": "C"}, {"answer": "CH4"}, 0.0, "tests", "Apache-2.0") for n in range(20)]


def file_of(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def trace(uid: str = "u/1", **changes: object) -> dict[str, object]:
    return {"uid": uid, "task": "smiles2formula", "completion": "<think>1. **A**: b</think><answer>CH4</answer>", **changes}


def test_traces_are_read_in_order_with_their_rows(tmp_path: Path) -> None:
    path = file_of(tmp_path / "sft.jsonl", {"header": {"rows": 3}}, trace("u/1", key="k"), trace("u/0"), "", trace("u/1", completion="x"))
    assert [(example.uid, text) for example, text in read_traces(path, ROWS)] == [
        ("u/1", trace()["completion"]),
        ("u/0", trace()["completion"]),
        ("u/1", "x"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (trace("u/99"), r"sft\.jsonl, line 3: the data of this run have no training row 'u/99'"),
        (trace("u/19"), r"line 3: row 'u/19' is kept for GRPO by data\.grpo_share"),
        (trace(task="retro"), r"line 3: row 'u/1' is of task smiles2formula, not retro"),
        (trace(completion=""), r"line 3: field 'completion' should be a text"),
        ("{no json", r"line 3: is not JSON"),
        ([1], r"line 3: found '\[1\]', expected an object"),
    ],
)
def test_a_line_that_does_not_fit_is_named(line: object, said: str, tmp_path: Path) -> None:
    path = file_of(tmp_path / "sft.jsonl", {"header": {}}, trace(), line)
    with pytest.raises(TraceFileError, match=said):
        read_traces(path, ROWS[:10], ROWS[10:])


def test_a_file_without_traces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="holds no traces"):
        read_traces(file_of(tmp_path / "sft.jsonl", {"header": {}}), ROWS)
    with pytest.raises(TraceFileError, match="cannot be read"):
        read_traces(tmp_path / "nothing.jsonl", ROWS)


def test_rows_left_out_since_take_their_traces_with_them(tmp_path: Path) -> None:
    path = file_of(tmp_path / "sft.jsonl", trace("u/1"), trace("u/2"))
    assert [example.uid for example, _ in read_traces(path, ROWS[2:], skip_unknown=True)] == ["u/2"]


def test_a_run_checks_its_traces_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TaskData(train=ROWS, validation=ROWS[:1], test=ROWS[:1])
    monkeypatch.setattr(loading, "load_starter", lambda *_: rows)
    good = file_of(tmp_path / "good.jsonl", trace("u/1"))
    overrides = ["data.tasks=[smiles2formula]", "data.grpo_share=0.0"]
    assert loading.load_data(load([*overrides, f"distill.traces={good}"])[0]).train == ROWS
    bad = file_of(tmp_path / "bad.jsonl", trace("u/77"))
    with pytest.raises(ConfigError, match=r"bad\.jsonl, line 1"):
        loading.load_data(load([*overrides, f"distill.traces={bad}"])[0])
    with pytest.raises(ConfigError, match=r"distill\.traces=.*is not a file; .*sft\.jsonl"):
        load([f"distill.traces={tmp_path / 'none.jsonl'}"])


def test_tasks_without_a_programmatic_protocol_can_be_distilled_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Example("p/1", "property_bbbp", {"smiles": "C"}, {"answer": "Yes"}, 0.0, "tests", "Apache-2.0")
    monkeypatch.setattr(loading, "load_starter", lambda *_: TaskData(train=[row], validation=[row], test=[row]))
    path = file_of(tmp_path / "sft.jsonl", trace("p/1", task="property_bbbp"))
    overrides = ["data.tasks=[property_bbbp]", "data.grpo_share=0.0"]
    assert loading.load_data(load([*overrides, f"distill.traces={path}"])[0]).train == [row]
    with pytest.raises(ConfigError, match=r"no protocol for property_bbbp.*distill\.traces"):
        loading.load_data(load(overrides)[0])
