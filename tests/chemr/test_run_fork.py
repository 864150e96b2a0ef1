"""A run that goes on from another's finished stages: what is taken over, and what must be equal for it to mean anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.checkpoints import CheckpointStore
from chemr.config import ConfigError, load
from chemr.run_directory import Resume, RunDirectory
from chemr.run_fork import fork
from learner.sealed_files import seal_folder

BASE = ["experiment=smoke", "stages=[foundation]"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run that has finished its foundation stage."""
    _, resolved = load([*BASE, f"run.root={tmp_path}", "run.name=first"])
    path = tmp_path / "first"
    store = CheckpointStore(path / "checkpoints")
    partial = store.begin(80)
    (partial / "learner").mkdir()
    (partial / "learner" / "learner.json").write_text("{}")
    state = {
        "stage": "foundation",
        "results": {"foundation": {}},
        "step": 80,
        "tracker": {"elapsed_s": 60.0, "wandb_run_id": "theirs", "samples": 9},
    }
    store.commit(80, state, seal_folder(partial))
    (path / "config.yaml").write_text(resolved)
    (path / "metrics.jsonl").write_text(json.dumps({"step": 80}) + "\n")
    (path / "initial-model").mkdir()
    (path / "initial-model" / "config.json").write_text("{}")
    return path


def begun(source: Path, *changes: str) -> RunDirectory:
    config, resolved = load(["experiment=smoke", f"run.root={source.parent}", "run.name=second", f"run.start_from={source}", *changes])
    directory = RunDirectory.open(config.run.path, Resume.auto, 2)
    fork(source, directory, config, resolved)
    return directory


def test_what_is_finished_is_taken_over_and_the_rest_is_the_runs_own(source: Path) -> None:
    directory = begun(source, "grpo.steps=3", "grpo.curriculum.weighting=uniform")
    checkpoint, complaints = directory.checkpoints.newest()
    assert checkpoint is not None and not complaints, "the copy is sealed as any checkpoint"
    assert checkpoint.state["results"] == {"foundation": {}} and checkpoint.step == 80
    assert checkpoint.state["tracker"] == {"elapsed_s": 60.0}, "two runs must not share one run on the tracker"
    assert (checkpoint.learner / "learner.json").is_file() and (directory.initial_model / "config.json").is_file()
    assert (directory.path / "metrics.jsonl").read_text() == (source / "metrics.jsonl").read_text()
    assert CheckpointStore(source / "checkpoints").peek()[0] is not None, "the other run is left as it was"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["run.seed=1"], "made with another run.seed"),
        (["foundation.optim.lr=0.1"], "made with another foundation.optim.lr"),
        (["data.tasks=[forward]"], "made with another data.tasks"),
        (["stages=[distill,grpo]"], "has finished foundation, but this run's stages are distill, grpo"),
    ],
)
def test_a_run_made_otherwise_is_refused_and_the_field_is_named(source: Path, changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        begun(source, *changes)


def test_a_run_that_is_in_the_middle_of_a_stage_is_refused(source: Path) -> None:
    store = CheckpointStore(source / "checkpoints")
    partial = store.begin(90)
    (partial / "learner.json").write_text("{}")
    store.commit(90, {"stage": "distill", "results": {"foundation": {}}, "tracker": {}}, seal_folder(partial))
    with pytest.raises(ConfigError, match="no checkpoint at the end of a stage"):
        begun(source)
    with pytest.raises(ConfigError, match="not a run's directory"):
        begun(source.parent / "nowhere")
