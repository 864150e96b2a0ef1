"""The recommended configuration as a Hydra experiment, checked by loading it."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chemr.config import ChemrConfig, ConfigError, load
from chemr.planning.errors import PlanError
from chemr.planning.search import Alternative, Request, reward_processes
from chemr.whole_file import write_whole

ENGINE_CPUS, LEARNER_CPUS = 4.0, 4.0  # of Ray's account for each actor: the processes around a GPU
VERSIONS_KEPT = 3  # of the weights in the object store at once, with room


def experiment(request: Request, best: Alternative, config: ChemrConfig, policy: str | None, notes: Sequence[str]) -> str:
    """The file's text. ``config``: where what the plan does not decide comes from; ``policy``: the model's folder, None: to be given
    (``???``). ``notes``: comment lines."""
    import yaml

    split, layout, grpo = best.split, best.split.layout, config.grpo
    weights_mb = request.model.parameters * 2 / 2**20
    content: dict[str, Any] = {
        "run": {"name": "planned"},
        "policy": {"path": "???" if policy is None else policy},
        "pool": {
            "generators": split.generators,
            "generator_gpus": float(split.tensor_parallel),
            "generator_cpus": ENGINE_CPUS,
            "learners": layout.ranks,
            "learner_gpus": 1.0,
            "learner_cpus": LEARNER_CPUS,
            "learner_nice": 0,
            "reward_workers": reward_processes(request, split),
            "reward_cpus": 1.0,
            "object_store_mb": max(config.pool.object_store_mb, math.ceil(VERSIONS_KEPT * weights_mb)),
        },
        "rewards": {"processes": 1},
        "generator": {
            "device": "cuda",
            "dtype": request.engine_dtype,
            "tensor_parallel": split.tensor_parallel,
            "max_model_len": request.longest,
            "max_num_seqs": split.max_num_seqs,
            "kv_cache_mb": None,
            "gpu_memory_utilization": request.utilization,
            "enforce_eager": False,
            "keep_cache": request.keep_cache,
        },
        "learner": {
            "device": "cuda",
            "dtype": request.dtype,
            "gradient_dtype": "fp32",
            "zero_stage": layout.zero_stage,
            "tensor_parallel": layout.tensor_parallel,
            "micro_batch_tokens": layout.micro_batch_tokens,
            "gradient_checkpointing": layout.gradient_checkpointing,
            "logprob_buffer_mb": layout.logprob_buffer_mb,
        },
        "foundation": {"documents_per_step": max(config.foundation.documents_per_step, layout.ranks)},
        "distill": {"documents_per_step": max(config.distill.documents_per_step, layout.ranks)},
        "grpo": {
            "groups_per_step": grpo.groups_per_step,
            "samples_per_group": grpo.samples_per_group,
            "off_policy_steps": grpo.off_policy_steps,
            "window_fraction": grpo.window_fraction,
            "max_new_tokens": grpo.max_new_tokens,
            "checkpoint_every": grpo.checkpoint_every,
        },
    }
    body = yaml.safe_dump(content, sort_keys=False, default_flow_style=False)
    return "\n".join(["# @package _global_", *(f"# {note}" for note in notes), body])


def check(text: str, policy_given: bool) -> None:
    """Load the text as ``chemr train`` would, with a stand-in for the model's folder. Raises PlanError: a bug of the planner."""
    with tempfile.TemporaryDirectory(prefix="chemr-") as folder:
        root = Path(folder)
        (root / "experiment").mkdir()
        (root / "experiment" / "planned.yaml").write_text(text, encoding="utf-8")
        overrides = ["experiment=planned"]
        if not policy_given:
            (root / "config.json").write_text(json.dumps({}), encoding="utf-8")
            overrides.append(f"policy.path={root}")
        try:
            load(overrides, root)
        except ConfigError as error:
            raise PlanError(f"the planned configuration is refused: {error}") from error


def write(text: str, file: Path) -> str:
    """Write the file (its folder is made) and return how to use it."""
    if file.suffix not in (".yaml", ".yml"):
        raise PlanError(f"--out {file}: should be named NAME.yaml")
    try:
        write_whole(file, text)
    except OSError as error:
        raise PlanError(f"--out {file} cannot be written: {error}") from error
    if file.resolve().parent.name == "experiment":
        return f"chemr train --config-dir {file.parent.parent} experiment={file.stem}"
    return f"put {file} in a folder named experiment, then chemr train --config-dir ITS_PARENT experiment={file.stem}"
