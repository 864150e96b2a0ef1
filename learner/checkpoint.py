"""Checkpoints and exports on disk. Both are written aside and moved into place, so what has a final name is complete.

A checkpoint directory holds ``learner.json`` (what it is; read before anything else), ``state-<rank>-<n>.safetensors`` (every parameter's
float32 weight and moments under its name, whole: see optimizer_state.py), ``rng-<rank>.pt`` and, where a KL reference is in use,
``reference.safetensors``. Nothing in it depends on the number of ranks, the ZeRO stage or the dtype it was written with. Every rank writes
its share of the parameters, so the time to write falls with their number.
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
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from learner.config import Schedule
from learner.distributed import World
from learner.optimizer_state import MOMENTS, WEIGHT, OptimizerState
from learner.tensor_parallel import whole_shape

if TYPE_CHECKING:
    from learner.engine import Stage

FORMAT = 2
SHARD_BYTES = 1 << 30  # of the state's files: what a rank holds in memory besides the model while it writes


@dataclass(slots=True)
class Header:
    """What ``learner.json`` says. ``updates``: AdamW's, of which a step may have made several."""

    format: int
    step: int
    total_steps: int
    seed: int
    optim: dict[str, Any]
    updates: int
    has_reference: bool


def save(
    directory: Path, model: PreTrainedModel, state: OptimizerState, world: World, stage: Stage, reference: PreTrainedModel | None
) -> None:
    """Collective. Raises FileExistsError if ``directory`` exists."""
    if directory.exists():
        raise FileExistsError(f"{directory} already exists: a checkpoint is never overwritten; choose another name or remove it")
    _barrier(world)
    aside = _aside(directory, world)
    _save_state(aside, model, state, world)
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
            updates=state.updates,
            has_reference=reference is not None,
        )
        with open(aside / "learner.json", "w", encoding="utf-8") as file:
            json.dump(asdict(header), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(directory)
    _barrier(world)


def _save_state(directory: Path, model: PreTrainedModel, state: OptimizerState, world: World) -> None:
    """Parameters go to the ranks in turn; each rank writes those it was given, a file at a time."""
    held: dict[str, Tensor] = {}
    files = 0
    for number, (name, parameter) in enumerate(model.named_parameters()):
        values = state.read(parameter)
        if number % world.size != world.rank:
            continue
        # A copy: at ZeRO-0 all parameters are views of one piece of memory, which safetensors refuses.
        held |= {_key(name, part): value.to("cpu", copy=True).contiguous() for part, value in values.items()}
        if sum(tensor.nbytes for tensor in held.values()) >= SHARD_BYTES:
            save_file(held, directory / f"state-{world.rank}-{files}.safetensors")
            held, files = {}, files + 1
    if held:
        save_file(held, directory / f"state-{world.rank}-{files}.safetensors")


def read_header(directory: Path) -> Header:
    """Raises ValueError if there is no complete checkpoint, or one of another format."""
    path = directory / "learner.json"
    if not path.is_file():
        raise ValueError(f"{directory} is no complete learner checkpoint: it has no learner.json")
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.get("format") != FORMAT:
        raise ValueError(f"{path} has format {fields.get('format')}, this version of chemr reads format {FORMAT}")
    header = Header(**fields)
    header.optim["betas"] = tuple(header.optim["betas"])
    header.optim["schedule"] = Schedule(header.optim["schedule"])
    return header


class SavedState:
    """The state's files, read parameter by parameter."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = [safe_open(path, framework="pt") for path in sorted(directory.glob("state-*.safetensors"))]
        self._place = {key: file for file in self._files for key in file.keys()}  # noqa: SIM118 (not a dictionary)

    def fill(self, model: PreTrainedModel) -> None:
        """Copies every parameter's weight. Raises ValueError if one is missing or has another shape."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self._tensor(name, WEIGHT, parameter))

    def restore(self, model: PreTrainedModel, state: OptimizerState, updates: int) -> None:
        """Fills the optimizer of ``model``, whose weights are there already. Raises ValueError as :meth:`fill`."""
        if updates:
            state.allocate(updates)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parts = (WEIGHT, *MOMENTS) if updates else (WEIGHT,)
                state.write(parameter, {part: self._tensor(name, part, parameter) for part in parts})

    def _tensor(self, name: str, part: str, parameter: nn.Parameter) -> Tensor:
        key = _key(name, part)
        if key not in self._place:
            raise ValueError(
                f"{self._directory} has no {part} of {name}: it is damaged, or of another model or another set of trained parameters "
                "(learner.lora_*); use an earlier checkpoint or the settings it was made with"
            )
        tensor: Tensor = self._place[key].get_tensor(key)
        shape = whole_shape(parameter)
        if tensor.shape != shape:
            raise ValueError(f"{self._directory} has {name} with shape {tuple(tensor.shape)}, the model has {shape}")
        return tensor


def load_rng(directory: Path, world: World) -> None:
    """This rank's random state; a rank that did not exist when the checkpoint was written keeps the one of its seed."""
    path = directory / f"rng-{world.rank}.pt"
    if path.is_file():
        torch.set_rng_state(torch.load(path, weights_only=True))


def _key(name: str, part: str) -> str:
    return f"{name}/{part}"


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
