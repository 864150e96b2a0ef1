"""metrics.jsonl tells the truth through kills and resumes, and no sink can stop a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from chemr.code_version import code_version
from chemr.data.example import Example
from chemr.data.task_data import TaskData
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.data_description import describe
from chemr.tracking.metrics_log import MetricsLogError, read_metrics
from chemr.tracking.tracker import Tracker, flatten
from chemr.tracking.wandb_sink import choose_mode, has_key

QUIET = TrackingConfig(wandb=WandbMode.off)
OFFLINE = TrackingConfig(wandb=WandbMode.offline)


def records(run_dir: Path) -> list[dict]:
    return list(read_metrics(run_dir / "metrics.jsonl"))


def test_records_are_appended_in_order_with_step_time_and_stage(tmp_path: Path) -> None:
    with Tracker(tmp_path, QUIET, {}) as tracker:
        tracker.log(1, {"stage": "foundation", "train/loss": 2.5, "train/tokens": np.float32(7)})
        tracker.log(1, {"eval/test/mean": 0.25})
        tracker.log(2, {})
    first, second = records(tmp_path)
    assert (first["step"], first["stage"], first["train/loss"], first["train/tokens"]) == (1, "foundation", 2.5, 7.0)
    assert second["eval/test/mean"] == 0.25, "a second record of the same step was lost"
    assert 0 <= first["elapsed_s"] <= second["elapsed_s"] < 60, "elapsed_s does not count the seconds of the run"
    assert first["time"] > 1.7e9, "time is not Unix seconds"


def test_a_number_that_is_not_finite_becomes_null_and_is_named(tmp_path: Path) -> None:
    with Tracker(tmp_path, QUIET, {}) as tracker:
        tracker.log(1, {"train/loss": math.nan, "train/grad_norm": math.inf, "train/lr": 0.1})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in line, "the line is not JSON for other readers"
    assert "Infinity" not in line, "the line is not JSON for other readers"
    record = json.loads(line)
    assert record["nonfinite"] == ["train/grad_norm", "train/loss"]
    assert record["train/loss"] is None
    assert record["train/lr"] == 0.1


@pytest.mark.parametrize("metrics", [{"step": 3.0}, {"train/loss": [1.0]}, {"train/loss": None}])
def test_a_metric_that_is_no_metric_is_refused_by_name(tmp_path: Path, metrics: dict) -> None:
    with Tracker(tmp_path, QUIET, {}) as tracker, pytest.raises(ValueError, match=next(iter(metrics))):
        tracker.log(1, metrics)


def test_rewinding_drops_exactly_the_later_steps_and_logging_goes_on(tmp_path: Path) -> None:
    with Tracker(tmp_path, QUIET, {}) as tracker:
        for step in range(1, 8):
            tracker.log(step, {"train/loss": float(step)})
        tracker.rewind(4)
        tracker.log(5, {"train/loss": 50.0})
    assert [(record["step"], record["train/loss"]) for record in records(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50)]
    assert not list(tmp_path.glob("*.partial")), "rewinding left its temporary file behind"


def test_elapsed_time_goes_on_where_the_killed_process_stopped(tmp_path: Path) -> None:
    with Tracker(tmp_path, QUIET, {}, {"elapsed_s": 1000.0}) as tracker:
        tracker.log(1, {"train/loss": 1.0})
        assert tracker.state()["elapsed_s"] >= 1000.0
    with Tracker(tmp_path, QUIET, {}, None) as tracker:
        assert tracker.state()["elapsed_s"] >= 1000.0, "the time in metrics.jsonl was forgotten"


def test_a_line_cut_by_a_kill_is_removed_and_the_rest_kept(tmp_path: Path) -> None:
    with Tracker(tmp_path, QUIET, {}) as tracker:
        tracker.log(1, {"train/loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "train/lo')
    assert len(records(tmp_path)) == 1, "a reader saw half a record"
    with Tracker(tmp_path, QUIET, {}) as tracker:
        tracker.log(2, {"train/loss": 2.0})
    assert [record["step"] for record in records(tmp_path)] == [1, 2]


def test_a_foreign_line_is_reported_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nhello\n')
    with pytest.raises(MetricsLogError, match=r"metrics\.jsonl:2"):
        records(tmp_path)


def test_a_driver_killed_with_minus_9_loses_no_record_it_logged(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from chemr.tracking.config import TrackingConfig, WandbMode
        from chemr.tracking.tracker import Tracker
        tracker = Tracker(Path({str(tmp_path)!r}), TrackingConfig(wandb=WandbMode.off), {{}})
        for step in range(1, 51):
            tracker.log(step, {{"train/loss": 1.0}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=240, check=False)
    assert result.returncode == -9
    assert len(records(tmp_path)) == 50, "records that log() had accepted were lost"


def test_flattening_keeps_numbers_and_text_and_leaves_lists_out() -> None:
    assert flatten({"gain": {"grpo": 0.1}, "run": "a", "interval": [1, 2], "none": None}) == {"gain/grpo": 0.1, "run": "a"}


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        ("off", {"WANDB_API_KEY": "x"}, None),
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "x"}, "online"),
        ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "disabled"}, None),
        ("online", {}, "offline"),
        ("online", {"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "online"),
        ("offline", {"WANDB_API_KEY": "x"}, "offline"),
    ],
)
def test_wandb_is_online_only_with_a_key(tmp_path: Path, asked: str, environment: dict, mode: str | None) -> None:
    assert choose_mode(WandbMode(asked), environment | {"HOME": str(tmp_path)}) == mode


def test_a_key_written_by_wandb_login_is_found(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password not-a-real-key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_key({"HOME": str(tmp_path)})
    assert not has_key({"HOME": str(tmp_path), "WANDB_BASE_URL": "https://wandb.example.org"}), "the key of another server was taken"


@pytest.fixture
def no_wandb_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_wandb_environment")
def test_without_a_key_wandb_records_offline_and_a_resumed_run_keeps_its_id(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    run_dir = tmp_path / "runs" / "mine"
    run_dir.mkdir(parents=True)
    with Tracker(run_dir, TrackingConfig(), {"grpo": {"steps": 3}}) as tracker:
        tracker.log(5, {"stage": "grpo", "train/loss": 0.5})
        tracker.log(3, {"eval/test/mean": 0.125})  # an earlier step than the one before: wandb itself would drop it
        tracker.summary({"gain": {"grpo": 0.0625}})
        state = json.loads(json.dumps(tracker.state()))
    with Tracker(run_dir, TrackingConfig(), {}, state) as tracker:
        assert tracker.state()["wandb_run_id"] == state["wandb_run_id"], "the resumed run has another W&B id"
    folders = sorted((run_dir / "wandb").glob("offline-run-*"))
    assert len(folders) == 2, f"expected one offline folder per process: {folders}"
    assert all(folder.name.endswith(state["wandb_run_id"]) for folder in folders)
    content = b"".join(path.read_bytes() for folder in folders for path in folder.glob("*.wandb"))
    for expected in (b"train/loss", b"eval/test/mean", b"0.125", b"gain/grpo", b"0.0625"):
        assert expected in content, f"{expected.decode()} did not reach W&B's file"
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before and child.status() != "zombie"]
    assert left == [], f"finish() left processes behind: {left}"


@pytest.mark.usefixtures("no_wandb_environment")
def test_when_wandbs_service_is_killed_the_run_goes_on_after_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    tracker = Tracker(tmp_path, OFFLINE, {})
    tracker.log(0, {"train/loss": 2.0})
    assert tracker.flush(180.0), "wandb did not start"
    service = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert service, "wandb started no service process; this test no longer tests anything"
    for process in service:
        process.kill()
    psutil.wait_procs(service, timeout=180)
    for step in range(1, 21):
        tracker.log(step, {"train/loss": 1.0})
    tracker.summary({"gain": {"grpo": 0.1}})
    tracker.finish()
    assert len(records(tmp_path)) == 21, "records were lost with the sink"
    warnings = [record.getMessage() for record in caplog.records if "is not used any more" in record.getMessage()]
    assert len(warnings) == 1, f"the failure was reported {len(warnings)} times"


@pytest.mark.usefixtures("no_wandb_environment")
def test_when_wandb_cannot_write_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("the server said no")

    monkeypatch.setattr(wandb, "init", refuse)
    with Tracker(tmp_path, OFFLINE, {}) as tracker:
        tracker.log(1, {"train/loss": 1.0})
    assert len(records(tmp_path)) == 1
    assert "the server said no" in caplog.text, "the warning does not say why"


@pytest.mark.parametrize("project", ["", "  ", "a/b", "a:b"])
def test_a_project_name_that_wandb_would_refuse_stops_at_load(project: str) -> None:
    with pytest.raises(ValueError, match=r"tracking\.project"):
        TrackingConfig(project=project).validate()


@pytest.mark.parametrize(
    ("field", "value"), [("tags", ["x" * 65]), ("tags", [""]), ("queue", 0), ("samples_per_step", -1), ("samples_per_run", -1)]
)
def test_a_setting_that_cannot_work_stops_at_load(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"tracking\.{field}"):
        TrackingConfig(**{field: value}).validate()


def test_the_commit_of_a_checkout_is_named_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    assert "commit" not in code_version(tmp_path), "there is no checkout"
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("-c", "core.hooksPath=/dev/null", "commit", "-qm", "one")
    found = code_version(tmp_path)
    assert found["commit"] == git("rev-parse", "HEAD") and found["modified"] is False and found["chemr"], f"{found}"
    (tmp_path / "code.py").write_text("2")
    assert code_version(tmp_path)["modified"] is True, "runs of changed code pass for runs of the commit"


def test_data_are_described_by_what_is_in_them() -> None:
    one = [Example("a", "forward", {"reactants": "CO"}, {"answer": "CO"}, 0.5, "test", "CC0-1.0")]
    other = [Example("a", "forward", {"reactants": "CO"}, {"answer": "CN"}, 0.5, "test", "CC0-1.0")]
    described = describe(TaskData(one, one, []), {"kind": "starter"})
    assert described["rows"] == {"train": {"forward": 1}, "validation": {"forward": 1}, "test": {}}
    assert described == describe(TaskData(one, one, []), {"kind": "starter"}), "the same rows are described in two ways"
    assert described["sha256"]["train"] != describe(TaskData(other, one, []), {"kind": "starter"})["sha256"]["train"]
