"""What a run's start asks of its folder, its machine, its model and its data: one function for `train`, `train --dry-run` and `doctor`.

Nothing is changed by asking. A start that goes wrong later than this, for a reason that could be seen here, is a defect of this module.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from chemr.checkpoints import newest_state
from chemr.conf_files import ConfFileError
from chemr.config import ChemrConfig, ConfigError, DataKind, Stage
from chemr.config_checks import check_curriculum_tasks
from chemr.config_warnings import warnings
from chemr.data.loading import load_data
from chemr.data.reserve import split_reserve
from chemr.data.task_data import TaskData
from chemr.doctor.addresses import check_addresses
from chemr.doctor.finding import Check
from chemr.doctor.machine import check_temp_path, temp_folder
from chemr.doctor.model_folder import check_model_folder, checkpoint_bytes
from chemr.doctor.run_folder import check_room, check_run_folder
from chemr.lengths import leave_out_too_long
from chemr.planning.shared_memory import machine_shortage
from chemr.resume_changes import require_same_rows, resume_changes, rows_digest
from chemr.run_fork import finished_stages
from chemr.tokenization import ChatTokenizer, smallest_vocabulary
from chemr.trace_file import read_traces

SHARED_MEMORY = Path("/dev/shm")


class StartRefused(ConfigError):
    """What keeps a run from starting, a line for each finding."""


@dataclass(slots=True)
class Start:
    """What was found. ``data``: the run's rows, those that the model's context has room for; None when they cannot be used.

    ``notes``: what the run goes on with, and somebody may not want.
    """

    checks: list[Check] = field(default_factory=list)
    data: TaskData | None = None
    notes: list[str] = field(default_factory=list)

    def require(self) -> TaskData:
        """The rows. Raises StartRefused with all findings that are not in order."""
        refuse(self.checks)
        assert self.data is not None, "rows that cannot be used are a finding"
        return self.data


def ask(config: ChemrConfig, resolved: str | None = None, *, waits: bool = False) -> Start:
    """Asks everything, and goes on after a finding: all are told at once.

    Args:
        resolved: the configuration as YAML; None makes it.
        waits: the caller waits for the run's lock, and asks for addresses (:func:`ask_addresses`) and for what is stored of the run when
            it has it: until then the run's own last driver may still be ending.
    """
    start = Start(notes=warnings(config))
    start.checks += check_run_folder(config.run, may_be_busy=waits)
    writable = all(check.ok for check in start.checks)
    if config.pool.address is None:
        start.checks.append(check_temp_path(temp_folder()))
        start.checks.append(_check_shared_memory(config))
    state = None
    if not waits:
        start.checks += ask_addresses(config)
        if writable:
            state = _ask_stored(start, config, resolved or OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
    model = Path(config.policy.path) if config.policy.path is not None else None
    of_model = check_model_folder(model, config) if model is not None else _check_scratch(config)
    start.checks += of_model
    usable = all(check.ok for check in of_model)
    if usable and writable:
        parameters = config.policy.scratch.parameters(config.policy.vocab_size)
        start.checks.append(check_room(config.run.path, checkpoint_bytes(model, parameters) * (config.run.keep_checkpoints + 1)))
    _ask_data(start, config, model if usable else None, state)
    return start


def ask_addresses(config: ChemrConfig) -> list[Check]:
    """What the run listens on."""
    return check_addresses(config.control, config.tracking)


def _check_shared_memory(config: ChemrConfig) -> Check:
    """Room in /dev/shm for the object store and the weights' versions of a run on this machine alone."""
    name = "shared memory of the run"
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError as error:
        return Check(name, False, f"{SHARED_MEMORY}: {error.strerror}", "mount a tmpfs there")
    shortage = machine_shortage(config, free)
    return Check(name, shortage is None, shortage or f"{SHARED_MEMORY} has {free >> 20} MB free")


def _check_scratch(config: ChemrConfig) -> list[Check]:
    least = smallest_vocabulary()
    ok = config.policy.vocab_size >= least
    return [
        Check("model", ok, f"policy.vocab_size={config.policy.vocab_size}", f"bytes, tags and atoms alone take {least}; set that or more")
    ]


def _ask_stored(start: Start, config: ChemrConfig, resolved: str) -> Mapping[str, Any] | None:
    """The state of the run that is continued, None for a new one; what would be otherwise from now on is a note, or a finding."""
    state = newest_state(config.run.path / "checkpoints")

    def look() -> str:
        if state is not None:
            start.notes += resume_changes(config.run.path, state, resolved)
            return f"goes on from step {state['step']} of stage {state['stage']}"
        if config.run.start_from is not None:
            source = Path(config.run.start_from)
            done = finished_stages(source, config.run.path, config, resolved, newest_state(source / "checkpoints"))
            return f"goes on from {source}, which has finished {', '.join(done)}"
        return "begins anew"

    start.checks.append(_finding("stored run", look))
    return state


def _ask_data(start: Start, config: ChemrConfig, model: Path | None, state: Mapping[str, Any] | None) -> None:
    """The rows, what is too long for the model, traces, and what the stages make of them; the first finding is the only one."""

    def look() -> str:
        data = load_data(config)
        if model is not None:
            data, notes = fitting_rows(config, data, ChatTokenizer.load(model))
            start.notes += notes
        for split in ("train", "validation", "test"):
            if not getattr(data, split):
                raise ConfigError(f"data has no {split} row: name other data.tasks, or more data")
        check_curriculum_tasks(config, data)
        traces = _require_traces(config, data)
        if state is not None and (model is not None or config.data.kind is DataKind.starter):  # others are fitted by a tokenizer to be made
            require_same_rows(state, rows_digest(data))
        start.data = data
        sizes = Counter(example.task for example in data.train)
        rows = f"{len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test examples"
        return f"{len(sizes)} tasks, {rows}{traces}"

    start.checks.append(_finding("data", look))


def _finding(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (ConfigError, ConfFileError) as error:
        return Check(name, False, str(error))
    except OSError as error:
        return Check(name, False, f"{error.filename or 'the data'}: {error.strerror or error}", "see data.dir and data.cache_dir")


def fitting_rows(config: ChemrConfig, data: TaskData, tokenizer: ChatTokenizer) -> tuple[TaskData, list[str]]:
    """The rows that the engine can answer, and what is left out, as lines for people. Raises ConfigError when nothing is left."""
    longest = max(config.eval.max_new_tokens, config.grpo.max_new_tokens if Stage.grpo in config.stages else 0)
    try:
        return leave_out_too_long(data, tokenizer, config.generator.max_model_len, longest)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def refuse(checks: Sequence[Check]) -> None:
    """Raises StartRefused with all findings that are not in order."""
    wrong = [f"{check.detail}; {check.remedy}" if check.remedy else check.detail for check in checks if not check.ok]
    if wrong:
        raise StartRefused("\n".join(wrong))


def _require_traces(config: ChemrConfig, data: TaskData) -> str:
    """What distillation will train on. Raises ConfigError when even all of it does not fill a step."""
    stage = config.distill
    if Stage.distill not in config.stages:
        return ""
    if stage.traces is not None:
        found, where = len(read_traces(Path(stage.traces), data.train, skip_unknown=True)), f"distill.traces={stage.traces}"
        remedy, says = "mine more", f"; {found} traces of {stage.traces} take the teacher's place"
    else:
        rows = Counter(example.task for example in split_reserve(data.train, config.data.grpo_share)[0])
        found = sum(min(count, stage.traces_per_task) for count in rows.values())
        where, remedy, says = f"distill.traces_per_task={stage.traces_per_task} over {len(rows)} tasks", "raise traces_per_task", ""
    if found < stage.documents_per_step:
        raise ConfigError(
            f"{where} gives at most {found} traces, fewer than distill.documents_per_step={stage.documents_per_step}: no step could be "
            f"trained; {remedy}, or lower documents_per_step"
        )
    return says
