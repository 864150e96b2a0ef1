"""A lost learner: back to the newest checkpoint with a new learner group. Generators and reward workers stay as they are.

In GRPO the rollouts go on meanwhile, and finished groups wait for the new learner. Only at S = 0, where every group must come from the
newest weights, does the stage begin again from its checkpoint as a whole, as after the loss of the driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from actors.failures import LearnerLost
from chemr.checkpoints import Checkpoint
from chemr.config import Stage

if TYPE_CHECKING:
    from chemr.stages.grpo_state import GrpoState
    from chemr.training_run import TrainingRun

MAX_LEARNER_LOSSES = 5  # in one stage; more than that is not bad luck


async def survives(run: TrainingRun, work: Callable[[], Awaitable[None]]) -> bool:
    """Whether ``work`` came to its end; if the learner was lost on the way, it has been restarted and ``work`` is to be done again."""
    try:
        await work()
    except LearnerLost as loss:
        await restart_learner(run, loss)
        return False
    return True


async def restart_learner(run: TrainingRun, loss: LearnerLost) -> Checkpoint:
    """Restart the learner group from the newest checkpoint, again if it is lost while it starts; the run's state goes back with it.

    Raises:
        LearnerLost: ``loss``, when there is no checkpoint or the stage has lost its learner more than MAX_LEARNER_LOSSES times.
    """
    while True:
        run.learner_losses += 1
        checkpoint, complaints = run.directory.checkpoints.newest()
        if checkpoint is None or run.learner_losses > MAX_LEARNER_LOSSES:
            raise loss
        for line in (f"learner lost ({loss}); restarting it from step {checkpoint.step}", *complaints):
            run.display.note(line)
        run.restore(checkpoint)
        try:
            await run.learners.restart(checkpoint.learner)
        except LearnerLost as again:
            loss = again
        else:
            return checkpoint


async def go_back(run: TrainingRun, state: GrpoState, loss: LearnerLost) -> None:
    """Continue GRPO's steps from the newest checkpoint under the running rollouts.

    Raises:
        LearnerLost: ``loss``, when the stage has to begin again from the checkpoint as a whole, or cannot go on.
    """
    checkpoint, _ = run.directory.checkpoints.newest()
    if checkpoint is None or run.config.grpo.off_policy_steps == 0 or not state.can_undo(checkpoint.state):
        raise loss
    checkpoint = await restart_learner(run, loss)
    run.restore_from = None  # the learner has loaded it
    await run.learners.set_threads(run.config.grpo.learner_threads or run.config.learner.threads)
    manifest = await run.publish_version()
    back, again = state.undo(checkpoint.state, run.state.version)
    await run.update_fleet(manifest)
    run.display.note(
        f"{Stage.grpo}: continuing after step {run.state.stage_step}; {back} finished groups were kept, {again} prompts whose training was "
        "lost are asked again"
    )
    run.clock.finish_step()
