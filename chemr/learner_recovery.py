"""A lost learner: back to the newest checkpoint with a new learner group. Generators and reward workers stay as they are.

In GRPO the rollouts go on meanwhile, and finished groups wait for the new learner. Only at S = 0, where every group must come from the
newest weights, does the stage begin again from its checkpoint as a whole, as after the loss of the driver.

Two limits, since losses are of two kinds. A learner that does not come up (its node is gone, its port is taken, its file server is slow),
or a checkpoint that storage does not give just now, is tried again for as long as the run waits for members of the fleet,
``pool.timing.fleet_wait_s``. A learner that comes up and is lost again and again, without a newer checkpoint in between, ends the run:
something kills it that another try does not cure.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from actors.clock import monotonic
from actors.failures import FailureKind, LearnerLost, RetryPolicy, classify
from chemr.checkpoints import Checkpoint
from chemr.config import Stage
from chemr.run_stopped import RunStopped

if TYPE_CHECKING:
    from chemr.stages.grpo_state import GrpoState
    from chemr.training_run import TrainingRun

T = TypeVar("T")

LOSSES_WITHOUT_PROGRESS = 5  # more than that within the window is not bad luck
LOSS_WINDOW_S = 24 * 3600.0
BETWEEN_TRIES = RetryPolicy(tries=0, backoff_s=1.0, backoff_max_s=60.0)  # as many as the patience allows


class LearnerGivenUp(RunStopped, LearnerLost):
    """The run cannot have its learner back."""


class LearnerLosses:
    """How often the learner was lost lately with nothing gained in between."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()  # since the newest checkpoint
        self._step = -1  # of that checkpoint

    def add(self, now: float, checkpoint_step: int) -> int:
        """Counts a loss at ``now`` (seconds, monotonic) after which the run goes back to ``checkpoint_step``. Returns the losses within
        LOSS_WINDOW_S, this one included, that went back to no later one."""
        if checkpoint_step > self._step:
            self._times.clear()
            self._step = checkpoint_step
        while self._times and now - self._times[0] > LOSS_WINDOW_S:
            self._times.popleft()
        self._times.append(now)
        return len(self._times)


async def survives(run: TrainingRun, work: Callable[[], Awaitable[None]]) -> bool:
    """Whether ``work`` came to its end; if the learner was lost on the way, it has been restarted and ``work`` is to be done again."""
    try:
        await work()
    except LearnerGivenUp:
        raise
    except LearnerLost as loss:
        await restart_learner(run, loss)
        return False
    return True


async def restart_learner(run: TrainingRun, loss: LearnerLost) -> Checkpoint | None:
    """Restart the learner group from the newest checkpoint, or from the model of the beginning (None) while nothing has been trained; the
    run's state goes back with it.

    Raises:
        LearnerGivenUp: there is no checkpoint to go back to, the learner is lost too often, or none came up in time.
        Exception: a bug, or a checkpoint that cannot be loaded, as it is.
    """
    checkpoint, complaints = await _newest(run)
    if checkpoint is None and run.state.step > 0:
        raise LearnerGivenUp(f"there is no checkpoint to go back to, so the run cannot go on: {loss}") from loss
    times = run.learner_losses.add(monotonic(), 0 if checkpoint is None else checkpoint.step)
    if times > LOSSES_WITHOUT_PROGRESS:
        raise LearnerGivenUp(
            f"the learner was lost {times} times without a newer checkpoint in between, so that another try would hardly help; continue "
            f"with run.resume=auto once the cause is found. The last time: {loss}"
        ) from loss
    where = "the beginning" if checkpoint is None else f"step {checkpoint.step}"
    for line in (f"learner lost ({loss}); restarting it from {where}", *complaints):
        run.display.note(line)
    if checkpoint is None:
        run.state.stage = ""  # the stage begins anew
    else:
        run.restore(checkpoint)
    if times > 1:
        await asyncio.sleep(BETWEEN_TRIES.delay_s(times - 1))
    await _bring_up(run, checkpoint)
    return checkpoint


async def _newest(run: TrainingRun) -> tuple[Checkpoint | None, list[str]]:
    """As CheckpointStore.newest; storage that does not answer is asked again."""
    newest = run.directory.checkpoints.newest
    return await _patiently(run, lambda: asyncio.to_thread(newest), "the checkpoints", "storage gave no checkpoint")


async def _bring_up(run: TrainingRun, checkpoint: Checkpoint | None) -> None:
    folder = None if checkpoint is None else checkpoint.learner
    await _patiently(run, lambda: run.learners.restart(folder), "a learner", "no learner came up")


async def _patiently(run: TrainingRun, attempt: Callable[[], Awaitable[T]], missing: str, failed: str) -> T:
    """Tries again what the cluster does not give at once, and says so each time, for as long as the fleet's members are waited for."""
    patience_s, since, tries = run.config.pool.timing.fleet_wait_s, monotonic(), 0
    while True:
        tries += 1
        try:
            return await attempt()
        except Exception as error:  # a bug is raised as it is
            if classify(error) is not FailureKind.INFRASTRUCTURE:
                raise
            delay_s, waited_s = BETWEEN_TRIES.delay_s(tries), monotonic() - since
            if waited_s + delay_s > patience_s:
                raise LearnerGivenUp(
                    f"{failed} within {waited_s:.0f} s ({tries} tries; pool.timing.fleet_wait_s={patience_s:g}); continue with "
                    f"run.resume=auto when the cluster has it again. The last try: {error}"
                ) from error
            run.display.note(
                f"still without {missing}, after {waited_s:.0f} s ({error}); try {tries + 1} in {delay_s:.0f} s, the run ends when "
                f"that lasts {patience_s:.0f} s (pool.timing.fleet_wait_s)"
            )
        await asyncio.sleep(delay_s)


async def go_back(run: TrainingRun, state: GrpoState, loss: LearnerLost) -> None:
    """Continue GRPO's steps from the newest checkpoint under the running rollouts; a learner lost again on the way is restarted again.

    Raises:
        LearnerLost: ``loss``, when the stage has to begin again from the checkpoint as a whole.
        LearnerGivenUp: as :func:`restart_learner`.
    """
    while True:
        checkpoint, _ = await _newest(run)
        if checkpoint is None or run.config.grpo.off_policy_steps == 0 or not state.can_undo(checkpoint.state):
            raise loss
        checkpoint = await restart_learner(run, loss)
        assert checkpoint is not None, "it was there a moment ago"
        run.restore_from = None  # the learner has loaded it
        try:
            await run.learners.set_threads(run.config.grpo.learner_threads or run.config.learner.threads)
            manifest = await run.publish_version()
        except LearnerLost as again:
            loss = again
        else:
            break
    back, again_asked = state.undo(checkpoint.state, run.state.version)
    await run.update_fleet(manifest)
    run.display.note(
        f"{Stage.grpo}: continuing after step {run.state.stage_step}; {back} finished groups were kept, {again_asked} prompts whose "
        "training was lost are asked again"
    )
    run.clock.finish_step()
