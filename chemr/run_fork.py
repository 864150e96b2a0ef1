"""A run that goes on from another run's finished stages, in a directory of its own (``run.start_from``).

The other run's newest checkpoint, its initial model and its metrics are copied; the stages it has finished count as finished here. What
those stages depend on must be equal, or the new run would not be what its configuration says.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chemr.checkpoints import LEARNER, CheckpointStore
from chemr.conf_files import ConfFileError, read_yaml
from chemr.config import ChemrConfig, ConfigError
from chemr.run_directory import RunDirectory
from learner.sealed_files import seal_folder

SAME = ("policy", "data", "precision")  # besides run.seed and the sections of the finished stages


def fork(source: Path, directory: RunDirectory, config: ChemrConfig, resolved: str) -> None:
    """Fill the empty ``directory`` with what ``source`` has finished. Raises ConfigError as :func:`finished_stages`."""
    checkpoint, _ = CheckpointStore(source / "checkpoints").peek() if (source / "checkpoints").is_dir() else (None, [])
    done = finished_stages(source, directory.path, config, resolved, checkpoint.state if checkpoint is not None else None)
    assert checkpoint is not None, "without one nothing is finished"
    initial = source / "initial-model"
    if initial.is_dir():
        _copy(initial, directory.initial_model)
    for stage in done:  # models that were kept
        if (source / "stages" / stage).is_dir():
            _copy(source / "stages" / stage, directory.path / "stages" / stage)
    shutil.copyfile(source / "metrics.jsonl", directory.path / "metrics.jsonl")
    # Last: a run with a checkpoint is one that is continued, so an interrupted fork is simply made again.
    partial = directory.checkpoints.begin(checkpoint.step)
    shutil.copytree(checkpoint.learner, partial / LEARNER)
    tracker = {
        name: value for name, value in checkpoint.state["tracker"].items() if name not in ("wandb_run_id", "samples")
    }  # this run has its own
    directory.checkpoints.commit(checkpoint.step, checkpoint.state | {"tracker": tracker}, seal_folder(partial))


def finished_stages(source: Path, target: Path, config: ChemrConfig, resolved: str, state: Mapping[str, Any] | None) -> list[str]:
    """The stages that the run in ``source`` has finished, if the one in ``target`` can go on from them.

    Args:
        state: the driver's part of the newest checkpoint of ``source``; None for none.

    Raises:
        ConfigError: ``source`` is no finished run, it has gone further than ``config.stages`` begins, or was made otherwise.
    """
    if not (source / "config.yaml").is_file():
        raise ConfigError(f"run.start_from={source} is not a run's directory: it has no config.yaml")
    if source.resolve() == target.resolve():
        raise ConfigError(f"run.start_from={source} is this run itself; use run.resume=auto to continue it")
    done = list(state["results"]) if state is not None else []
    wanted = [str(stage) for stage in config.stages]
    if state is None or state["stage"] not in done:
        raise ConfigError(f"run.start_from={source} has no checkpoint at the end of a stage; finish that run first (run.resume=auto)")
    if done != wanted[: len(done)]:
        raise ConfigError(f"run.start_from={source} has finished {', '.join(done)}, but this run's stages are {', '.join(wanted)}")
    if not (source / "metrics.jsonl").is_file():
        raise ConfigError(f"run.start_from={source} has no metrics.jsonl; name the folder of a whole run")
    try:
        theirs = read_yaml(source / "config.yaml")
    except ConfFileError as error:
        raise ConfigError(f"run.start_from: {error}") from error
    _require_alike(source, done, theirs, yaml.safe_load(resolved))
    return done


def _require_alike(source: Path, done: list[str], theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    compared = [(section, theirs.get(section), ours.get(section)) for section in (*SAME, *done)]
    compared.append(("run.seed", theirs["run"]["seed"], ours["run"]["seed"]))
    for section, old, new in compared:
        if old != new:
            raise ConfigError(
                f"run.start_from={source} was made with another {_differing(section, old, new)}, on which its finished stages depend; set "
                "it as it was there, or start without run.start_from"
            )


def _differing(name: str, old: Any, new: Any) -> str:
    """The first field that differs, by its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        field = next(field for field in sorted(old.keys() | new.keys()) if old.get(field) != new.get(field))
        return _differing(f"{name}.{field}", old.get(field), new.get(field))
    return name


def _copy(source: Path, target: Path) -> None:
    """A folder, whole or not at all under its final name."""
    aside = target.with_name(target.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
