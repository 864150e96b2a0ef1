"""Recorded pass rates: read from what a run or a table holds, refused with the place of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.curriculum.recording import Point, RecordingError, read_recording, recording_of


def test_a_rate_between_two_points_lies_on_the_line_and_outside_it_stays() -> None:
    record = recording_of([Point(11, "a", 0.2), Point(15, "a", 0.6), Point(12, "b", 0.5)]).tasks["a"]
    assert [record.at_step(step) for step in (0, 1, 3, 5, 99)] == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.6]), "step 1 is the first recorded"


def test_practice_adds_up_the_recorded_shares() -> None:
    record = recording_of([Point(1, "a", 0.0, 0.5), Point(2, "a", 0.1, 0.25), Point(4, "a", 0.3, 0.5), Point(4, "b", 0.5, 0.5)]).tasks["a"]
    assert record.practice == pytest.approx([0.5, 0.75, 1.75]), "a step without a point counts with the share of the next"
    assert record.after(0.0) == 0.0 and record.after(1.25) == pytest.approx(0.2) and record.after(9.0) == 0.3
    alike = recording_of([Point(step, task, 0.5) for step in (1, 2) for task in "abcd"]).tasks["a"]
    assert alike.practice == pytest.approx([0.25, 0.5]), "without recorded shares all tasks are taken to have had the same"


def test_smoothing_averages_neighbours() -> None:
    record = recording_of([Point(step, "a", rate) for step, rate in enumerate([0.0, 0.3, 0.9, 0.3, 1.0])], smooth=3).tasks["a"]
    assert list(record.rates) == pytest.approx([0.15, 0.4, 0.5, 2.2 / 3, 0.65])


def test_a_run_s_metrics_are_read_from_its_grpo_steps(tmp_path: Path) -> None:
    records = [
        {"step": 5, "stage": "distill", "reward/a/mean": 0.9},
        {"step": 6, "stage": "grpo", "reward/a/mean": 0.2, "reward/mean": 0.3, "reward/b/std": 0.1, "curriculum/weight/a": 0.75},
        {"step": 6, "stage": "grpo", "weights/publish_s": 0.1},
        {"step": 7, "stage": "grpo", "reward/b/mean": 0.4, "reward/a/mean": None, "nonfinite": ["reward/a/mean"]},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"torn')
    recording = read_recording(tmp_path)
    assert set(recording.tasks) == {"a", "b"} and recording.steps == 2
    assert list(recording.tasks["a"].rates) == [0.2] and list(recording.tasks["a"].practice) == [0.75]
    assert list(recording.tasks["b"].steps) == [2.0]


def test_tables_are_read_alike_as_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("task,step,success,note\na,1,0.25,x\nb,2,1,\n")
    (tmp_path / "rates.json").write_text('[{"step": 1, "task": "a", "success": 0.25}, {"step": 2, "task": "b", "success": 1}]')
    assert read_recording(tmp_path / "rates.csv") == read_recording(tmp_path / "rates.json")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rates.csv", "task,step\na,1\n", "success is missing"),
        ("rates.csv", "task,step,success\na,1,0.5\na,2,\n", "rates.csv:3: success is missing"),
        ("rates.csv", "task,step,success\na,one,0.5\n", "step='one' is not a whole number"),
        ("rates.csv", "task,step,success\na,1,high\n", "'high' is not a number"),
        ("rates.csv", "task,step,success\na,1,45\n", "45 is outside [0, 1]"),
        ("rates.csv", "task,step,success\na,1,nan\n", "nan is outside [0, 1]"),
        ("rates.csv", "task,step,success\n", "holds no pass rates"),
        ("rates.json", "{", "is not JSON"),
        ("rates.json", '{"a": 1}', "a list of objects"),
        ("rates.json", '[{"step": 1, "task": "a"}]', "entry 1: success is missing"),
        ("metrics.jsonl", '{"step": 1, "stage": "foundation"}\n', "holds no pass rates"),
        ("metrics.jsonl", '{"stage": "grpo"}\n', "not a metrics record"),
        ("rates.txt", "", "should end in one of .jsonl, .csv, .json"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordingError) as caught:
        read_recording(tmp_path / name)
    assert words in str(caught.value), f"the message should contain {words!r}; it is:\n{caught.value}"


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"holds no metrics\.jsonl"):
        read_recording(tmp_path)
    with pytest.raises(RecordingError, match="there is no such file"):
        read_recording(tmp_path / "nowhere.csv")
