"""What can be chosen about the learner. Every field works, or :meth:`validate` refuses it and says what to do instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# Member names equal their values, because Hydra finds the member of a structured config by name.


class Dtype(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class Schedule(StrEnum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Advantage(StrEnum):
    mean = "mean"
    mean_std = "mean_std"
    rloo = "rloo"


class Loss(StrEnum):
    clip_higher = "clip_higher"
    gspo = "gspo"
    cispo = "cispo"


class Aggregation(StrEnum):
    token_mean = "token_mean"
    sequence_mean = "sequence_mean"
    constant = "constant"


class Correction(StrEnum):
    none = "none"
    tis = "tis"
    icepop = "icepop"
    geometric = "geometric"
    bypass = "bypass"


class Kl(StrEnum):
    none = "none"
    k1 = "k1"
    k2 = "k2"
    k3 = "k3"


def _require(holds: bool, field: str, value: object, remedy: str) -> None:
    if not holds:
        raise ValueError(f"{field} = {value!r} is not possible: {remedy}")


@dataclass
class ModelConfig:
    """Shape of a Llama made from scratch. The defaults, with 512 tokens, have 722,048 parameters.

    Attributes:
        hidden_size: width of the residual stream.
        layers: decoder layers.
        heads, head_dim: query heads of each layer and their width; the engine's kernels want a head_dim of 32, 64, 80, 96, 112, 128, …
        intermediate_size: width of the MLP.
        tie_embeddings: one matrix for the embeddings and the head.
        max_position_embeddings: longest sequence, prompt included.
        rope_theta: base of the rotary position embeddings.
        rms_norm_eps: added to the mean square in RMSNorm.
        initializer_range: standard deviation of the initial weights.
    """

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None  # None: as many as heads
    head_dim: int = 32
    intermediate_size: int = 256
    tie_embeddings: bool = True
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def parameters(self, vocab_size: int) -> int:
        """How many a model of this shape has."""
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        attention = self.hidden_size * self.head_dim * 2 * (self.heads + kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)
        return self.layers * layer + embeddings + self.hidden_size

    def validate(self) -> None:
        """Raises ValueError for a shape that cannot be built or that no engine can serve."""
        for name in ("hidden_size", "layers", "heads", "head_dim", "intermediate_size", "max_position_embeddings"):
            _require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "give a positive number")
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        _require(
            1 <= kv_heads <= self.heads and self.heads % kv_heads == 0,
            "model.kv_heads",
            kv_heads,
            f"give a divisor of heads = {self.heads}",
        )
        _require(self.head_dim % 2 == 0, "model.head_dim", self.head_dim, "rotary embeddings need an even number")
        _require(self.rope_theta > 0, "model.rope_theta", self.rope_theta, "give a positive number")
        _require(self.rms_norm_eps > 0, "model.rms_norm_eps", self.rms_norm_eps, "give a positive number")
        _require(self.initializer_range > 0, "model.initializer_range", self.initializer_range, "give a positive number")


@dataclass
class OptimConfig:
    """AdamW and its learning-rate schedule over the ``total_steps`` of a stage.

    Attributes:
        lr: the largest learning rate, reached after the warm-up.
        betas: decay of the moving averages of gradient and squared gradient.
        eps: added to the root of the squared gradient's average.
        warmup_steps: steps over which the rate rises linearly to lr; the first of them already moves.
        schedule: how it falls afterwards.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01  # on matrices only: norms and biases are never decayed
    warmup_steps: int = 0
    schedule: Schedule = Schedule.cosine
    min_lr_ratio: float = 0.1  # the schedule ends at lr * min_lr_ratio
    grad_clip: float = 1.0  # global gradient norm; 0 = do not clip

    def validate(self) -> None:
        _require(self.lr >= 0, "optim.lr", self.lr, "give a number >= 0")
        _require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "optim.betas", self.betas, "give two numbers in [0, 1)"
        )
        _require(self.eps > 0, "optim.eps", self.eps, "give a positive number")
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "give a number >= 0")
        _require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "give a number >= 0")
        _require(0 <= self.min_lr_ratio <= 1, "optim.min_lr_ratio", self.min_lr_ratio, "give a number in [0, 1]")
        _require(self.grad_clip >= 0, "optim.grad_clip", self.grad_clip, "give a number >= 0 (0 switches clipping off)")


@dataclass
class LearnerConfig:
    """How the weights are held and how much is computed at once. Apart from rounding, none of it changes the loss or the gradient.

    Attributes:
        dtype: of weights and activations; bf16 keeps float32 master weights and needs zero_stage of 1 or more.
        device: cpu or cuda.
        zero_stage: what DeepSpeed divides among the ranks: 0 nothing, 1 optimizer state, 2 gradients too, 3 weights too.
        offload_optimizer: float32 weights and moments in main memory, not on the GPU; on a CPU they are there anyway. In bf16 with
            zero_stage 3 only.
        offload_parameters: under ZeRO-3 also the parameters; needs offload_optimizer.
        gradient_checkpointing: compute activations twice instead of keeping them.
        lora_rank: rank of adapters beside the frozen model's linear layers (learner/lora.py); 0 trains all weights. Published and exported
            weights are merged.
        lora_alpha: their scale is lora_alpha / lora_rank.
        lora_targets: names of the linear layers that get one.
    """

    dtype: Dtype = Dtype.fp32
    device: Device = Device.cpu
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    # Ranks that compute one micro-batch together, each a part of its rows (sequence_parallel.py): for rows that do not fit on one.
    sequence_parallel: int = 1
    # Ranks that hold a part of each layer's matrices (tensor_parallel.py): for layers that do not fit on one.
    tensor_parallel: int = 1
    micro_batch_tokens: int = 2048  # rows of one forward pass on one rank; the optimum on CPU is flat between 1,500 and 4,000
    threads: int = 1  # of torch on this rank (CPU)
    # Matrix products of the backward pass (CPU). bf16 leaves log-probs as they are and rounds the gradient's factors to 8 bits: 15 to 20 %
    # more tokens per second on a CPU with avx512_bf16 or AMX, none on others.
    gradient_dtype: Dtype = Dtype.fp32
    gradient_checkpointing: bool = False
    compile: bool = False  # norms and MLPs through torch.compile (kernels.py); on a CPU it needs a C++ compiler
    # Memory for logits (MiB). What needs more is computed in chunks, twice (logprobs.py).
    logprob_buffer_mb: int = 256
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    head_fp32: bool = False  # the language-model head in float32 though the model is in bf16

    def validate(self) -> None:
        _require(self.zero_stage in (0, 1, 2, 3), "learner.zero_stage", self.zero_stage, "give 0, 1, 2 or 3")
        _require(
            not (self.dtype == Dtype.bf16 and self.zero_stage == 0),
            "learner.zero_stage",
            self.zero_stage,
            "DeepSpeed's stage 0 would add gradients up in bf16; with learner.dtype=bf16 take learner.zero_stage=2",
        )
        _require(
            not self.offload_optimizer or self.zero_stage > 0,
            "learner.offload_optimizer",
            True,
            "DeepSpeed offloads what ZeRO has cut: take learner.zero_stage=2 (or 1, 3)",
        )
        _require(
            not self.offload_optimizer or self.dtype == Dtype.fp32 or self.zero_stage == 3,
            "learner.zero_stage",
            self.zero_stage,
            "below stage 3 DeepSpeed adds an offloaded optimizer's gradients up in bf16; with learner.dtype=bf16 and "
            "learner.offload_optimizer=true take learner.zero_stage=3",
        )
        _require(
            not self.offload_parameters or (self.zero_stage == 3 and self.offload_optimizer),
            "learner.offload_parameters",
            True,
            "it needs learner.zero_stage=3 and learner.offload_optimizer=true",
        )
        _require(
            self.gradient_dtype == Dtype.fp32 or (self.dtype == Dtype.fp32 and self.device == Device.cpu),
            "learner.gradient_dtype",
            self.gradient_dtype.value,
            "it is for dtype=fp32 on a CPU; with dtype=bf16 the backward pass is in bf16 anyway, so set it to fp32",
        )
        _require(
            not self.compile or self.dtype == Dtype.bf16 or self.device == Device.cuda,
            "learner.compile",
            True,
            "in fp32 on a CPU hand-written gradients take their place; set it to false",
        )
        _require(self.sequence_parallel >= 1, "learner.sequence_parallel", self.sequence_parallel, "give a divisor of pool.learners")
        _require(self.tensor_parallel >= 1, "learner.tensor_parallel", self.tensor_parallel, "give a divisor of pool.learners")
        if self.tensor_parallel > 1:
            for holds, remedy in (
                (self.zero_stage > 0, "DeepSpeed's stage 0 clips by the norm of a part; take learner.zero_stage=1, 2 or 3 with it"),
                (self.sequence_parallel == 1, "take either it or learner.sequence_parallel"),
                (self.lora_rank == 0, "adapters' layers are not cut; set learner.lora_rank=0 or take ZeRO-3"),
                (self.gradient_dtype == Dtype.fp32, "the cut layers multiply in the model's dtype; set learner.gradient_dtype=fp32"),
                (not self.compile, "all-reduces cannot be fused; set learner.compile=false"),
            ):
                _require(holds, "learner.tensor_parallel", self.tensor_parallel, remedy)
        _require(self.micro_batch_tokens >= 1, "learner.micro_batch_tokens", self.micro_batch_tokens, "give a positive number")
        _require(self.threads >= 1, "learner.threads", self.threads, "give a positive number")
        _require(self.logprob_buffer_mb >= 1, "learner.logprob_buffer_mb", self.logprob_buffer_mb, "give a positive number")
        _require(self.lora_rank >= 0, "learner.lora_rank", self.lora_rank, "give a number >= 0 (0 trains all weights)")
        _require(self.lora_alpha > 0, "learner.lora_alpha", self.lora_alpha, "give a positive number, often twice the rank")
        _require(bool(self.lora_targets), "learner.lora_targets", self.lora_targets, "name at least one kind of linear layer")
        _require(
            not self.head_fp32 or self.dtype == Dtype.bf16,
            "learner.head_fp32",
            True,
            "with dtype=fp32 the head is in float32: set it to false",
        )


@dataclass
class GrpoConfig:
    """The policy-gradient step (formulas: docs/algorithms.md; code: losses.py, corrections.py, advantages.py).

    Attributes:
        advantage: how a group's rewards become advantages.
        loss: the surrogate objective.
        clip_low, clip_high: the importance ratio is clipped to [1 − clip_low, 1 + clip_high].
        dual_clip: for negative advantages the loss is at most −dual_clip · advantage; null = no such bound. Of clip_higher only.
        aggregation: how token losses become the step's loss.
        correction: what makes up for samples of an older or numerically different policy.
        tis_cap: largest weight of tis.
        icepop_low, icepop_high: band of token ratios outside of which icepop leaves a token out.
        geometric_low, geometric_high: band of a sequence's geometric-mean ratio outside of which geometric leaves the sequence out.
        updates_per_step: optimiser updates over which the documents of a step are dealt out.
        kl: estimator of the KL term towards a reference policy; none = no such term, no reference in memory.
        kl_coef: weight of the KL term.
    """

    advantage: Advantage = Advantage.mean
    loss: Loss = Loss.clip_higher
    clip_low: float = 0.2
    clip_high: float = 0.28
    dual_clip: float | None = None
    aggregation: Aggregation = Aggregation.token_mean
    constant_length: int = 1024  # only for aggregation=constant: the length every sequence is divided by
    correction: Correction = Correction.tis
    tis_cap: float = 2.0
    icepop_low: float = 0.5
    icepop_high: float = 5.0
    geometric_low: float = 0.98
    geometric_high: float = 1.02
    updates_per_step: int = 1
    kl: Kl = Kl.none
    kl_coef: float = 0.0
    kl_refresh_every: int = 0  # steps between refreshes of the reference; 0 = frozen at its first use in the stage
    temperature: float = 1.0  # the sampling temperature: log-probs of all three policies are taken after it

    def validate(self) -> None:
        _require(0 < self.clip_low < 1, "grpo.clip_low", self.clip_low, "give a number in (0, 1), 0.2 for PPO, 3e-4 for GSPO")
        _require(self.clip_high > 0, "grpo.clip_high", self.clip_high, "give a positive number, 0.28 for PPO, 4e-4 for GSPO")
        if self.dual_clip is not None:
            _require(self.dual_clip > 1, "grpo.dual_clip", self.dual_clip, "give a number above 1 (3 in the paper) or null")
            _require(self.loss == Loss.clip_higher, "grpo.dual_clip", self.dual_clip, f"loss={self.loss} has no dual clip; set it to null")
        _require(self.constant_length >= 1, "grpo.constant_length", self.constant_length, "give the completion length cap")
        _require(self.tis_cap >= 1, "grpo.tis_cap", self.tis_cap, "a cap below 1 would shrink on-policy tokens; give a number >= 1")
        for name, low, high in (
            ("icepop", self.icepop_low, self.icepop_high),
            ("geometric", self.geometric_low, self.geometric_high),
        ):
            _require(0 < low <= 1 <= high, f"grpo.{name}_low/{name}_high", (low, high), "the band must contain 1 and be positive")
        _require(self.updates_per_step >= 1, "grpo.updates_per_step", self.updates_per_step, "give a positive number")
        _require(self.temperature > 0, "grpo.temperature", self.temperature, "a policy gradient needs sampling; give a positive number")
        _require(self.kl_coef >= 0, "grpo.kl_coef", self.kl_coef, "give a number >= 0")
        _require(self.kl_refresh_every >= 0, "grpo.kl_refresh_every", self.kl_refresh_every, "give a number >= 0 (0 = never)")
        _require(
            (self.kl == Kl.none) == (self.kl_coef == 0),
            "grpo.kl_coef",
            self.kl_coef,
            f"with kl={self.kl} the coefficient must be {'0' if self.kl == Kl.none else 'above 0, or kl=none'}",
        )
        _require(
            self.kl_refresh_every == 0 or self.kl != Kl.none,
            "grpo.kl_refresh_every",
            self.kl_refresh_every,
            "there is no reference with kl=none",
        )
