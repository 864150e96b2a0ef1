"""`chemr export`: a run's newest checkpoint as a model folder, also while or after the run was cut short."""

from __future__ import annotations

from pathlib import Path

from actors.pool import ActorPool
from chemr.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from chemr.config import ChemrConfig, ConfigError, pool_config
from chemr.export import export_model
from chemr.model_card import model_card, read_card_facts
from chemr.tokenization import ChatTokenizer


async def export_checkpoint(config: ChemrConfig, target: Path) -> Path:
    """Load the newest whole checkpoint of ``config.run`` and write it to ``target``.

    Raises:
        ConfigError: ``target`` exists, or the run has no checkpoints.
        CheckpointError: none of its checkpoints is whole.
    """
    if target.exists():
        raise ConfigError(f"--to {target} exists already; name a folder that does not")
    directory = config.run.path / "checkpoints"
    if not directory.is_dir():
        raise ConfigError(f"{config.run.path} holds no checkpoints; name a run with run.name=...")
    checkpoint, complaints = CheckpointStore(directory).peek()
    if checkpoint is None:
        raise CheckpointError("\n".join([f"no usable checkpoint in {directory}", *complaints]))
    policy = Path(config.policy.path) if config.policy.path else config.run.path / "initial-model"
    card = model_card(read_card_facts(config.run.path, config, checkpoint.state["results"], _which(checkpoint)))
    config.pool.generators = 0
    pool = ActorPool(pool_config(config, policy, config.run.path))
    assert pool.learner is not None, "an exporting pool has learners"
    try:
        await pool.start(policy.resolve())
        await pool.learner.load(checkpoint.learner)
        return await export_model(pool.learner, ChatTokenizer.load(policy), target, card, config.eval.max_new_tokens)
    finally:
        await pool.close()


def _which(checkpoint: Checkpoint) -> str:
    state = checkpoint.state
    if state["stage"] in state["results"]:
        return f"after stage {state['stage']} (checkpoint of step {checkpoint.step})"
    return (
        f"in the middle of stage {state['stage']}, after {state['stage_step']} of its steps (checkpoint of step {checkpoint.step}): these "
        "weights were not evaluated, and the scores below are those of earlier ones"
    )
