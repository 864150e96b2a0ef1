"""A lost learner: what is tried again, for how long, and what ends the run."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from actors.failures import LearnerLost
from actors.learner_group import LearnerGroup
from chemr import learner_recovery
from chemr.checkpoints import Checkpoint
from chemr.learner_recovery import LOSS_WINDOW_S, LearnerGivenUp, LearnerLosses, go_back, restart_learner, survives
from chemr.run_stopped import RunStopped

WEEK = 7 * 24 * 3600.0


class Time:
    """The clock and its sleeps, at no cost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr(learner_recovery, "monotonic", lambda: self.now)
        monkeypatch.setattr(learner_recovery.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


class Learners:
    """Restarts as told: one failure after the other, then well. Each try takes ``seconds``."""

    def __init__(self, time: Time, *failures: Exception, seconds: float = 0.0, publishing: tuple[Exception, ...] = ()) -> None:
        self._time, self._failures, self._seconds, self._publishing = time, list(failures), seconds, list(publishing)
        self.restarted_from: list[Path | None] = []

    async def restart(self, checkpoint: Path | None) -> None:
        self.restarted_from.append(checkpoint)
        self._time.now += self._seconds
        if self._failures:
            raise self._failures.pop(0)

    async def set_threads(self, threads: int) -> None:
        pass

    async def publish(self) -> str:
        if self._publishing:
            raise self._publishing.pop(0)
        return "manifest"


def a_run(learners: Any, step: int | None = 7, patience_s: float = 1800.0) -> Any:
    notes: list[str] = []
    kept = SimpleNamespace(step=step)

    def newest() -> tuple[Checkpoint | None, list[str]]:
        return (None if kept.step is None else Checkpoint(kept.step, Path(f"step-{kept.step}"), {"stage_step": kept.step})), []

    async def update_fleet(manifest: Any) -> None:
        pass

    return SimpleNamespace(
        learner_losses=LearnerLosses(),
        config=SimpleNamespace(
            pool=SimpleNamespace(timing=SimpleNamespace(fleet_wait_s=patience_s)),
            grpo=SimpleNamespace(off_policy_steps=1, learner_threads=1),
            learner=SimpleNamespace(threads=1),
        ),
        directory=SimpleNamespace(checkpoints=SimpleNamespace(newest=newest)),
        display=SimpleNamespace(note=notes.append),
        notes=notes,
        kept=kept,
        state=SimpleNamespace(step=step or 0, stage="grpo", stage_step=7, version=9),
        restore=lambda checkpoint: None,
        restore_from=None,
        learners=learners,
        publish_version=learners.publish,
        update_fleet=update_fleet,
        clock=SimpleNamespace(finish_step=dict),
    )


LOST = LearnerLost("a node was lost")


@pytest.mark.parametrize(
    "failure",
    [
        LearnerLost("starting failed on rank 1: DeadlineExceededError"),
        ray.exceptions.ActorDiedError(),
        ray.exceptions.RuntimeEnvSetupError("agent timed out"),
        OSError(errno.ESTALE, "Stale file handle"),
        ray.exceptions.RayTaskError("load", "trace", OSError(errno.EIO, "Input/output error")).as_instanceof_cause(),
        TimeoutError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_what_the_cluster_does_not_give_at_once_is_tried_again_and_said(time: Time, failure: Exception) -> None:
    run = a_run(Learners(time, failure, failure, failure))
    checkpoint = await restart_learner(run, LOST)
    assert checkpoint is not None and checkpoint.step == 7
    assert run.learners.restarted_from == [Path("step-7/learner")] * 4
    assert time.slept == [1.0, 2.0, 4.0], "with a back-off"
    assert len([note for note in run.notes if "still without a learner" in note and "fleet_wait_s" in note]) == 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
async def test_a_checkpoint_that_storage_does_not_give_at_once_is_tried_again(time: Time, number: int) -> None:
    run, failures = a_run(Learners(time)), [OSError(number, os.strerror(number))] * 3
    newest = run.directory.checkpoints.newest

    def slow() -> Any:
        if failures:
            raise failures.pop()
        return newest()

    run.directory.checkpoints.newest = slow
    assert (await restart_learner(run, LOST)).step == 7  # type: ignore[union-attr]
    assert time.slept == [1.0, 2.0, 4.0] and "still without the checkpoints" in run.notes[0] and os.strerror(number) in run.notes[0]
    failures += [OSError(number, os.strerror(number))] * 99
    with pytest.raises(LearnerGivenUp, match=r"storage gave no checkpoint within .*fleet_wait_s=1800.*run.resume=auto"):
        await go_back(run, Books(), LOST)  # type: ignore[arg-type]


async def test_a_node_that_takes_twenty_minutes_to_come_ends_no_run(time: Time) -> None:
    late = LearnerLost("starting failed on rank 0: starting on learner rank 0 did not answer within 300.0 s")
    run = a_run(Learners(time, late, late, late, late, seconds=300.0))
    await restart_learner(run, LOST)
    assert run.learner_losses.add(time.now, 7) == 2, "it was one loss"


async def test_patience_ends_with_what_was_wrong_and_what_to_do(time: Time) -> None:
    late = LearnerLost("starting failed on rank 0: nobody came")
    run = a_run(Learners(time, *[late] * 99, seconds=300.0))
    with pytest.raises(LearnerGivenUp, match=r"no learner came up within 18\d\d s .*fleet_wait_s=1800.*run.resume=auto.*nobody came"):
        await restart_learner(run, LOST)
    assert issubclass(LearnerGivenUp, RunStopped), "one line for a person, no traceback"


async def test_a_bug_while_it_restarts_is_raised_at_once(time: Time) -> None:
    run = a_run(Learners(time, KeyError("typo")))
    with pytest.raises(KeyError, match="typo"):
        await restart_learner(run, LOST)
    assert len(run.learners.restarted_from) == 1


async def test_losses_that_are_weeks_apart_never_end_a_run(time: Time) -> None:
    run = a_run(Learners(time))
    for _ in range(30):
        time.now += WEEK
        await restart_learner(run, LOST)


async def test_losses_with_a_newer_checkpoint_in_between_never_end_a_run(time: Time) -> None:
    run = a_run(Learners(time))
    for step in range(7, 60):
        run.kept.step = step
        time.now += 60.0
        await restart_learner(run, LOST)
    assert time.slept == [], "and none waits"


async def test_a_learner_that_is_lost_again_and_again_at_the_same_place_ends_the_run(time: Time) -> None:
    run = a_run(Learners(time))
    for _ in range(5):
        await restart_learner(run, LOST)
    assert time.slept == [1.0, 2.0, 4.0, 8.0], "each wait is longer than the one before"
    with pytest.raises(LearnerGivenUp, match=r"6 times without a newer checkpoint.*a node was lost"):
        await restart_learner(run, LOST)


def test_losses_are_counted_within_a_window_and_since_the_newest_checkpoint() -> None:
    losses = LearnerLosses()
    assert [losses.add(now, 4) for now in (0.0, 10.0, 20.0)] == [1, 2, 3]
    assert losses.add(LOSS_WINDOW_S + 15.0, 4) == 2, "the first two are forgotten"
    assert losses.add(LOSS_WINDOW_S + 16.0, 8) == 1, "there was progress"
    assert losses.add(LOSS_WINDOW_S + 17.0, 4) == 2, "an older checkpoint is none"


async def test_before_the_first_checkpoint_the_run_begins_again(time: Time) -> None:
    run = a_run(Learners(time), step=None)
    assert await restart_learner(run, LOST) is None
    assert run.learners.restarted_from == [None] and run.state.stage == "", "the stage begins anew"
    run.state.step = 3
    with pytest.raises(LearnerGivenUp, match="no checkpoint to go back to"):
        await restart_learner(run, LOST)


class Books:
    """GRPO's state: remembers what was undone."""

    def __init__(self) -> None:
        self.undone: list[int] = []

    def can_undo(self, kept: Any) -> bool:
        return True

    def undo(self, kept: Any, version: int) -> tuple[int, int]:
        self.undone.append(version)
        return 2, 3


async def test_a_learner_that_is_lost_while_it_publishes_after_a_restart_is_restarted_again(time: Time) -> None:
    run, books = a_run(Learners(time, publishing=(LearnerLost("publish failed"), LearnerLost("publish failed")))), Books()
    await go_back(run, books, LOST)  # type: ignore[arg-type]
    assert len(run.learners.restarted_from) == 3
    assert books.undone == [9], "the books go back once"


async def test_a_learner_that_never_gets_to_publish_ends_the_run(time: Time) -> None:
    run, books = a_run(Learners(time, publishing=(LearnerLost("publish failed"),) * 99)), Books()
    with pytest.raises(LearnerGivenUp, match=r"6 times without a newer checkpoint.*publish failed"):
        await go_back(run, books, LOST)  # type: ignore[arg-type]
    assert not books.undone


async def test_work_is_done_again_after_a_loss_but_not_after_the_run_gave_up(time: Time) -> None:
    run = a_run(Learners(time))
    ends: list[Exception | None] = [LOST, None, LearnerGivenUp("no")]

    async def work() -> None:
        if (end := ends.pop(0)) is not None:
            raise end

    assert [await survives(run, work), await survives(run, work)] == [False, True]
    with pytest.raises(LearnerGivenUp):
        await survives(run, work)
    assert len(run.learners.restarted_from) == 1


@pytest.mark.parametrize("what", ["pending", "dead"])
async def test_ranks_that_do_not_come_up_are_tried_again(time: Time, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The whole way: actors whose node is gone, or that die while they come up, twice."""
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: None)
    spawned: list[int] = []

    async def answer(method: str) -> Any:
        if len(spawned) <= 4 and method == "pid":
            if what == "pending":
                await asyncio.get_running_loop().create_future()
            raise ray.exceptions.ActorDiedError()
        return {"pid": 1, "meeting_place": ("host", 1)}.get(method)

    class Rank:
        def __getattr__(self, method: str) -> Any:
            return SimpleNamespace(remote=lambda *args: answer(method))

    def spawn(rank: int) -> Rank:
        spawned.append(rank)
        return Rank()

    actors: Any = SimpleNamespace(ranks=2, start_timeout_s=0.2, step_timeout_s=5.0, config=None)
    run = a_run(LearnerGroup(spawn, actors))
    await restart_learner(run, LOST)
    assert len(spawned) == 6, "two ranks, three tries"
