"""What a run does when its checkpoint cannot be written."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.failures import LearnerLost
from chemr.checkpoints import Checkpoint, CheckpointStore
from chemr.config import Stage
from chemr.training_run import NoCheckpoint, RunState, TrainingRun, in_thread
from learner.config import OptimConfig
from learner.sealed_files import SealedFile, seal_folder


class Learners:
    """Saves a file, or fails as told."""

    failure: Exception | None = None
    elsewhere: Path | None = None  # a node's own folder of the same name

    async def save(self, directory: Path) -> list[SealedFile]:
        directory = self.elsewhere or directory
        directory.mkdir()
        (directory / "weights.bin").write_text("weights")
        if self.failure is not None:
            raise self.failure
        return seal_folder(directory)


class Told:
    """Tracker and display: remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.records: list[dict[str, Any]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def log(self, step: int, record: dict[str, Any]) -> None:
        self.records.append(record)

    def folder(self, kind: str, path: Path, step: int, metadata: dict[str, Any]) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def learners() -> Learners:
    return Learners()


@pytest.fixture
def run(tmp_path: Path, learners: Learners) -> TrainingRun:
    told: Any = Told()
    directory: Any = SimpleNamespace(path=tmp_path, checkpoints=CheckpointStore(tmp_path / "checkpoints", seen_within_s=0.0))
    pool: Any = SimpleNamespace(learner=learners, fleet=None)
    nothing: Any = None
    config: Any = SimpleNamespace(control=SimpleNamespace(drain_s=60.0))
    return TrainingRun(config, directory, pool, nothing, nothing, nothing, told, told, state=RunState(step=4, stage="grpo"))


async def test_a_full_disk_costs_the_checkpoint_and_not_the_run(run: TrainingRun, learners: Learners) -> None:
    await run.checkpoint()
    run.state.step = 6
    learners.failure = OSError(errno.ENOSPC, "No space left on device")
    assert await run.checkpoint() is None, "there is no such checkpoint"
    told: Any = run.display
    assert "step 6 was NOT written" in told.notes[0] and "make room" in told.notes[0], "a person is told what to do"
    assert told.records[-1]["checkpoint/failed"] == 1.0
    newest, complaints = run.directory.checkpoints.newest()
    assert newest is not None and newest.step == 4 and not complaints
    learners.failure = None
    run.state.step = 8
    written = await run.checkpoint({"cursor": 3})
    assert written is not None and written.step == 8 and written.state["stage_state"] == {"cursor": 3}, "with room, the next is written"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ETIMEDOUT])
async def test_any_storage_that_fails_costs_the_checkpoint_and_not_the_run(run: TrainingRun, learners: Learners, number: int) -> None:
    await run.checkpoint()
    run.state.step = 6
    learners.failure = OSError(number, os.strerror(number))
    assert await run.checkpoint() is None
    told: Any = run.display
    assert "step 6 was NOT written" in told.notes[0] and os.strerror(number) in told.notes[0]
    assert told.records[-1]["checkpoint/failed"] == 1.0
    assert [entry.name for entry in (run.directory.path / "checkpoints").iterdir()] == ["step-4"]


async def test_a_learner_that_writes_where_the_driver_cannot_see_it_ends_a_run_that_has_no_checkpoint(
    run: TrainingRun, learners: Learners, tmp_path: Path
) -> None:
    learners.elsewhere = tmp_path / "of-another-node"
    with pytest.raises(NoCheckpoint, match=r"(?s)weights\.bin.*run\.root"):
        await run.checkpoint()
    assert list((tmp_path / "checkpoints").iterdir()) == [], "nothing was sealed"


async def test_a_run_whose_first_checkpoint_fails_ends_in_words(run: TrainingRun, learners: Learners) -> None:
    learners.failure = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(NoCheckpoint, match="Permission denied"):
        await run.checkpoint()


@pytest.mark.parametrize("failure", [LearnerLost("rank 1 is gone"), RuntimeError("a bug")])
async def test_any_other_failure_is_not_the_storages(run: TrainingRun, learners: Learners, failure: Exception) -> None:
    await run.checkpoint()
    learners.failure = failure
    with pytest.raises(type(failure)):
        await run.checkpoint()


async def test_the_loops_go_on_while_a_checkpoint_is_sealed_and_read(run: TrainingRun) -> None:
    """Sealing and reading wait here for a heartbeat of the loop: on the loop itself they would wait for ever."""
    store = run.directory.checkpoints
    beats = threading.Semaphore(0)
    in_the_way: list[str] = []

    def beside(name: str, work: Any) -> Any:
        def slow(*arguments: Any) -> Any:
            while beats.acquire(blocking=False):
                pass
            if not beats.acquire(timeout=20.0):
                in_the_way.append(name)
            return work(*arguments)

        return slow

    store.begin, store.commit, store.newest = (  # type: ignore[method-assign]
        beside(name, getattr(store, name)) for name in ("begin", "commit", "newest")
    )

    async def heart() -> None:
        while True:
            await asyncio.sleep(0.01)
            beats.release()

    beating = asyncio.create_task(heart())
    run.state.stage_state = {"cursor": [1]}
    saving = asyncio.create_task(run.checkpoint({"cursor": [1]}))
    await asyncio.sleep(0)  # it has taken the state
    run.state.stage_state["cursor"].append(2)
    written = await saving
    newest, _ = await in_thread(store.newest)
    beating.cancel()
    assert not in_the_way, f"the loop stood still during {in_the_way}"
    assert written is not None and newest is not None
    assert newest.state["stage_state"] == {"cursor": [1]}, "what is written is of one moment"


async def test_a_run_that_is_cancelled_lets_nobody_write_behind_it(run: TrainingRun) -> None:
    store, going_on, began = run.directory.checkpoints, threading.Event(), threading.Event()
    commit = store.commit

    def slow(*arguments: Any) -> Any:
        began.set()
        assert going_on.wait(20.0)
        return commit(*arguments)

    store.commit = slow  # type: ignore[method-assign,assignment]
    saving = asyncio.create_task(run.checkpoint())
    await asyncio.to_thread(began.wait, 20.0)
    saving.cancel()
    await asyncio.sleep(0.05)
    assert not saving.done(), "the directory's lock is held until the writer has ended"
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert store.newest()[0] is not None, "what was begun is whole"


class ScriptedLearners:
    """Notes what a stage's beginning asks of the learner."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def load(self, *arguments: Any) -> None:
        self.asked.append(("load", *arguments))

    async def begin_stage(self, *arguments: Any) -> None:
        self.asked.append(("begin_stage", *arguments))

    async def set_threads(self, threads: int) -> None:
        pass


def restored(run: TrainingRun, state: RunState, **steps: int) -> tuple[TrainingRun, ScriptedLearners]:
    """``run``, continued from a checkpoint of ``state`` with so many ``steps`` of its stages."""
    stages = {name: SimpleNamespace(steps=steps.get(name, 10)) for name in ("foundation", "grpo")}
    learner = SimpleNamespace(threads=1)
    run.config = SimpleNamespace(stages=["foundation", "grpo"], learner=learner, run=SimpleNamespace(seed=0), **stages)  # type: ignore[assignment]
    told: Any = run.display
    told.stage = lambda stage, steps: None
    told.rewind = lambda step: None
    learners: Any = ScriptedLearners()
    run.pool.learner = learners

    async def nothing() -> None:
        pass

    run.publish = run.checkpoint = nothing  # type: ignore[method-assign,assignment]
    run.restore(Checkpoint(state.step, Path("step"), asdict(state)))
    return run, learners


async def test_a_stage_that_is_continued_is_continued_under_the_settings_of_now(run: TrainingRun) -> None:
    run, learners = restored(run, RunState(step=4, stage="foundation", stage_step=4), foundation=800)
    optim = OptimConfig(lr=1e-6)
    await run.begin_stage(Stage.foundation, optim, 800, None)
    assert learners.asked == [("load", Path("step/learner"), optim, 800)] and run.state.stage_step == 4


async def test_the_next_stage_begins_from_the_weights_alone(run: TrainingRun) -> None:
    run, learners = restored(run, RunState(step=10, stage="foundation", stage_step=10, results={"foundation": {}}))
    optim = OptimConfig(lr=1e-6)
    await run.begin_stage(Stage.grpo, optim, 20, None)
    assert learners.asked == [("load", Path("step/learner")), ("begin_stage", optim, 20, 0)]


async def test_a_finished_stage_that_is_given_more_steps_is_under_way_again(run: TrainingRun) -> None:
    finished = RunState(step=30, stage="grpo", stage_step=10, results={"foundation": {}, "grpo": {}}, stage_state={"ledger": 1})
    for _ in range(2):  # also when a lost learner brings it back there
        run, _ = restored(run, finished, grpo=700)
        assert set(run.state.results) == {"foundation"} and run.state.stage_step == 10 and run.state.stage_state == {"ledger": 1}
    run, _ = restored(run, finished)
    assert set(run.state.results) == {"foundation", "grpo"}, "asked for nothing more, it is finished"


async def test_a_checkpoint_of_version_0_1_is_continued(run: TrainingRun) -> None:
    state = asdict(RunState(step=4, stage="foundation", stage_step=4))
    del state["rows"]
    run, _ = restored(run, RunState())
    run.state.rows = "of now"
    run.restore(Checkpoint(4, Path("step"), state))
    assert run.state.step == 4 and run.state.rows == "of now", "from its next checkpoint on, its rows are known"


class LosingFleet:
    """Generators that miss the second version."""

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.losses = [2]

    async def version_lost(self) -> Any:
        if not self.losses:
            await asyncio.Event().wait()
        return SimpleNamespace(version=self.losses.pop())

    async def update_weights(self, manifest: Any) -> list[Any]:
        self.updates.append(manifest.version)
        return []


class Publishers(Learners):
    async def publish(self, version: int, *args: Any, **options: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(version=version, nbytes=8)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_version_whose_bytes_are_gone_is_published_again_under_a_number_that_is_no_steps(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    fleet, pool = LosingFleet(), run.pool
    monkeypatch.setattr(pool, "fleet", fleet)
    monkeypatch.setattr(pool, "learner", Publishers())
    monkeypatch.setattr(run, "probe_ids", (), raising=False)
    weights = SimpleNamespace(broadcasts=False, timeout_s=1.0, transport="store")
    monkeypatch.setattr(run.config, "pool", SimpleNamespace(weights=weights), raising=False)
    monkeypatch.setattr(run.config, "generator", SimpleNamespace(tensor_parallel=1), raising=False)
    run.state.version = 2
    if not lost:
        fleet.losses = []
    renumbered: list[int] = []
    monkeypatch.setattr(run.control, "grpo", SimpleNamespace(buffer=SimpleNamespace(republished=renumbered.append)))
    watching = asyncio.create_task(run.keep_published())
    for _ in range(20):
        await asyncio.sleep(0)
    watching.cancel()
    told: Any = run.display
    if lost:
        assert fleet.updates == renumbered == [3] and run.state.version == 3
        assert "version 2 of the weights was lost" in told.notes[0]
    else:
        assert not fleet.updates and not renumbered and not told.notes


async def test_a_learner_that_was_lost_with_the_version_does_not_end_the_loop(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    learners = Publishers()
    learners.failure = LearnerLost("its node died")
    fleet = LosingFleet()
    monkeypatch.setattr(run.pool, "fleet", fleet)
    monkeypatch.setattr(run.pool, "learner", learners)
    monkeypatch.setattr(run, "probe_ids", (), raising=False)
    weights = SimpleNamespace(broadcasts=False, timeout_s=1.0, transport="store")
    monkeypatch.setattr(run.config, "pool", SimpleNamespace(weights=weights), raising=False)
    monkeypatch.setattr(run.config, "generator", SimpleNamespace(tensor_parallel=1), raising=False)
    watching = asyncio.create_task(run.keep_published())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not watching.done() and not fleet.updates
    watching.cancel()
