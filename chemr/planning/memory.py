"""Bytes per GPU of a learner rank and of an engine. Pure arithmetic; formulas and sources are in docs/planning.md.

The learner's part follows learner/distributed.py: AdamW, in bf16 with float32 master weights and float32 gradients (DeepSpeed's
``grad_accum_dtype``), in fp32 with the weights as their own master. ZeRO deals out the optimizer's state (stage 1), gradients (2) and
weights (3) over the data-parallel ranks (Rajbhandari et al., arXiv:1910.02054, section 3).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chemr.planning.devices import GIB, Assumptions
from chemr.planning.errors import PlanError
from chemr.planning.model_sizes import Model

BYTES = {"fp32": 4, "bf16": 2, "float32": 4, "bfloat16": 2, "float16": 2}
CHUNK_TEMPORARIES = 3  # float32 rows of logits per chunk, as in learner/logprobs.py, which stays within its buffer
ENGINE_BATCHED_TOKENS = 8192  # vLLM's default of tokens per step on a large GPU


@dataclass(frozen=True, slots=True)
class LearnerLayout:
    """How ranks hold and compute the policy; the names are those of ``learner.*`` (``ranks``: pool.learners)."""

    ranks: int
    dtype: str = "bf16"
    zero_stage: int = 2
    tensor_parallel: int = 1
    sequence_parallel: int = 1
    micro_batch_tokens: int = 8192
    gradient_checkpointing: bool = False
    logprob_buffer_mb: int = 256
    offload_optimizer: bool = False
    reference: bool = False  # a frozen copy for a KL term

    def __post_init__(self) -> None:
        for name in ("ranks", "tensor_parallel", "sequence_parallel", "micro_batch_tokens", "logprob_buffer_mb"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} is {getattr(self, name)}: should be at least 1")
        if self.zero_stage not in (0, 1, 2, 3) or self.dtype not in ("fp32", "bf16"):
            raise PlanError(f"zero_stage {self.zero_stage}, dtype {self.dtype}: should be 0 to 3, and fp32 or bf16")
        if self.ranks % (self.tensor_parallel * self.sequence_parallel):
            raise PlanError(f"{self.ranks} ranks cannot be dealt out in groups of {self.tensor_parallel * self.sequence_parallel}")

    @property
    def data_parallel(self) -> int:
        """Groups of ranks that see different documents."""
        return self.ranks // (self.tensor_parallel * self.sequence_parallel)


@dataclass(frozen=True, slots=True)
class LearnerMemory:
    """Bytes on one rank's GPU at its peak."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    head: float
    workspace: float

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bytes on one GPU of an engine. ``cache`` is what is left for keys and values, ``cache_tokens`` how many tokens that holds."""

    weights: float
    activations: float
    workspace: float
    cache: float
    cache_tokens: int

    @property
    def total(self) -> float:
        return self.weights + self.activations + self.workspace + self.cache


def learner_memory(model: Model, layout: LearnerLayout, assumptions: Assumptions) -> LearnerMemory:
    """Peak of one rank."""
    tensors, data = layout.tensor_parallel, layout.ranks // layout.tensor_parallel  # ZeRO shards over sequence-parallel ranks, too
    held = model.parameters - model.cut_parameters + model.cut_parameters / tensors
    element = BYTES[layout.dtype]
    weights = held * element / (data if layout.zero_stage == 3 else 1)
    if layout.zero_stage == 3:  # whole while it is used: the largest thing gathered at once, and one prefetched
        weights += 2 * element * max(model.shape.layer_parameters / tensors, model.shape.vocabulary * model.shape.hidden)
    gradients = 4.0 * held / (data if layout.zero_stage >= 2 else 1)
    state = held * (12.0 if layout.dtype == "bf16" else 8.0)  # master weights and two moments; in fp32 the weights are the master
    optimizer = 0.0 if layout.offload_optimizer else state / (data if layout.zero_stage >= 1 else 1)
    reference = held * element / (data if layout.zero_stage == 3 else 1) if layout.reference else 0.0
    rows = layout.micro_batch_tokens / layout.sequence_parallel
    head = float(layout.logprob_buffer_mb << 20) + rows * model.shape.hidden * (element + 4.0)  # its input and that one's gradient
    return LearnerMemory(
        weights + reference,
        gradients,
        optimizer,
        activations(model, rows, element, tensors, layout.gradient_checkpointing),
        head,
        assumptions.workspace_gib * GIB,
    )


def activations(model: Model, rows: float, element: int, tensor_parallel: int, checkpointing: bool) -> float:
    """Bytes kept for the backward pass of one micro-batch of ``rows`` tokens, attention without a matrix of scores.

    Per token and layer: the input of both norms and their outputs (4 · hidden), queries and the attention's output, keys and values, and
    of the MLP gate, its activation, up and their product (4 · intermediate; 2 for an ungated one); the count of Korthikanti et al.
    (arXiv:2205.05198, section 4.1) for a gated decoder without dropout. Norms keep their input in float32 as transformers' do. With
    checkpointing one input per layer is kept, and everything of one layer at a time (their section 5).
    """
    shape = model.shape
    whole = 2 * shape.hidden * (element + 2) + 2 * shape.hidden * element
    cut = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim + (4 if shape.gated else 2) * shape.intermediate
    layer = whole + cut * element / tensor_parallel
    if checkpointing:
        return rows * (shape.layers * shape.hidden * element + layer)
    return rows * shape.layers * layer


def engine_memory(
    model: Model,
    dtype: str,
    tensor_parallel: int,
    gpu_bytes: float,
    utilization: float,
    assumptions: Assumptions,
    batched_tokens: int = ENGINE_BATCHED_TOKENS,
) -> EngineMemory:
    """What one GPU of an engine holds when vLLM may take ``utilization`` of it. ``cache`` is never below 0: see :func:`require_engine`."""
    element = BYTES[dtype]
    weights = model.parameters * element / tensor_parallel  # vLLM cuts embedding and head, too
    shape = model.shape
    step = batched_tokens * element * (4 * shape.hidden + (2 * shape.intermediate + 2 * shape.heads * shape.head_dim) / tensor_parallel)
    workspace = assumptions.engine_workspace_gib * GIB
    cache = max(0.0, utilization * gpu_bytes - weights - step - workspace)
    return EngineMemory(weights, step, workspace, cache, int(cache / model.kv_bytes(element, tensor_parallel)))


def require_engine(memory: EngineMemory, longest: int, gpu_bytes: float, utilization: float, what: str) -> None:
    """Raises PlanError when not even one sample of ``longest`` tokens fits beside the weights."""
    if memory.cache_tokens < longest:
        raise PlanError(
            f"{what} does not fit: weights {memory.weights / GIB:.1f} GiB, activations {memory.activations / GIB:.1f} and workspace "
            f"{memory.workspace / GIB:.1f} leave room for {memory.cache_tokens} tokens of keys and values within {utilization:.0%} of "
            f"{gpu_bytes / GIB:.1f} GiB, and one sample may have {longest}; cut the engine over more GPUs or lower the length"
        )


def require_learner(memory: LearnerMemory, gpu_bytes: float, what: str) -> None:
    """Raises PlanError when a rank needs more than its GPU has."""
    if memory.total > gpu_bytes:
        parts = ", ".join(f"{name} {value / GIB:.1f}" for name, value in asdict(memory).items())
        raise PlanError(
            f"{what} does not fit: {memory.total / GIB:.1f} GiB ({parts}) and the GPU has {gpu_bytes / GIB:.1f}; more ranks with a higher "
            "ZeRO stage, gradient checkpointing or smaller micro-batches need less"
        )
