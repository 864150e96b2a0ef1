"""What a run that goes on may be told otherwise than before, and what it may not.

Every field of the configuration is compared with what the run was last started with. A field is either applied from the resume on, or
refused since the run would not be one any more (its rows, its model, a stage that is over). Both are said, with the old and the new value;
nothing is kept in silence. :data:`KINDS` says which field is which; one that it does not know is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from chemr.config import ChemrConfig, ConfigError, Stage, field_names, mapping_fields
from chemr.data.task_data import TaskData
from chemr.finished_run import differing_fields, leaves, stored_config


class Kind(Enum):
    """When a field may be changed."""

    always = "what is made of it is made anew at every start"
    identity = "never: it is what the run is"
    until_over = "of a stage: until it is over"
    until_begun = "of a stage: until it begins, since its steps so far depend on it"
    cadence = "of a stage: always, it changes nothing that is learnt"
    order = "stages that have begun stay, in their order"


# Of a field, or of all fields below a section; the longest name counts.
KINDS: Mapping[str, Kind] = {
    "precision": Kind.always,
    "stages": Kind.order,
    "run.name": Kind.always,  # a folder may have been moved
    "run.root": Kind.always,
    "run.resume": Kind.always,
    "run.keep_checkpoints": Kind.always,
    "run.lock_wait_s": Kind.always,
    "run.keep_stage_models": Kind.always,
    "run.seed": Kind.identity,
    "run.start_from": Kind.identity,
    "policy": Kind.identity,
    "data": Kind.identity,
    "data.cache_dir": Kind.always,  # places: the rows themselves are compared, too
    "data.dir": Kind.always,
    "data.strict": Kind.always,
    "pool": Kind.always,
    "generator": Kind.always,
    "rewards": Kind.always,
    # A checkpoint fits every layout and number format, but only one set of trained parameters.
    **{
        f"learner.{name}": Kind.always
        for name in (
            *("dtype", "device", "zero_stage", "offload_optimizer", "offload_parameters", "sequence_parallel", "tensor_parallel"),
            *("micro_batch_tokens", "threads", "gradient_dtype", "gradient_checkpointing", "compile", "logprob_buffer_mb", "head_fp32"),
        )
    },
    **{f"learner.{name}": Kind.identity for name in ("lora_rank", "lora_alpha", "lora_targets")},
    **{
        f"{stage}.{name}": kind
        for stage in (Stage.foundation, Stage.distill)
        for name, kind in {
            "steps": Kind.until_over,
            "optim": Kind.until_over,
            "documents_per_step": Kind.until_begun,  # which rows are done follows from it
            "learner_threads": Kind.cadence,
            "eval_every": Kind.cadence,
            "checkpoint_every": Kind.cadence,
        }.items()
    },
    **{f"distill.{name}": Kind.until_begun for name in ("traces_per_task", "verify_at", "traces")},  # the rows that it trains on
    # What is in flight is asked again after a resume, under the settings of then.
    **{
        f"grpo.{name}": Kind.until_over
        for name in (
            *("steps", "optim", "algo", "shaping", "harvest", "curriculum"),
            *("groups_per_step", "samples_per_group", "off_policy_steps", "window_fraction", "max_new_tokens"),
        )
    },
    **{
        f"grpo.{name}": Kind.cadence
        for name in (
            *("learner_threads", "eval_every", "checkpoint_every", "sample_every"),
            *("max_barren_groups", "mismatch_warn", "mismatch_stop", "formless_stop"),
        )
    },
    "eval": Kind.always,
    "tracking": Kind.always,
    "control": Kind.always,
    "mining": Kind.always,  # of other commands
}
UNSAID = ("run.resume", "run.name", "run.root")  # applied; to say that the run is resumed, and where it is, tells nobody anything


def kind_of(name: str) -> Kind | None:
    """None for a field that :data:`KINDS` does not know."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((KINDS[prefix] for prefix in prefixes if prefix in KINDS), None)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: optimiser steps over all stages.
        stage: the stage that was begun last, empty before the first.
        stage_step: its steps.
        finished: stages that are over, in their order.
    """

    step: int = 0
    stage: str = ""
    stage_step: int = 0
    finished: tuple[str, ...] = ()

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """``state``: the driver's part of a checkpoint."""
        return cls(int(state["step"]), str(state["stage"]), int(state["stage_step"]), tuple(state["results"]))

    @property
    def begun(self) -> tuple[str, ...]:
        return self.finished if not self.stage or self.stage in self.finished else (*self.finished, self.stage)

    def asked_to_go_further(self, steps: int) -> bool:
        """Whether the stage that was begun last is over, but not if it is to have ``steps`` steps."""
        return self.stage in self.finished and self.stage_step < steps


def goes_further(state: Mapping[str, Any], config: ChemrConfig) -> bool:
    """Whether the newest stage of a checkpoint's ``state`` is over, and ``config`` gives it more steps than it has made."""
    progress = Progress.of(state)
    return progress.stage in config.stages and progress.asked_to_go_further(getattr(config, progress.stage).steps)


def rows_digest(data: TaskData) -> str:
    """SHA-256 of the training rows' names in their order: every stage counts on them by their places."""
    return hashlib.sha256("\n".join(f"{row.task} {row.uid}" for row in data.train).encode()).hexdigest()


def require_same_rows(state: Mapping[str, Any], rows: str) -> None:
    """Raises ConfigError when the run has trained on other rows; ``rows``: :func:`rows_digest` of now. Earlier versions kept none."""
    if state.get("rows") and state["rows"] != rows:
        raise ConfigError(
            "the training rows are not those that this run has trained on so far, although data.* is the same: the files in data.dir or "
            "the cache have changed, or a length that leaves rows out (generator.max_model_len, grpo.max_new_tokens, eval.max_new_tokens). "
            "Restore them, or start another run (run.name=...)"
        )


def resume_changes(directory: Path, state: Mapping[str, Any], resolved: str) -> list[str]:
    """Lines for people: what is otherwise from now on than in the run that ``directory`` holds.

    Args:
        state: the driver's part of the checkpoint that is continued.
        resolved: the configuration of now, as YAML.

    Raises:
        ConfigError: a change is refused; the message names all that are, with both values.
    """
    stored = stored_config(directory)
    if stored is None:  # the first start: nothing was promised yet
        return []
    return compare(stored, yaml.safe_load(resolved), Progress.of(state))


def begins_otherwise(directory: Path, resolved: str) -> bool:
    """Of a run that has no checkpoint, and so begins again: whether what it is has changed since it was started last."""
    stored = stored_config(directory)
    differing = [] if stored is None else differing_fields(stored, yaml.safe_load(resolved), mapping_fields())
    return any(kind_of(name) is Kind.identity for name, _, _ in differing)


def compare(stored: Mapping[str, Any], wanted: Mapping[str, Any], progress: Progress) -> list[str]:
    """See :func:`resume_changes`."""
    old, new = (leaves(config, mapping_fields()) for config in (stored, wanted))
    steps = int(new[f"{progress.stage}.steps"]) if progress.stage else 0
    if progress.asked_to_go_further(steps):  # it is under way again
        progress = Progress(progress.step, progress.stage, progress.stage_step, progress.finished[:-1])
    refused, applied = [], []
    for name in sorted(old.keys() & new.keys()):
        if old[name] == new[name]:
            continue
        change = f"{name}={shown(new[name])} (it was {shown(old[name])})"
        if why := refusal(name, old[name], new[name], progress):
            refused.append(f"{change}: {why}")
        elif name not in UNSAID:
            over = kind_of(name) is Kind.cadence and name.split(".")[0] in progress.finished
            applied.append(f"{change}, without effect: the stage is over" if over else f"{change} from step {progress.step} on")
    if refused:
        raise ConfigError(
            f"a run that goes on cannot be told otherwise: {'; '.join(refused)}. Set it as it was, or start another run (run.name=...)"
        )
    return applied + list(_of_another_version(old, new))


def refusal(name: str, old: Any, new: Any, progress: Progress) -> str:
    """Why a field of a run that has come so far cannot be changed; empty when it can."""
    kind, section = kind_of(name), name.split(".")[0]
    match kind:
        case Kind.always | Kind.cadence:
            return ""
        case Kind.identity:
            return "what was trained so far depends on it"
        case Kind.order:
            begun = list(progress.begun)
            return "" if list(new)[: len(begun)] == begun else f"the run has begun {', '.join(begun)}"
        case Kind.until_over | Kind.until_begun:
            if section in progress.finished and not (name == f"{section}.steps" and section == progress.stage):
                return f"stage {section} is over"
            if section not in progress.begun:
                return ""
            if kind is Kind.until_begun:
                return f"stage {section} is under way, and which rows it has trained on follows from it"
            if name == f"{section}.steps" and new < progress.stage_step:
                return f"stage {section} has made {progress.stage_step} steps"
            return ""
        case None:
            return "nobody has said what a change of it would mean"


def _of_another_version(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Fields that only one of two versions of chemr has."""
    defaults = leaves(_default(), mapping_fields())
    for name in sorted(new.keys() - old.keys()):
        if new[name] != defaults.get(name):
            yield f"{name}={shown(new[name])}: the version of chemr that began this run did not have it"
    for name in sorted(old.keys() - new.keys()):
        yield f"{name}={shown(old[name])} is not used any more: this version of chemr does not have it"


def _default() -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    content: Mapping[str, Any] = yaml.safe_load(OmegaConf.to_yaml(OmegaConf.structured(ChemrConfig)))
    return content


def unclassified(names: Sequence[str] | None = None) -> list[str]:
    """Fields (of the whole configuration, unless ``names`` are given) that :data:`KINDS` does not know."""
    return [name for name in (field_names() if names is None else names) if kind_of(name) is None]


def shown(value: Any) -> str:
    """A value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value)
