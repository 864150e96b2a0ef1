"""Checkpoints are whole or absent, and a damaged one gives way to the one before it."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from chemr.checkpoints import CheckpointStore, is_disk_full

Usage = namedtuple("Usage", "total used free")


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


def test_a_damaged_checkpoint_does_not_count_as_one_of_those_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    write(store, 4)
    write(store, 6)
    (tmp_path / "step-6" / "learner" / "weights.bin").write_text("bit rot")
    store.newest()
    write(store, 5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-4", "step-5", "step-6.damaged"], "both whole ones are kept"
    assert [store.newest()[0].step, store.newest()[1]] == [5, []], "the damaged one, of a way not gone, never comes back"
    write(store, 8)
    write(store, 10)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-10", "step-8"], "older than what is kept, it goes"


def test_what_a_killed_writer_left_is_removed_by_the_next_owner(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    (store.begin(6) / "weights.bin").write_text("half")
    CheckpointStore(tmp_path).newest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-3"], "half a checkpoint must not fill the disk for ever"


def test_looking_at_a_live_run_changes_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    (tmp_path / "step-6" / "learner" / "weights.bin").write_text("bit rot")
    (store.begin(9) / "weights.bin").write_text("being written")
    before = sorted(entry.name for entry in tmp_path.iterdir())
    found, complaints = CheckpointStore(tmp_path).peek()
    assert found is not None and found.step == 3 and "weights.bin" in complaints[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before, "a reader beside the run must not move its folders"


def test_a_full_disk_leaves_the_checkpoint_before_and_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as caught:
            write(store, 6)
    assert is_disk_full(caught.value, tmp_path)
    store.abandon(6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-3"], "what was written of the failed one is removed"
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and not complaints
    write(store, 9)
    assert store.newest()[0].step == 9, "with room again, checkpoints are written again"


def test_a_full_disk_is_told_from_other_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside_an_actor = RuntimeError("ray::LearnerWorker.save()")
    inside_an_actor.cause = OSError(errno.EDQUOT, "Disk quota exceeded")  # type: ignore[attr-defined]
    assert is_disk_full(inside_an_actor, tmp_path), "a quota is a full disk too"
    torch_has_no_errno = RuntimeError("PytorchStreamWriter failed writing file")
    assert not is_disk_full(torch_has_no_errno, tmp_path), "with room left it is another failure, which stops the run"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 30, (1 << 30) - 4096, 4096))
    assert is_disk_full(torch_has_no_errno, tmp_path)
    monkeypatch.undo()
    assert not is_disk_full(PermissionError(errno.EACCES, "Permission denied"), tmp_path)
