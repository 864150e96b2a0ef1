"""Checkpoints are whole or absent, and a damaged one gives way to the one before it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from chemr.checkpoints import CheckpointNotWhole, CheckpointStore, storage_failure
from learner.sealed_files import SealedFile, seal_folder

Usage = namedtuple("Usage", "total used free")


def write(store: CheckpointStore, step: int, content: str = "weights") -> None:
    partial = store.begin(step)
    (partial / "learner").mkdir()
    (partial / "learner" / "weights.bin").write_text(f"{content} {step}")
    store.commit(step, {"step": step}, seal_folder(partial))


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


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_storage_that_does_not_answer_condemns_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)

    def fail(path: Path, **options: object) -> str:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as context:
        context.setattr(Path, "read_text", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            store.newest()
        assert store.peek()[0] is None, "whoever only looks is told"
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 6 and not complaints, "it is as good as it was"


def test_a_truncated_state_file_is_passed_over(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    (tmp_path / "step-6" / "state.json").write_text('{"step": 6, "fi')
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and len(complaints) == 1


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "6", '"step"', "{}", '{"files": null, "state": {}}', '{"files": ["a"], "state": {}}', '{"files": {}, "state": []}',
     '{"files": {"learner/weights.bin": null}, "state": null}', "\x00" * 40, "\ufeff{}"],
)  # fmt: skip
def test_a_state_file_with_anything_else_in_it_is_passed_over(tmp_path: Path, content: str) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    (tmp_path / "step-6" / "state.json").write_text(content)
    looked, _ = store.peek()
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and looked is not None and looked.step == 3
    assert len(complaints) == 1 and "step-6" in complaints[0]


def test_names_in_a_damaged_state_file_are_not_looked_for(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    state = tmp_path / "step-6" / "state.json"
    state.write_text(state.read_text().replace("weights.bin", "w" * 300))  # ENAMETOOLONG would read as storage that does not answer
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and "state.json" in complaints[0]


def test_a_changed_digit_of_the_drivers_state_is_noticed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    write(store, 6)
    state = tmp_path / "step-6" / "state.json"
    state.write_text(state.read_text().replace('"state": {"step": 6}', '"state": {"step": 7}'))
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3, "JSON that is whole but was changed must not be continued from"
    assert "state.json" in complaints[0], f"the complaint names the damaged file: {complaints}"


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
    assert "full" in storage_failure(caught.value, tmp_path)
    assert store.abandon(6), "there is one to go back to"
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-3"], "what was written of the failed one is removed"
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and not complaints
    write(store, 9)
    assert store.newest()[0].step == 9, "with room again, checkpoints are written again"


def test_a_storage_that_fails_is_told_from_other_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside_an_actor = RuntimeError("ray::LearnerWorker.save()")
    inside_an_actor.cause = OSError(errno.EDQUOT, "Disk quota exceeded")  # type: ignore[attr-defined]
    assert "full" in storage_failure(inside_an_actor, tmp_path), "a quota is a full disk too"
    for number in (errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ENOTCONN):
        reason = storage_failure(OSError(number, os.strerror(number)), tmp_path)
        assert os.strerror(number) in reason and "full" not in reason, f"what the system said is repeated: {reason}"
    for other in (RuntimeError("a bug"), TimeoutError(), ConnectionResetError(errno.ECONNRESET, "reset"), None):
        assert storage_failure(other, tmp_path) == "", f"{other!r} is nothing that storage does"
    torch_has_no_errno = RuntimeError("PytorchStreamWriter failed writing file")
    assert not storage_failure(torch_has_no_errno, tmp_path), "with room left it is another failure, which stops the run"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 30, (1 << 30) - 4096, 4096))
    assert "full" in storage_failure(torch_has_no_errno, tmp_path)


def begun(store: CheckpointStore, step: int) -> tuple[Path, list[SealedFile]]:
    """A checkpoint whose learner part lies in its folder, and what its ranks say of it."""
    partial = store.begin(step)
    (partial / "learner").mkdir()
    for rank in (0, 1):
        (partial / "learner" / f"state-{rank}-0.safetensors").write_bytes(bytes(100 + rank))
    return partial, seal_folder(partial)


@pytest.mark.parametrize("lost", ["all", "the second rank's", "the end of one"])
def test_what_did_not_arrive_from_the_learners_node_is_not_sealed(tmp_path: Path, lost: str) -> None:
    store = CheckpointStore(tmp_path, seen_within_s=0.0)
    write(store, 3)
    partial, files = begun(store, 6)
    match lost:
        case "all":
            shutil.rmtree(partial / "learner")
        case "the second rank's":
            (partial / "learner" / "state-1-0.safetensors").unlink()
        case _:
            os.truncate(partial / "learner" / "state-1-0.safetensors", 50)
    with pytest.raises(CheckpointNotWhole, match=r"(?s)state-.*run\.root"):
        store.commit(6, {"step": 6}, files)
    store.abandon(6)
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and not complaints, "the one before is as it was"


def test_a_checkpoint_of_no_file_is_not_sealed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, seen_within_s=0.0)
    store.begin(1)
    with pytest.raises(CheckpointNotWhole, match="no file was written"):
        store.commit(1, {"stage": "grpo"}, [])


def test_one_that_an_earlier_version_sealed_without_the_learners_files_is_passed_over(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3)
    (tmp_path / "step-6").mkdir()
    (tmp_path / "step-6" / "state.json").write_text(json.dumps({"step": 6, "files": {}, "state": {"step": 6}}))
    newest, complaints = store.newest()
    assert newest is not None and newest.step == 3 and "no learner state" in complaints[0]


def test_files_that_another_node_sees_later_are_waited_for(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, seen_within_s=60.0)
    partial, files = begun(store, 6)
    (partial / "learner").rename(tmp_path / "elsewhere")  # as NFS shows a folder before its entries
    later = threading.Timer(0.3, lambda: (tmp_path / "elsewhere").rename(partial / "learner"))
    later.start()
    assert store.commit(6, {}, files).step == 6
    later.join()


def test_an_old_checkpoint_that_cannot_be_removed_does_not_cost_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    write(store, 3)
    remove = shutil.rmtree

    def stale(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.ESTALE, "Stale file handle")
        remove(path, ignore_errors=True)

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", stale)
        write(store, 6)
    assert store.newest()[0].step == 6
    write(store, 9)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-9"], "what was left is removed after the next"


def test_a_replacement_that_fails_half_way_leaves_the_one_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 3, "first")
    rename = Path.rename

    def stale(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return rename(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", stale)
        with pytest.raises(OSError, match="Stale"):
            write(store, 3, "second")
    assert store.abandon(3)
    newest, complaints = store.newest()
    assert newest is not None and not complaints and (newest.learner / "weights.bin").read_text() == "first 3"
