"""What types cannot express: ranges of values and relations between fields, checked before anything is started."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from actors.pool_config import GeneratorActors
from chemr.config import ChemrConfig, ConfigError, Precision, Stage
from chemr.data.reserve import split_reserve
from chemr.data.task_data import TaskData
from chemr.nearest_name import did_you_mean
from chemr.reward_shaping import Mix
from chemr.tasks import TASKS
from learner.config import Advantage, Dtype
from rewards.opsin import OpsinMode

ENGINE_DTYPES = {Dtype.fp32: "float32", Dtype.bf16: "bfloat16"}  # vLLM's names of the learner's
MATCHED_STOP = {Dtype.fp32: 1e-3, Dtype.bf16: 0.1}  # nats: what rounding in other kernels can explain, with room
OPSIN_MODES = tuple(mode.value for mode in OpsinMode)


def validate(config: ChemrConfig, *, files_here: bool = True, own_policy: bool = True) -> None:
    """Ranges and relations that types cannot express.

    Args:
        files_here: also whether the files that are named exist.
        own_policy: the model is that of ``policy``; False for a command that is given another one.

    Raises:
        ConfigError: naming the field, the value and the remedy.
    """
    try:
        for part in (
            config.policy.scratch,
            config.learner,
            config.generator,
            config.eval,
            config.data.starter,
            config.data.published,
            config.tracking,
            config.control,
            config.mining,
            config.pool.timing,
        ):
            part.validate()
        config.pool.weights.validate(config.pool.timing.pull_s)
        for stage in (config.foundation, config.distill, config.grpo):
            stage.optim.validate()
        config.grpo.algo.validate()
        config.grpo.curriculum.validate()
        config.grpo.shaping.validate()
        config.grpo.harvest.validate()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for rule in (
        _check_stages,
        _check_run_name,
        _check_tasks,
        _check_curriculum,
        _check_sizes,
        _check_shaping,
        _check_traces_stage,
        _check_pool,
        _check_lengths,
        _check_precision,
    ):
        rule(config)
    if own_policy:
        _check_scratch(config)
    if files_here:
        for complaint in config.tracking.missing():
            raise ConfigError(complaint)
        _check_model_folder(config)
        _check_traces_file(config)


def check_curriculum_tasks(config: ChemrConfig, data: TaskData) -> None:
    """Whether the curriculum names tasks that GRPO has rows of: what is wrong with it shows before the stages before GRPO are run.

    Raises:
        ConfigError: see ``CurriculumConfig.check_tasks``.
    """
    if Stage.grpo in config.stages:
        _fits(config, {example.task for example in split_reserve(data.train, config.data.grpo_share)[1]})


def _check_run_name(config: ChemrConfig) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", config.run.name):
        raise ConfigError(f"run.name={config.run.name!r} must be 1-64 letters, digits, '.', '_' or '-': it names a directory and a W&B run")


def _check_model_folder(config: ChemrConfig) -> None:
    if config.policy.path is not None and not (Path(config.policy.path) / "config.json").is_file():
        raise ConfigError(
            f"policy.path={config.policy.path} is not a Hugging Face model folder: it has no config.json; download one, e.g. "
            f"`hf download meta-llama/Llama-3.1-8B-Instruct --local-dir {config.policy.path}` (its licence has to be accepted there)"
        )


def _check_stages(config: ChemrConfig) -> None:
    if not config.stages or len(set(config.stages)) != len(config.stages):
        raise ConfigError(
            f"stages={[str(s) for s in config.stages]} must name each stage at most once and at least one of {[str(s) for s in Stage]}"
        )


def _check_tasks(config: ChemrConfig) -> None:
    for field, tasks in (("data.tasks", config.data.tasks), ("grpo.shaping.tasks", config.grpo.shaping.tasks)):
        _require_known(field, tasks)


def _require_known(field: str, tasks: Iterable[str]) -> None:
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"{field}: unknown task {task!r}; known tasks: {', '.join(sorted(TASKS))}{did_you_mean(task, TASKS)}")


def _check_curriculum(config: ChemrConfig) -> None:
    if Stage.grpo in config.stages:
        _fits(config, config.data.tasks or TASKS)


def _fits(config: ChemrConfig, tasks: Collection[str]) -> None:
    try:
        config.grpo.curriculum.check_tasks(tasks)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_sizes(config: ChemrConfig) -> None:
    positive = {
        "foundation": ("steps", "documents_per_step", "checkpoint_every"),
        "distill": ("steps", "documents_per_step", "checkpoint_every", "traces_per_task"),
        "grpo": ("steps", "groups_per_step", "checkpoint_every", "sample_every", "max_new_tokens"),
        "rewards": ("deadline_s", "memory_mb", "processes"),
        "pool": ("generators", "reward_workers", "learners", "learner_start_s", "learner_step_s"),
    }
    for section, names in positive.items():
        for name in names:
            value = getattr(getattr(config, section), name)
            if value <= 0:
                raise ConfigError(f"{section}.{name}={value} must be positive")
    grpo = config.grpo
    if grpo.samples_per_group < 2:
        raise ConfigError(f"grpo.samples_per_group={grpo.samples_per_group}: a group needs at least 2 samples to have a baseline")
    if grpo.max_barren_groups is not None and grpo.max_barren_groups < 0:
        raise ConfigError(f"grpo.max_barren_groups={grpo.max_barren_groups} is negative; use 0 for never, null for the default")
    if grpo.off_policy_steps < 0:
        raise ConfigError(f"grpo.off_policy_steps={grpo.off_policy_steps} must be 0 (synchronous) or more")
    if not 0.0 <= grpo.window_fraction <= 1.0:
        raise ConfigError(f"grpo.window_fraction={grpo.window_fraction} is outside [0, 1]; 0 consumes strictly in submission order")
    if not 0.0 < grpo.formless_stop <= 1.0:
        raise ConfigError(f"grpo.formless_stop={grpo.formless_stop} is outside (0, 1]; 1 asks nothing")
    if not 0.0 < grpo.mismatch_warn <= grpo.mismatch_stop:
        raise ConfigError(f"grpo.mismatch_warn={grpo.mismatch_warn} must be positive and at most grpo.mismatch_stop={grpo.mismatch_stop}")
    if not 0.0 <= config.data.grpo_share < 1.0:
        raise ConfigError(f"data.grpo_share={config.data.grpo_share} is outside [0, 1); supervised stages need rows too")
    if not 0.0 < config.distill.verify_at <= 1.0:
        raise ConfigError(f"distill.verify_at={config.distill.verify_at} is outside (0, 1]")
    if config.rewards.opsin not in OPSIN_MODES:
        raise ConfigError(f"rewards.opsin={config.rewards.opsin!r}: should be one of {', '.join(OPSIN_MODES)}")
    if not 0.0 <= config.rewards.grounding <= 1.0:
        raise ConfigError(f"rewards.grounding={config.rewards.grounding!r}: should be a weight between 0 (off) and 1")
    if config.rewards.memory_mb < 512:
        raise ConfigError(f"rewards.memory_mb={config.rewards.memory_mb}: RDKit alone needs about 300 MB of address space; use 512 or more")
    for section in ("foundation", "distill"):
        documents, ranks = getattr(config, section).documents_per_step, config.pool.learners
        if documents < ranks:
            raise ConfigError(f"{section}.documents_per_step={documents} is less than pool.learners={ranks}: every rank needs a document")
    if grpo.groups_per_step < config.pool.learners:
        raise ConfigError(
            f"grpo.groups_per_step={grpo.groups_per_step} is less than pool.learners={config.pool.learners}: every rank needs a group"
        )


def _check_shaping(config: ChemrConfig) -> None:
    """What reward shaping shares with other sections."""
    shaping, grpo = config.grpo.shaping, config.grpo
    if shaping.mix is Mix.gdpo and grpo.algo.advantage is not Advantage.mean_std:
        raise ConfigError(
            f"grpo.shaping.mix=gdpo does not go with grpo.algo.advantage={grpo.algo.advantage}: it divides every term by its standard "
            "deviation in the group; set grpo.algo.advantage=mean_std"
        )
    if shaping.length_margin is not None and shaping.length_margin > grpo.max_new_tokens:
        raise ConfigError(
            f"grpo.shaping.length_margin={shaping.length_margin} exceeds grpo.max_new_tokens={grpo.max_new_tokens}: it would begin "
            "before the first token"
        )
    if shaping.weighs("grounded") and config.rewards.grounding > 0.0:
        raise ConfigError(
            f"grpo.shaping weighs a grounded term while rewards.grounding={config.rewards.grounding} takes the same claims away from the "
            "value: they would count twice; set one of the two to 0 (the grounded term needs no rewards.grounding)"
        )


def _check_traces_stage(config: ChemrConfig) -> None:
    """distill.traces is read."""
    if config.distill.traces is not None and Stage.distill not in config.stages:
        raise ConfigError(
            f"distill.traces={config.distill.traces} has no effect: stages={[str(s) for s in config.stages]} has no distill; "
            "add it, or set null"
        )


def _check_traces_file(config: ChemrConfig) -> None:
    if config.distill.traces is not None and not Path(config.distill.traces).is_file():
        raise ConfigError(
            f"distill.traces={config.distill.traces} is not a file; `chemr protocols select` writes sft.jsonl, and a run with grpo.harvest "
            "writes harvest/grpo.jsonl"
        )


def _check_pool(config: ChemrConfig) -> None:
    if config.pool.nodes_wait_s < 0:
        raise ConfigError(f"pool.nodes_wait_s={config.pool.nodes_wait_s} must be 0 (no wait) or more seconds")
    if config.pool.address is None and (config.pool.role_labels or config.pool.nodes_wait_s):
        raise ConfigError(
            f"pool.role_labels={config.pool.role_labels} and pool.nodes_wait_s={config.pool.nodes_wait_s:g} need pool.address: a private "
            "cluster has one node, which is there and has no labels"
        )
    if not 0 <= config.pool.learner_nice <= 19:
        raise ConfigError(f"pool.learner_nice={config.pool.learner_nice}: should be from 0 (as all others) to 19 (after all others)")
    for name in ("sequence_parallel", "tensor_parallel"):
        together = getattr(config.learner, name)
        if config.pool.learners % together:
            raise ConfigError(
                f"learner.{name}={together} does not divide pool.learners={config.pool.learners}: every micro-batch is computed by "
                "that many of the ranks together"
            )
    try:
        GeneratorActors(gpus=config.pool.generator_gpus, engine=config.generator).validate()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if config.pool.weights.transport == "direct" and config.generator.device != config.learner.device:
        raise ConfigError(
            f"pool.weights.transport=direct does not go with learner.device={config.learner.device} and "
            f"generator.device={config.generator.device}: they have no memory of one kind; take store or collective"
        )


def _check_lengths(config: ChemrConfig) -> None:
    limit = config.generator.max_model_len
    for name, value in (("grpo.max_new_tokens", config.grpo.max_new_tokens), ("eval.max_new_tokens", config.eval.max_new_tokens)):
        if value >= limit:
            raise ConfigError(
                f"{name}={value} leaves no room for a prompt within generator.max_model_len={limit}; lower the one or raise the other"
            )


def _check_scratch(config: ChemrConfig) -> None:
    limit = config.generator.max_model_len
    if config.policy.path is None and limit > config.policy.scratch.max_position_embeddings:
        raise ConfigError(
            f"generator.max_model_len={limit} exceeds policy.scratch.max_position_embeddings="
            f"{config.policy.scratch.max_position_embeddings}; lower the one or raise the other"
        )


def _check_precision(config: ChemrConfig) -> None:
    """precision=match: both sides round alike, and a larger difference than that explains ends the run."""
    if config.precision is not Precision.match:
        return
    dtype = config.learner.dtype
    stop = MATCHED_STOP[dtype]
    for holds, found, remedy in (
        (
            config.generator.dtype == ENGINE_DTYPES[dtype],
            f"generator.dtype={config.generator.dtype}",
            f"generator.dtype={ENGINE_DTYPES[dtype]}",
        ),
        (not config.learner.head_fp32, "learner.head_fp32=true", "learner.head_fp32=false: the engine's head is in the model's format"),
        (not config.generator.keep_cache, "generator.keep_cache=true", "generator.keep_cache=false: it keeps keys of older weights"),
        (config.grpo.mismatch_stop <= stop, f"grpo.mismatch_stop={config.grpo.mismatch_stop}", f"grpo.mismatch_stop={stop:g} or less"),
    ):
        if not holds:
            raise ConfigError(f"precision=match with learner.dtype={dtype} does not go with {found}; set {remedy}")
