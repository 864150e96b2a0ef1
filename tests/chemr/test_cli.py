"""The command line, as a person meets it: what goes wrong says so in one line and a status, never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.checkpoints import CheckpointStore
from chemr.cli import main
from chemr.config import ChemrConfig, load
from chemr.engine_agreement import EngineDisagrees
from chemr.run_notes import read_notes
from learner.sealed_files import seal_folder


def test_a_wrong_override_ends_with_status_2_and_one_helpful_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=smoke", "grpo.groupsize=4"]) == 2
    said = capsys.readouterr().err
    assert "grpo.groups_per_step" in said and "Traceback" not in said, said


def test_cfg_job_prints_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "job", "experiment=smoke", "run.seed=5"]) == 0
    printed = capsys.readouterr().out
    assert "seed: 5" in printed and "groups_per_step: 4" in printed


def test_flags_may_stand_between_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=smoke", "--cfg", "job", "run.seed=6"]) == 0
    assert "seed: 6" in capsys.readouterr().out


def test_a_dry_run_says_what_would_happen_and_starts_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--dry-run", "experiment=smoke", f"run.root={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "stage grpo: 6 steps" in printed and "age at most" in printed and "private cluster" in printed
    assert not list(tmp_path.iterdir()), "a dry run must not create a run directory"


def test_an_argument_that_is_neither_flag_nor_override_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--fast", "experiment=smoke"])
    assert ended.value.code == 2 and "--fast" in capsys.readouterr().err


def test_a_run_that_stops_for_a_reason_says_it_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(*_: object) -> None:
        raise EngineDisagrees("log-probs differ by 0.3 nats")

    monkeypatch.setattr("chemr.train.train", stop)
    assert main(["train", "experiment=smoke", f"run.root={tmp_path}"]) == 1
    assert capsys.readouterr().err == "chemr train: log-probs differ by 0.3 nats\n"


@pytest.mark.parametrize(("evicted", "status"), [(False, 0), (True, 75)])
def test_a_drained_run_ends_well_unless_its_process_had_to_go(monkeypatch: pytest.MonkeyPatch, evicted: bool, status: int) -> None:
    """A RayJob whose driver ended with 0 is complete, and nobody starts it again."""

    async def drained(*_: object) -> dict[str, object]:
        return {"drained": "step-3", "evicted": evicted}

    monkeypatch.setattr("chemr.train.train", drained)
    assert main(["train", "experiment=smoke"]) == status


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run in the middle of its first stage, as far as a start looks."""
    path = tmp_path / "begun"
    store = CheckpointStore(path / "checkpoints")
    partial = store.begin(20)
    (partial / "learner.json").write_text("{}")
    state = {"step": 20, "version": 1, "stage": "foundation", "stage_step": 20, "results": {}, "tracker": {}}
    store.commit(20, state, seal_folder(partial))
    (path / "config.yaml").write_text(load(["experiment=smoke", f"run.root={tmp_path}", "run.name=begun"])[1])
    return path


@pytest.mark.parametrize("override", ["data.tasks=[forward]", "foundation.steps=10"])
def test_a_resume_as_another_run_is_refused_in_one_line_and_changes_nothing(
    begun: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (begun / "config.yaml").read_text()
    assert main(["train", "experiment=smoke", f"run.root={begun.parent}", "run.name=begun", "run.resume=auto", override]) == 2
    said = capsys.readouterr().err
    assert override.split("=")[0] in said and "it was" in said and said.count("\n") == 1 and "Traceback" not in said, said
    assert (begun / "config.yaml").read_text() == before, "config.yaml says what holds"
    (note,) = read_notes(begun)
    assert override.split("=")[0] in note["text"] and note["kind"] == "error", "and the run's own notes have it"


def test_a_finished_run_that_is_told_what_it_can_no_more_use_says_so(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (begun / "model").mkdir()
    (begun / "summary.json").write_text(json.dumps({"stages": ["foundation"], "table": {}, "gain": {}}))
    store = CheckpointStore(begun / "checkpoints")
    partial = store.begin(80)
    (partial / "learner.json").write_text("{}")
    state = {"step": 80, "version": 1, "stage": "foundation", "stage_step": 80, "results": {"foundation": {}}, "tracker": {}}
    store.commit(80, state, seal_folder(partial))
    command = ["train", "experiment=smoke", "stages=[foundation]", f"run.root={begun.parent}", "run.name=begun", "run.resume=auto"]
    assert main([*command, "pool.generators=2"]) == 0
    said = capsys.readouterr().out
    assert "is finished" in said and "no effect" in said and "pool.generators=2 (it was 1)" in said
    assert main([*command, "foundation.optim.lr=1e-6"]) == 2
    assert "stage foundation is over" in capsys.readouterr().err


def test_evaluating_a_folder_that_is_no_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", "experiment=smoke", "--model", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_exporting_a_run_without_checkpoints_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", f"run.root={tmp_path}", "--to", str(tmp_path / "model")]) == 2
    assert "no checkpoints" in capsys.readouterr().err


def test_exporting_a_run_with_damaged_checkpoints_names_them_in_one_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "starter" / "checkpoints" / "step-7"
    broken.mkdir(parents=True)
    assert main(["export", f"run.root={tmp_path}", "run.name=starter", "--to", str(tmp_path / "model")]) == 2
    message = capsys.readouterr().err
    assert "no usable checkpoint" in message and "step-7" in message, message
    assert "Traceback" not in message


def model_folder(folder: Path, positions: int) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": positions}), encoding="utf-8")
    return folder


def test_the_context_of_an_evaluated_model_is_its_own_not_that_of_a_model_from_scratch(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def evaluate(config: ChemrConfig, *_: object) -> None:
        asked.append(config.generator.max_model_len)

    monkeypatch.setattr("chemr.evaluate_model.evaluate_model", evaluate)
    arguments = ["experiment=starter", "policy.path=null", "generator.max_model_len=1024"]
    assert main(["eval", *arguments, f"model={model_folder(tmp_path / 'model', 2048)}"]) == 0, capsys.readouterr().err
    assert asked == [1024]
    assert main(["train", "--dry-run", *arguments]) == 2, "a model from scratch has 512 positions"
    assert "policy.scratch.max_position_embeddings" in capsys.readouterr().err


def test_an_engine_context_beyond_the_evaluated_model_is_refused_before_an_engine_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = model_folder(tmp_path / "model", 128)
    assert main(["eval", "experiment=starter", "generator.max_model_len=256", f"model={model}"]) == 2
    message = capsys.readouterr().err
    assert "generator.max_model_len=256" in message and "128 positions" in message, message
