"""Checkpoints are whole or absent, and a damaged one gives way to the one before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chemr.checkpoints import CheckpointStore


def write(store: CheckpointStore, step: int, content: str = "weights") -> None:
    learner = store.begin(step) / "learner"
    learner.mkdir()
    (learner / "weights.bin").write_text(f"{content} {step}")
    store.commit(step, {"step": step})


def test_the_newest_committed_checkpoint_is_found_with_its_state(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 12)
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 12 and newest.state == {"step": 12} and not complaints
    assert (newest.learner / "weights.bin").read_text() == "weights 12"


def test_an_interrupted_write_leaves_the_previous_checkpoint_valid(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    (store.begin(6) / "weights.bin").write_text("half")
    newest, _ = store.newest()
    assert newest is not None and newest.step == 3, "a checkpoint that was never committed must be invisible"


def test_a_damaged_checkpoint_is_passed_over_with_a_reason(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    (tmp_path / "step-6" / "learner" / "weights.bin").write_text("bit rot")
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3, "the damaged newest checkpoint must not be used"
    assert "weights.bin" in complaints[0], f"the complaint names the damaged file: {complaints}"


def test_a_truncated_state_file_is_passed_over(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    (tmp_path / "step-6" / "state.json").write_text('{"step": 6, "fi')
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and len(complaints) == 1


def test_writing_a_step_again_replaces_it_whole(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3, "first")
    write(store, 3, "second")
    newest, _ = store.newest()
    assert newest is not None and (newest.learner / "weights.bin").read_text() == "second 3"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-3"], "nothing is left lying about"


def test_a_kill_between_the_two_renames_of_a_replacement_loses_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    (tmp_path / "step-3").rename(tmp_path / "step-3.retired")
    newest, _ = store.newest()
    assert newest is not None and newest.step == 3, "the retired checkpoint is the only whole one and must be used"


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3, 10):
        write(store, step)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-10", "step-3"]


def test_keeping_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_checkpoints"):
        CheckpointStore(tmp_path, keep=0)
