"""What a run does when its checkpoint cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chemr.checkpoints import CheckpointStore
from chemr.training_run import RunState, TrainingRun


class Learners:
    """Saves a file, or fails as told."""

    failure: Exception | None = None

    async def save(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "weights.bin").write_text("weights")
        if self.failure is not None:
            raise self.failure


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
    directory: Any = SimpleNamespace(path=tmp_path, checkpoints=CheckpointStore(tmp_path / "checkpoints"))
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


async def test_any_other_failure_stops_the_run(run: TrainingRun, learners: Learners) -> None:
    learners.failure = PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(PermissionError):
        await run.checkpoint()
