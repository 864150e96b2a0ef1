"""What a finished (or running) run recorded about its GRPO steps, as the planner needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chemr.planning.errors import PlanError

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

NEEDED = (
    "time/step_s",
    "time/train",
    "train/seconds",
    "train/cpu_s",
    "async/queue",
    "async/ledger/trained",
    "async/ledger/dropped",
    "rollout/seconds",
    "rollout/turnaround_s",
    "engine/pace/step_s",
    "engine/pace/sample_s",
    "engine/pace/prompt_token_s",
    "engine/pace/end_s",
)
FEWEST = 12  # steps


@dataclass(frozen=True, slots=True)
class RunRecords:
    """GRPO steps of one run, the first ones (still warming up) and those with a checkpoint or an evaluation left out.

    ``before``: for each step what was recorded for the step before it (totals of the ledger are differences). ``evaluation``: prompts,
    generated tokens and seconds of the held-out evaluation after GRPO; None before the run has ended.
    """

    folder: Path
    config: ChemrConfig
    steps: Sequence[Mapping[str, float]]
    before: Sequence[Mapping[str, float]]
    weights: Sequence[Mapping[str, float]]
    evaluation: tuple[int, int, float] | None = None

    def column(self, name: str, missing: float = float("nan")) -> npt.NDArray[np.float64]:
        """One value a step."""
        return np.array([float(step.get(name, missing)) for step in self.steps])

    def seconds(self, share: str) -> npt.NDArray[np.float64]:
        """Seconds a step of one share of its time."""
        return self.column("time/step_s") * self.column(f"time/{share}", 0.0)

    def graded(self) -> npt.NDArray[np.float64]:
        """Groups that came back in each step: those trained, given up and waiting, less those that waited before."""

        def returned(step: Mapping[str, float]) -> float:
            return sum(step[name] for name in ("async/ledger/trained", "async/ledger/dropped", "async/queue"))

        return np.array([returned(step) - returned(old) for step, old in zip(self.steps, self.before, strict=True)])

    def mean(self, name: str) -> float:
        """Over the steps that recorded it."""
        found = self.column(name)
        return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else 0.0

    def mean_of_weights(self, *names: str) -> float | None:
        """Mean of the sum of some ``weights/*`` values; None where they were not recorded."""
        found = [sum(record[name] for name in names) for record in self.weights if all(name in record for name in names)]
        return float(np.mean(found)) if found else None


def read_records(folder: Path, skip: float = 0.2) -> RunRecords:
    """Reads ``config.yaml`` and ``metrics.jsonl``; the first ``skip`` of the steps, and at least three, are left out.

    Raises:
        PlanError: a file is missing or broken, or there are too few GRPO steps.
    """
    metrics = folder / "metrics.jsonl"
    if not metrics.is_file():
        raise PlanError(f"--calibrate {folder}: there is no metrics.jsonl in it; give the folder of a run, e.g. runs/starter")
    config = read_config(folder / "config.yaml")
    records = list(_lines(metrics))
    grpo = [record for record in records if record.get("stage") == "grpo"]
    steps = [record for record in grpo if "async/age_mean" in record]
    if len(steps) < FEWEST:
        raise PlanError(
            f"--calibrate {folder}: {len(steps)} GRPO steps are recorded and {FEWEST} are needed; give a run with "
            f"grpo.steps={2 * FEWEST} or more"
        )
    missing = [name for name in NEEDED if not any(name in step for step in steps)]
    if missing:
        raise PlanError(
            f"--calibrate {folder}: its steps do not record {', '.join(missing)}; it was made by another version of chemr, or without a "
            "real engine"
        )
    first = max(3, int(skip * len(steps)))
    kept = [
        index
        for index in range(first, len(steps))
        if steps[index].get("time/checkpoint", 0.0) == 0.0 and steps[index].get("time/eval", 0.0) == 0.0
    ]
    weights = [record for record in grpo if "weights/publish_s" in record or "weights/pull_s" in record]
    return RunRecords(folder, config, [steps[i] for i in kept], [steps[i - 1] for i in kept], weights, _evaluation(folder / "summary.json"))


def read_config(file: Path, overrides: Sequence[str] = ()) -> ChemrConfig:
    """A run's resolved configuration with changes; fields that the run's version did not know have their defaults.

    Raises:
        PlanError: it cannot be read, or a change is wrong.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from chemr.config import ChemrConfig, ConfigError
    from chemr.config_checks import validate
    from chemr.config_overrides import Fields, override_values

    if not file.is_file():
        raise PlanError(f"{file} is missing: it is the configuration of the run")
    try:
        saved = OmegaConf.create(yaml.safe_load(file.read_text(encoding="utf-8")))
        merged = OmegaConf.merge(OmegaConf.structured(ChemrConfig), saved, override_values(overrides, Fields(ChemrConfig)))
        OmegaConf.update(merged, "policy.path", None)  # the policy may be gone or elsewhere; only shapes are asked for
        longest = int(merged.generator.max_model_len)
        OmegaConf.update(merged, "policy.scratch.max_position_embeddings", max(longest, int(merged.policy.scratch.max_position_embeddings)))
        config = OmegaConf.to_object(merged)
        assert isinstance(config, ChemrConfig)
        validate(config)
    except (OmegaConfBaseException, ConfigError, yaml.YAMLError, ValueError, TypeError) as error:
        where = f" with {' '.join(overrides)}" if overrides else ""
        raise PlanError(f"{file}{where}: {str(error).splitlines()[0]}") from error
    return config


def _evaluation(summary: Path) -> tuple[int, int, float] | None:
    if not summary.is_file():
        return None
    try:
        stage = json.loads(summary.read_text(encoding="utf-8"))["grpo"]
        prompts = sum(int(task["prompts"]) for task in stage["tasks"].values())
        return prompts, int(stage["generated_tokens"]), float(stage["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"{summary} is not the summary of a run with a GRPO stage: {error!r}") from error


def share_between_prompts(folder: Path) -> float | None:
    """Share of the variance of log length that lies between prompts, from sampled trajectories; None with fewer than 20 groups.

    One-way analysis of variance: the variance of group means holds a part of the variance within groups, which is taken off.
    """
    import pyarrow.parquet as parquet

    groups: dict[str, list[float]] = {}
    for file in sorted((folder / "trajectories").glob("*.parquet")):
        table = parquet.read_table(file, columns=["uid", "tokens"])
        for uid, tokens in zip(table["uid"].to_pylist(), table["tokens"].to_pylist(), strict=True):
            groups.setdefault(uid, []).append(float(np.log(max(1, tokens))))
    full = [values for values in groups.values() if len(values) > 1]
    if len(full) < 20:
        return None
    within = float(np.mean([np.var(values, ddof=1) for values in full]))
    size = float(np.mean([len(values) for values in full]))
    between = max(0.0, float(np.var([np.mean(values) for values in full], ddof=1)) - within / size)
    return between / (between + within) if between + within > 0.0 else None


def _lines(file: Path) -> list[dict[str, Any]]:
    records = []
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break  # a run that is being written
            raise PlanError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise PlanError(f"{file}, line {number} is not a record of metrics")
        records.append(record)
    return records
