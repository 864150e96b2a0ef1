"""Checkpoints and exports on disk. Both are written aside and moved into place, so what has a final name is complete.

A checkpoint directory holds ``learner.json`` (what it is; read before anything else), ``state-<rank>-<n>.safetensors`` (every parameter's
float32 weight and moments under its name, whole: see optimizer_state.py), ``rng-<rank>.pt`` and, where a KL reference is in use,
``reference.safetensors``. Nothing in it depends on the number of ranks, the ZeRO stage or the dtype it was written with. Every rank writes
its share of the parameters, so the time to write falls with their number.
"""

from __future__ import annotations

import errno
import functools
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from learner.config import Schedule
from learner.distributed import World
from learner.optimizer_state import MOMENTS, WEIGHT, OptimizerState
from learner.sealed_files import SealedFile, seal
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
) -> list[SealedFile]:
    """Collective. Returns the files that this rank wrote; together the ranks' lists are all of the checkpoint.

    Raises:
        FileExistsError: ``directory`` exists.
        OSError: a rank could not write. All ranks raise it, and are still in step.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} already exists: a checkpoint is never overwritten; choose another name or remove it")
    with ThreadPoolExecutor(1, thread_name_prefix="seal") as thread:
        return _save(directory, _Files(_beside(directory), thread), model, state, world, stage, reference)


def _save(
    directory: Path,
    files: _Files,
    model: PreTrainedModel,
    state: OptimizerState,
    world: World,
    stage: Stage,
    reference: PreTrainedModel | None,
) -> list[SealedFile]:
    if world.rank == 0:
        files.attempt(lambda: _fresh(directory))
    files.agree(world)
    _save_state(files, model, state, world)
    files.write(f"rng-{world.rank}.pt", _torch_writer(torch.get_rng_state()))
    sealed = files.sealed(world)
    if world.rank == 0:
        if reference is not None:
            weights = {name: tensor.detach().clone() for name, tensor in _own_weights(reference).items()}
            files.write("reference.safetensors", lambda path: save_file(weights, path))
        header = Header(
            format=FORMAT,
            step=stage.step,
            total_steps=stage.total_steps,
            seed=stage.seed,
            optim=asdict(stage.optim),
            updates=state.updates,
            has_reference=reference is not None,
        )
        # Last: what has it is complete.
        files.write("learner.json", lambda path: path.write_text(json.dumps(asdict(header), indent=1), encoding="utf-8"))
    sealed += files.sealed(world)
    if world.rank == 0:
        files.attempt(lambda: _beside(directory).rename(directory))
    files.agree(world)
    return sealed


class _Files:
    """One rank's files. They are flushed and hashed in a thread while the next one is gathered and written.

    A rank that cannot write goes on taking part in what all ranks do together, and says so when they are asked (:meth:`agree`): one that
    raised by itself would leave the others waiting in a collective.
    """

    def __init__(self, directory: Path, thread: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._thread = thread
        self._failure: OSError | None = None
        self._sealing: list[Future[SealedFile]] = []

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        path = self._directory / name
        self.attempt(lambda: write(path))
        if self._failure is None:
            self._sealing.append(self._thread.submit(seal, path, name))

    def attempt(self, work: Callable[[], object]) -> None:
        """Does nothing after a failure."""
        if self._failure is not None:
            return
        try:
            work()
        except (OSError, SafetensorError) as error:
            self._failure = as_os_error(error)

    def sealed(self, world: World) -> list[SealedFile]:
        """Collective. What was written since the last call. Raises as :meth:`agree`."""
        sealing, self._sealing = self._sealing, []
        sealed: list[SealedFile] = []
        self.attempt(lambda: sealed.extend(one.result() for one in sealing))
        self.agree(world)
        return sealed

    def agree(self, world: World) -> None:
        """Collective. Raises OSError on all ranks if one has failed."""
        own = None
        if self._failure is not None:
            own = (self._failure.errno or errno.EIO, f"learner rank {world.rank}: {self._failure}")
        found: list[tuple[int, str] | None] = [own]
        if world.size > 1:
            found *= world.size
            torch.distributed.all_gather_object(found, own)
        failures = [failure for failure in found if failure is not None]
        if failures:
            raise OSError(*failures[0]) from self._failure


def as_os_error(error: OSError | SafetensorError) -> OSError:
    """What the system said. safetensors' own error carries it as text: ``I/O error: No space left on device (os error 28)``.

    Raises:
        SafetensorError: ``error``, when the system had nothing to do with it.
    """
    if isinstance(error, OSError):
        return error if error.errno is not None else OSError(errno.EIO, str(error))
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        raise error
    return OSError(int(number[1]), str(error))


def _torch_writer(value: Tensor) -> Callable[[Path], object]:
    """torch itself reports a failed write without an errno."""
    content = io.BytesIO()
    torch.save(value, content)
    return lambda path: path.write_bytes(content.getvalue())


def _save_state(files: _Files, model: PreTrainedModel, state: OptimizerState, world: World) -> None:
    """Parameters go to the ranks in turn; each rank writes those it was given, a file at a time."""
    held: dict[str, Tensor] = {}
    shards = itertools.count()

    def write() -> None:
        files.write(f"state-{world.rank}-{next(shards)}.safetensors", functools.partial(save_file, held))

    for number, (name, parameter) in enumerate(model.named_parameters()):
        values = state.read(parameter)
        if number % world.size != world.rank:
            continue
        # A copy: at ZeRO-0 all parameters are views of one piece of memory, which safetensors refuses.
        held |= {_key(name, part): value.to("cpu", copy=True).contiguous() for part, value in values.items()}
        if sum(tensor.nbytes for tensor in held.values()) >= SHARD_BYTES:
            write()
            held = {}
    if held:
        write()


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


def _beside(directory: Path) -> Path:
    return directory.with_name(directory.name + ".writing")


def _fresh(directory: Path) -> Path:
    """An empty ``<directory>.writing``: what an interrupted write left there is removed."""
    aside = _beside(directory)
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    return aside


def _barrier(world: World) -> None:
    if world.size > 1:
        torch.distributed.barrier()
