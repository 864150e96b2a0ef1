"""How much arithmetic training needs by its definition, and how much the machine could have done in that time.

Their ratio is the model FLOPs utilisation (MFU) of PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B),

    MFU = floating point operations that the model's mathematics needs / (seconds * peak operations per second).

Only what the loss and its gradient need counts: what is computed again (activation checkpointing, chunked log-probs) or computed for
nothing (padding, a prompt in each part of a split group) makes the denominator larger and not the numerator. Two things differ from the
paper's 6 N + 12 L H Q T per token: of attention only the pairs that a causal mask shows are counted (about half of them), and the head is
counted where there is something to predict. Norms, rotations, softmax and the optimizer are left out there and here.

Everything but :func:`matmul_peak` is a pure function of counts. A multiply-add is two operations. torch is imported where it is used: a
planner counts on machines without it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from learner.batch import Document

# Decoders of attention (q, k, v, o) and a dense MLP with these numbers of matrices: gate, up, down, or up, down. A family that is not here
# may route tokens to experts or share layers, and then the formula would be wrong without anybody noticing.
MLP_MATRICES = {"llama": 3, "mistral": 3, "qwen2": 3, "qwen3": 3, "smollm3": 3, "starcoder2": 2}

MEASURE_S = 0.25  # what finding a CPU's peak may take

# Dense peaks in operations per second by NVIDIA's data sheets (without structured sparsity; accumulation in fp32): bf16, TF32, fp32.
# Names as CUDA reports them, matched as a whole: a part of a card (MIG) or a laptop's namesake is another device.
GPU_PEAKS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    (r"H100 \d+GB HBM3|H100 SXM5.*", (989.4e12, 494.7e12, 66.9e12)),
    (r"H100 PCIe|H100 80GB HBM2e", (756.0e12, 378.0e12, 51.2e12)),
    (r"H100 NVL", (835.0e12, 417.5e12, 60.0e12)),
    (r"H200", (989.4e12, 494.7e12, 66.9e12)),
    (r"H200 NVL", (835.0e12, 417.5e12, 60.0e12)),
    (r"A100[- ](SXM4|PCIE|SXM)-\d+GB|A100 80GB PCIe", (312.0e12, 156.0e12, 19.5e12)),
    (r"L40S", (362.0e12, 183.0e12, 91.6e12)),
    (r"L4", (121.0e12, 60.0e12, 30.3e12)),
    (r"GeForce RTX 4090", (165.2e12, 82.6e12, 82.6e12)),
    (r"B200", (2250.0e12, 1125.0e12, 75.0e12)),
)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides the operations of a decoder: widths in elements, counts of layers and heads, and the matrices of its MLP."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    gated: bool = True

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """Reads a transformers configuration.

        Raises:
            ValueError: a field is missing, or the family is not one of MLP_MATRICES.
        """

        def field(name: str) -> int:
            value = getattr(config, name, None)
            if value is None:
                raise ValueError(f"model FLOPs cannot be counted: the model's configuration ({family}) has no {name}")
            return int(value)

        family = getattr(config, "model_type", None) or type(config).__name__
        hidden, heads = field("hidden_size"), field("num_attention_heads")
        shape = cls(
            layers=field("num_hidden_layers"),
            hidden=hidden,
            heads=heads,
            kv_heads=field("num_key_value_heads"),
            head_dim=int(getattr(config, "head_dim", None) or hidden // heads),  # transformers' own default
            intermediate=field("intermediate_size"),
            vocabulary=field("vocab_size"),
            gated=MLP_MATRICES.get(family) == 3,
        )
        if family not in MLP_MATRICES:
            raise ValueError(f"model FLOPs of model_type = {family!r} are not known, only those of {', '.join(sorted(MLP_MATRICES))}")
        return shape

    @property
    def layer_parameters(self) -> int:
        """Elements of the matrices of one layer: q and o, k and v, and the MLP's."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return attention + (3 if self.gated else 2) * self.hidden * self.intermediate


def forward_flops(shape: ModelShape, rows: int, targets: int, attended: int) -> int:
    """Operations of one forward pass.

    Args:
        rows: tokens that pass through the layers.
        targets: tokens predicted; the head runs for these only.
        attended: pairs of a query and a key that it sees (attended_pairs). Each costs one dot product of Q and K and one weighted row of V
            in every head and layer: 4 * head_dim.
    """
    matrices = 2 * shape.layers * shape.layer_parameters * rows
    attention = 4 * shape.layers * shape.heads * shape.head_dim * attended
    head = 2 * shape.hidden * shape.vocabulary * targets
    return matrices + attention + head


def training_flops(shape: ModelShape, rows: int, targets: int, attended: int) -> int:
    """Forward and backward: every product has two in its gradient, one for each factor, so three times :func:`forward_flops`."""
    return 3 * forward_flops(shape, rows, targets, attended)


def attended_pairs(documents: Iterable[Document]) -> int:
    """Pairs of a query and a key that it sees, in one head of one layer, under shared-prefix packing (batch.py).

    P prompt tokens see P (P + 1) / 2 keys, once; the n = L - 1 rows of a completion see the prompt and themselves, n P + n (n + 1) / 2.
    Give whole documents, not the parts of ``split_documents``: these compute the prompt again, which is work but not useful work.
    """
    pairs = 0
    for document in documents:
        prompt = len(document.prompt_ids)
        pairs += prompt * (prompt + 1) // 2
        for completion in document.completions:
            rows = len(completion.ids) - 1
            pairs += rows * prompt + rows * (rows + 1) // 2
    return pairs


def matmul_peak(dtype: torch.dtype, device: torch.device, threads: int | None = None) -> float | None:
    """Peak operations per second of matrix products; measured on a CPU (once per process, dtype and threads: a quarter of a second).

    float32 on a GPU means TF32 if ``torch.set_float32_matmul_precision`` allows it.

    Args:
        threads: of torch on a CPU; None: as many as it has now.

    Returns:
        None for a device or dtype that is not known: then there is no MFU to report, rather than a guess.
    """
    import torch

    if device.type == "cpu":
        return _measured_peak(dtype, threads or torch.get_num_threads())
    if device.type != "cuda":
        return None
    return gpu_peak(torch.cuda.get_device_name(device), dtype, tf32=torch.get_float32_matmul_precision() != "highest")


def gpu_peak(name: str, dtype: torch.dtype, tf32: bool = False) -> float | None:
    """The data sheet's peak, or None. ``name``: as ``torch.cuda.get_device_name`` gives it."""
    import torch

    column = {torch.bfloat16: 0, torch.float16: 0, torch.float32: 1 if tf32 else 2}.get(dtype)
    peaks = data_sheet_peaks(name)
    return None if column is None or peaks is None else peaks[column]


def data_sheet_peaks(name: str) -> tuple[float, float, float] | None:
    """Dense peaks of a GPU in bf16, TF32 and fp32, operations per second; None for one that is not in the table."""
    plain = name.removeprefix("NVIDIA ")
    return next((peaks for pattern, peaks in GPU_PEAKS if re.fullmatch(pattern, plain)), None)


@cache
def _measured_peak(dtype: torch.dtype, threads: int) -> float:
    """The best rate of square products that grow until the time is up: how large they must be for the peak depends on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            return _best_rate(dtype, time.perf_counter() + MEASURE_S)
    finally:
        torch.set_num_threads(before)


def _best_rate(dtype: torch.dtype, deadline: float) -> float:
    import torch

    best, size = 0.0, 256
    while True:
        factor = torch.ones(size, size, dtype=dtype)
        result = factor @ factor  # threads start and memory is touched outside the measurement
        for _ in range(4):
            began = time.perf_counter()
            torch.mm(factor, factor, out=result)
            ended = time.perf_counter()
            best = max(best, 2 * size**3 / (ended - began))
            if ended > deadline:
                return best
        if size < 4096 and ended + 2 * 2 * (2 * size) ** 3 / best < deadline:  # there is time for two products of twice the size
            size *= 2
