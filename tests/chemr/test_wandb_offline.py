"""What W&B has of an offline run is what metrics.jsonl has, read back by another reader than wandb's own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.tracking import molecule_drawings
from chemr.tracking.config import ArtifactMode, ArtifactsConfig, TrackingConfig, WandbMode
from chemr.tracking.metrics_log import read_metrics
from chemr.tracking.tracker import Tracker
from chemr.trajectory_log import TrajectoryLog
from tests.chemr.report.written_run import HOSTILE, TASKS, scored, step_metrics
from tests.chemr.wandb_file import history, payloads, wandb_records

STEPS = 60
REPEATED = frozenset({"_timestamp", "_runtime", "_step", "_wandb"})  # wandb's own fields


def rows_of(folder: Path, step: int) -> list[dict[str, Any]]:
    """Rows as the GRPO stage hands them over: three answers to each of two tasks."""
    from chemr.graded_group import grade
    from learner.config import GrpoConfig
    from rewards.verdict import Reason, Verdict

    tokenizer: Any = SimpleNamespace(decode=lambda ids: "a question")
    log = TrajectoryLog(folder, tokenizer, every=1)
    for task in ("smiles2formula", "forward"):
        _, _, right, wrong = TASKS[task]
        texts = [f"<think>so</think><answer>{right}</answer>", f"<think>no</think><answer>{wrong}</answer>", HOSTILE]
        verdicts = [Verdict(1.0, Reason.CORRECT, {"tanimoto": 1.0}), Verdict(0.25, Reason.PARTIAL), Verdict(0.0, Reason.NO_ANSWER)]
        uid = f"{task}#{step}"
        assert log.claim(uid)
        log.add(grade(scored(uid, task, texts, verdicts, step), GrpoConfig()))
    return log.finish_step(step)


class Written:
    """An offline run that was written once, and its file read."""

    def __init__(self, root: Path) -> None:
        self.run_dir = root / "mine"
        (self.run_dir / "model").mkdir(parents=True)
        (self.run_dir / "model" / "weights.bin").write_bytes(b"weights")
        config = TrackingConfig(
            wandb=WandbMode.offline,
            group="seeds",
            job_type="ablation",
            tags=["starter", "s=1"],
            samples_per_step=4,
            samples_per_run=6,
            artifacts=ArtifactsConfig(model=ArtifactMode.reference, checkpoints=ArtifactMode.off),
        )
        rows = [Example(f"u{index}", "forward", {"reactants": "CO"}, {"answer": "CO"}, 0.5, "test", "CC0-1.0") for index in range(3)]
        self.notes: list[str] = []
        resolved = {"run": {"seed": 7}, "data": {"kind": "starter", "tasks": []}}
        with Tracker(self.run_dir, config, resolved, note=self.notes.append) as tracker:
            tracker.data(TaskData(rows, rows[:1], []))
            for step in range(1, STEPS + 1):
                entropy = {"train/entropy": 0.001 if step > 30 else 1.0, "train/grad_norm": math.nan if step == 5 else 0.1 + 1 / 3 * step}
                tracker.log(step, step_metrics(step, 0.0) | entropy)
                tracker.distributions(step, {"async/age_histogram": [0, 1, 1], "rollout/length_histogram": [step, 20], "empty/one": []})
                if step % 20 == 0:
                    tracker.samples(step, rows_of(root, step))
            tracker.log(3, {"stage": "grpo", "eval/test/mean": 0.125})  # goes back: wandb's own step would drop it
            tracker.summary({"gain": {"grpo": 0.0625}})
            tracker.folder("model", self.run_dir / "model", STEPS, {"gain/grpo": 0.0625})
            tracker.folder("checkpoint", self.run_dir / "nowhere", STEPS)
            self.state = tracker.state()
        (self.file,) = (self.run_dir / "wandb").glob("offline-run-*/*.wandb")
        self.records = wandb_records(self.file)
        self.history = history(self.records)

    def of_kind(self, kind: str) -> list[Any]:
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(root / "home"))
        yield Written(root)


def test_without_a_library_that_draws_the_tables_come_without_pictures_and_every_record_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine without libXrender, where rdkit.Chem.Draw cannot be imported."""
    for name in ("rdkit.Chem.Draw", "rdkit.Chem.Draw.rdMolDraw2D"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("chemr.report.molecules", "chemr.report.gallery", "chemr.tracking.completions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(molecule_drawings, "draw", None)  # the child says the same, in its own words
    monkeypatch.setattr(molecule_drawings.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError("libXrender.so.1")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    with Tracker(tmp_path / "mine", TrackingConfig(wandb=WandbMode.offline), {}) as tracker:
        for step in range(1, 4):
            tracker.log(step, {"train/loss": 1.0 / step})
            tracker.samples(step, rows_of(tmp_path, step))
        tracker.summary({"gain": {"grpo": 0.5}})
    (file,) = (tmp_path / "mine" / "wandb").glob("offline-run-*/*.wandb")
    records = wandb_records(file)
    rows = history(records)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 1.0 / 2, 1.0 / 3]
    assert sum("completions" in row or "completions/_type" in row for row in rows) == 3, f"the tables are there, without pictures: {rows}"
    assert records[-1].WhichOneof("record_type") == "exit" or any(record.WhichOneof("record_type") == "exit" for record in records)
    assert "libXrender" in caplog.text, "a person is told"


def test_every_record_is_in_wandbs_file_value_for_value(written: Written) -> None:
    logged = [row for row in written.history if "elapsed_s" in row]
    expected = list(read_metrics(written.run_dir / "metrics.jsonl"))
    assert len(logged) == len(expected) == STEPS + 1, "a record is missing, or there twice"
    for found, record in zip(logged, expected, strict=True):
        nonfinite = record.pop("nonfinite", [])
        values = {name: value for name, value in found.items() if name not in REPEATED}
        assert values.keys() == record.keys(), f"step {record['step']} has other metrics in W&B"
        for name, value in record.items():
            same = values[name] in ("NaN", "Infinity", None) or math.isnan(values[name]) if name in nonfinite else values[name] == value
            assert same, f"step {record['step']}: {name} is {values[name]!r} in W&B and {value!r} in metrics.jsonl"
    assert written.file.stat().st_size > 2 * 32_768, "the reader's blocks were not tested"


def test_a_damaged_file_is_not_taken_for_a_whole_one(written: Written) -> None:
    content = bytearray(written.file.read_bytes())
    content[len(content) // 2] ^= 1
    with pytest.raises(AssertionError):
        list(payloads(bytes(content)))


def test_every_family_is_drawn_over_our_step(written: Written) -> None:
    defined = {(metric.name or metric.glob_name): metric.step_metric for metric in written.of_kind("metric")}
    families = {name.split("/")[0] for row in written.history for name in row if "/" in name} - {"completions"}
    assert {"train", "async", "alert", "eval", "rollout"} <= families
    for family in families:
        assert defined.get(f"{family}/*") == "step", f"{family}/* is drawn over wandb's own step, of which some are dropped"
    assert defined["completions"] == defined["elapsed_s"] == "step"


def test_configuration_code_group_type_and_tags_are_there(written: Written) -> None:
    run = written.of_kind("run")[0]
    assert (run.run_group, run.job_type, list(run.tags)) == ("seeds", "ablation", ["starter", "s=1"])
    assert run.run_id == written.state["wandb_run_id"], "a resumed run would have another id"
    config = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in run.config.update}
    assert config["run"] == {"seed": 7} and config["code"]["chemr"], f"what the run was made with is not in its configuration: {config}"


def test_histograms_hold_every_sample(written: Written) -> None:
    rows = [row for row in written.history if "async/age_histogram/_type" in row or "async/age_histogram" in row]
    assert len(rows) == STEPS, "one histogram for each step"
    text = json.dumps(rows[0])
    assert "histogram" in text and "rollout/length_histogram" in text and "empty" not in text


def test_completions_are_bounded_and_drawn(written: Written) -> None:
    tables = [json.loads(path.read_text()) for path in sorted(written.run_dir.glob("wandb/offline-run-*/files/media/table/*.table.json"))]
    rows = [dict(zip(table["columns"], row, strict=True)) for table in tables for row in table["data"]]
    assert sorted(row["step"] for row in rows) == [20] * 4 + [40] * 2, "4 a step and 6 a run were asked for, each written once"
    first = next(row for row in rows if row["task"] == "forward")
    assert (first["prompt"], first["reasoning"], first["answer"], first["reference"]) == ("a question", "so", "CCOC(C)=O", "CCOC(C)=O")
    assert (first["reward"], first["reason"], json.loads(first["parts"])) == (1.0, "correct", {"tanimoto": 1.0})
    formula = next(row for row in rows if row["task"] == "smiles2formula")
    assert formula["answer_drawn"] is None, "a formula is no molecule"
    assert first["answer_drawn"] is not None and first["reference_drawn"] is not None, "both molecules should be drawn"


def test_the_files_of_tables_lie_in_the_run_directory(written: Written) -> None:
    entries = [entry for artifact in written.of_kind("artifact") for entry in artifact.manifest.contents if entry.local_path]
    inside = [Path(entry.local_path).is_relative_to(written.run_dir.resolve()) for entry in entries]
    assert inside and all(inside), "the run directory does not hold all of the run"
    pictures = [entry for entry in entries if entry.path.endswith(".png")]
    assert pictures and all(Path(entry.local_path).read_bytes().startswith(b"\x89PNG") for entry in pictures)
    assert all(Path(entry.local_path).stat().st_size == entry.size for entry in entries), "a file is not there to be sent"


def test_alerts_are_told_once_to_people_and_to_wandb(written: Written) -> None:
    assert [alert.title for alert in written.of_kind("alert")] == ["entropy_collapse"]
    assert len(written.notes) == 1 and "entropy" in written.notes[0], f"a person was told {written.notes}"
    steps = [record["step"] for record in read_metrics(written.run_dir / "metrics.jsonl") if "alert/entropy_collapse" in record]
    assert steps == [50], "the mean of 20 steps is below 0.02 when all of them are"


def test_data_are_the_runs_input_and_the_model_is_referred_to(written: Written) -> None:
    artifacts = {artifact.type: artifact for artifact in written.of_kind("artifact")}
    assert artifacts["dataset"].use_after_commit and artifacts["dataset"].name == "data-starter", "the rows are an input, not an output"
    assert json.loads(artifacts["dataset"].metadata)["rows"]["train"] == {"forward": 3}
    model = artifacts["model"]
    (entry,) = model.manifest.contents
    assert entry.ref == (written.run_dir / "model" / "weights.bin").resolve().as_uri(), "the model's file is named, not copied"
    assert json.loads(model.metadata) == {"gain/grpo": 0.0625, "step": STEPS}
    assert "checkpoint" not in artifacts, "checkpoints are off"
