"""Checkpoints and exports on disk. Both are written aside and moved into place, so what has a final name is complete.

A checkpoint directory holds ``learner.json`` (what it is; read before anything else), DeepSpeed's own files under ``state/``,
``rng-<rank>.pt`` and, where a KL reference is in use, ``reference.safetensors``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from learner.config import LearnerConfig, Schedule
from learner.distributed import World

if TYPE_CHECKING:
    from learner.engine import Stage

FORMAT = 1
TAG = "state"


@dataclass(slots=True)
class Header:
    """What ``learner.json`` says."""

    format: int
    step: int
    total_steps: int
    seed: int
    optim: dict[str, Any]
    world_size: int
    zero_stage: int
    dtype: str
    has_reference: bool


def save(directory: Path, engine: Any, config: LearnerConfig, world: World, stage: Stage, reference: PreTrainedModel | None) -> None:
    """Collective. Raises FileExistsError if ``directory`` exists."""
    if directory.exists():
        raise FileExistsError(f"{directory} already exists: a checkpoint is never overwritten; choose another name or remove it")
    _barrier(world)
    aside = _aside(directory, world)
    engine.save_checkpoint(str(aside), tag=TAG, save_latest=False)
    torch.save(torch.get_rng_state(), aside / f"rng-{world.rank}.pt")
    _barrier(world)
    if world.rank == 0:
        if reference is not None:
            save_file({name: tensor.detach().clone() for name, tensor in _own_weights(reference).items()}, aside / "reference.safetensors")
        header = Header(
            format=FORMAT,
            step=stage.step,
            total_steps=stage.total_steps,
            seed=stage.seed,
            optim=asdict(stage.optim),
            world_size=world.size,
            zero_stage=config.zero_stage,
            dtype=config.dtype.value,
            has_reference=reference is not None,
        )
        with open(aside / "learner.json", "w", encoding="utf-8") as file:
            json.dump(asdict(header), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(directory)
    _barrier(world)


def read_header(directory: Path, config: LearnerConfig, world: World) -> Header:
    """Raises ValueError if there is no complete checkpoint, or one that this learner cannot continue."""
    path = directory / "learner.json"
    if not path.is_file():
        raise ValueError(f"{directory} is no complete learner checkpoint: it has no learner.json")
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.get("format") != FORMAT:
        raise ValueError(f"{path} has format {fields.get('format')}, this version of chemr reads format {FORMAT}")
    header = Header(**fields)
    header.optim["betas"] = tuple(header.optim["betas"])
    header.optim["schedule"] = Schedule(header.optim["schedule"])
    for name, found, wanted in (
        ("world_size", header.world_size, world.size),
        ("zero_stage", header.zero_stage, config.zero_stage),
        ("dtype", header.dtype, config.dtype.value),
    ):
        if found != wanted:
            raise ValueError(
                f"{directory} was saved with {name} = {found}, this learner has {name} = {wanted}: "
                "continue with the same, or export the model and begin a new stage from it"
            )
    return header


def load_state(directory: Path, engine: Any, world: World) -> None:
    """Fills the engine and this rank's random state."""
    path, _ = engine.load_checkpoint(str(directory), tag=TAG)
    if path is None:
        raise ValueError(f"DeepSpeed found no state in {directory / TAG}: the checkpoint is damaged; use an earlier one")
    torch.set_rng_state(torch.load(directory / f"rng-{world.rank}.pt", weights_only=True))


def load_reference(directory: Path, model: PreTrainedModel) -> None:
    """Fills ``model`` with the KL reference."""
    put_weights(model, load_file(directory / "reference.safetensors"))


def put_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Copies weights by HF name.

    Raises:
        ValueError: names differ from the model's.
    """
    own = _own_weights(model)
    if own.keys() != weights.keys():
        raise ValueError(f"the weights do not fit the model: {sorted(own.keys() ^ weights.keys())[:5]} are only on one side")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def export_hf(directory: Path, model: PreTrainedModel, weights: dict[str, Tensor], model_dir: Path, world: World) -> None:
    """Collective; rank 0 writes."""
    if world.rank == 0:
        aside = _fresh(directory)
        model.save_pretrained(aside, state_dict=weights)
        for source in model_dir.iterdir():
            if source.is_file() and not (aside / source.name).exists() and not _is_weights(source.name):
                shutil.copy2(source, aside / source.name)
        replaced = directory.with_name(directory.name + ".replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        if directory.exists():
            directory.rename(replaced)
        aside.rename(directory)
        shutil.rmtree(replaced, ignore_errors=True)
    _barrier(world)


def _own_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json"))


def _aside(directory: Path, world: World) -> Path:
    aside = directory.with_name(directory.name + ".writing")
    if world.rank == 0:
        _fresh(directory)
    _barrier(world)
    return aside


def _fresh(directory: Path) -> Path:
    """An empty ``<directory>.writing``: what an interrupted write left there is removed."""
    aside = directory.with_name(directory.name + ".writing")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    return aside


def _barrier(world: World) -> None:
    if world.size > 1:
        torch.distributed.barrier()
