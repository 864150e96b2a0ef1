"""Models as the planner sees them: a shape, the number of parameters, and the bytes of keys and values of a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from chemr.nearest_name import did_you_mean
from chemr.planning.errors import PlanError
from learner.config import ModelConfig
from learner.model_flops import ModelShape


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder.

    Attributes:
        tied: whether the head is the embedding.
        folder: the Hugging Face folder it was read from; None for a shape known by name.
    """

    name: str
    shape: ModelShape
    tied: bool
    folder: Path | None = None

    @property
    def parameters(self) -> int:
        """Elements of all weights: matrices, two norms a layer and the last one, embedding and (untied) head. Biases are left out."""
        shape = self.shape
        return (
            shape.layers * (shape.layer_parameters + 2 * shape.hidden)
            + shape.hidden
            + (1 if self.tied else 2) * shape.vocabulary * shape.hidden
        )

    @property
    def cut_parameters(self) -> int:
        """Those that tensor parallelism of the learner deals out: the matrices of the layers (embeddings, norms and head stay whole)."""
        return self.shape.layers * self.shape.layer_parameters

    def kv_bytes(self, bytes_per_element: int, tensor_parallel: int = 1) -> float:
        """Bytes of keys and values of one token on one of ``tensor_parallel`` GPUs: 2 · layers · kv heads · head width · bytes. A GPU has
        at least one head."""
        heads = max(1.0, self.shape.kv_heads / tensor_parallel)
        return 2.0 * self.shape.layers * heads * self.shape.head_dim * bytes_per_element


# Shapes as in the models' published config.json: layers, hidden, heads, kv heads, head width, intermediate, vocabulary; tied.
KNOWN = {
    "llama-3.1-8b": (ModelShape(32, 4096, 32, 8, 128, 14336, 128256), False),
    "llama-3.1-70b": (ModelShape(80, 8192, 64, 8, 128, 28672, 128256), False),
    "llama-3.2-1b": (ModelShape(16, 2048, 32, 8, 64, 8192, 128256), True),
    "qwen2.5-0.5b": (ModelShape(24, 896, 14, 2, 64, 4864, 151936), True),
    "qwen2.5-1.5b": (ModelShape(28, 1536, 12, 2, 128, 8960, 151936), True),
    "qwen2.5-7b": (ModelShape(28, 3584, 28, 4, 128, 18944, 152064), False),
    "qwen3-8b": (ModelShape(36, 4096, 32, 8, 128, 12288, 151936), False),
    "smollm2-135m": (ModelShape(30, 576, 9, 3, 64, 1536, 49152), True),
}


def model_named(name: str) -> Model:
    """A known name, or a folder with (or path of) a Hugging Face config.json. Raises PlanError for anything else."""
    if name.lower() in KNOWN:
        shape, tied = KNOWN[name.lower()]
        return Model(name.lower(), shape, tied)
    path = Path(name)
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        return _of_file(file)
    hint = did_you_mean(name.lower(), KNOWN)
    raise PlanError(f"--model {name}: should be one of {', '.join(KNOWN)}, or a Hugging Face folder with a config.json{hint}")


def model_of_scratch(config: ModelConfig, vocabulary: int) -> Model:
    """The small Llama that a run without policy.path makes."""
    shape = ModelShape(
        config.layers,
        config.hidden_size,
        config.heads,
        config.kv_heads or config.heads,
        config.head_dim,
        config.intermediate_size,
        vocabulary,
    )
    return Model("from scratch", shape, config.tie_embeddings)


def _of_file(file: Path) -> Model:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
        shape = ModelShape.of(SimpleNamespace(**content))
    except (OSError, ValueError, TypeError) as error:
        raise PlanError(f"--model: {file} cannot be read as a model's configuration: {error}") from error
    sizes = (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim, shape.intermediate, shape.vocabulary)
    if min(sizes) < 1:
        raise PlanError(f"--model: {file} describes a model with a size below 1: {shape}")
    return Model(file.parent.name or str(file), shape, bool(content.get("tie_word_embeddings", False)), file.parent)
