"""How fast an engine generates and a learner trains: a roofline from data sheets and assumptions, or numbers that calibration found.

The roofline of decoding (Williams et al. 2009, CACM 52(4); for LLM inference Pope et al., arXiv:2211.05102, section 3): one step reads all
weights and the keys and values of all running samples, and does two operations a parameter and sample. Small batches wait for memory,
large ones for arithmetic. Formulas are in docs/planning.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chemr.planning.devices import Assumptions, Gpu
from chemr.planning.memory import BYTES, LearnerLayout
from chemr.planning.model_sizes import Model
from chemr.planning.workload import Workload
from learner.model_flops import forward_flops, training_flops


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Seconds of one decoding step with n running samples, max(memory, arithmetic) + constant, and of reading prompts.

    step(n) = max(weights_s + cache_s · n, arithmetic_s · n) + constant_s + sample_s · n

    Attributes:
        weights_s: reading the weights once.
        cache_s: reading one sample's keys and values.
        arithmetic_s: the operations of one sample's token.
        constant_s, sample_s: what else a step costs, and a sample in it.
        prefill_s: one token of a prompt.
        most_samples: running at once; more wait in the engine's queue.
        update_s: the engine stands still for a weight update.
        pull_s: from publication until it serves the new version, the standstill included.
        end_s: putting a finished sample together and sending it away.
    """

    weights_s: float
    cache_s: float
    arithmetic_s: float
    constant_s: float
    sample_s: float
    prefill_s: float
    most_samples: int
    update_s: float
    pull_s: float
    end_s: float = 0.0

    def step_s(self, running: float) -> float:
        """Seconds of one decoding step."""
        return max(self.weights_s + self.cache_s * running, self.arithmetic_s * running) + self.constant_s + self.sample_s * running

    def tokens_per_s(self, running: float) -> float:
        """Answers' tokens per second with ``running`` samples, prompts left out."""
        return min(running, self.most_samples) / self.step_s(min(running, self.most_samples))

    def scaled(self, factor: float) -> EngineSpeed:
        """The same engine ``factor`` times as slow; updates as they are."""
        scaled = ("weights_s", "cache_s", "arithmetic_s", "constant_s", "sample_s", "prefill_s", "end_s")
        return replace(self, **{name: getattr(self, name) * factor for name in scaled})


@dataclass(frozen=True, slots=True)
class LearnerSpeed:
    """Seconds of a step of the learner.

    Attributes:
        train_s: forward, backward, optimizer and communication of the average step.
        publish_s: gathering the weights and putting them where engines find them; the learner does nothing else meanwhile.
        computing_s: the part of ``train_s`` that is arithmetic.
    """

    train_s: float
    publish_s: float
    computing_s: float


def engine_roofline(
    model: Model, gpu: Gpu, dtype: str, tensor_parallel: int, cache_tokens: int, max_num_seqs: int, workload: Workload, assumed: Assumptions
) -> EngineSpeed:
    """An engine on ``tensor_parallel`` GPUs whose cache holds ``cache_tokens`` (of one GPU's share of the heads)."""
    element, shape = BYTES[dtype], model.shape
    context = workload.prompt_tokens + workload.lengths.mean_of_running
    bandwidth = gpu.bandwidth * assumed.decode_bandwidth
    peak = gpu.bf16_flops * tensor_parallel * (0.5 if element == 4 else 1.0)  # TF32 runs at half of bf16
    per_token = forward_flops(shape, 1, 1, 0)
    attention = forward_flops(shape, 0, 0, 1) * context
    # The head is not needed for a prompt's tokens; a token of it sees half of the prompt.
    prompt = forward_flops(shape, 1, 0, 0) + forward_flops(shape, 0, 0, 1) * workload.prompt_tokens / 2
    weight_bytes = model.parameters * element
    return EngineSpeed(
        weights_s=weight_bytes / tensor_parallel / bandwidth,
        cache_s=model.kv_bytes(element, tensor_parallel) * context / bandwidth,
        arithmetic_s=(per_token + attention) / (peak * assumed.decode_mfu),
        constant_s=assumed.decode_overhead_s + (2 * shape.layers * assumed.allreduce_s if tensor_parallel > 1 else 0.0),
        sample_s=0.0,
        prefill_s=prompt / (peak * assumed.prefill_mfu),
        most_samples=max(1, min(max_num_seqs, int(cache_tokens / max(1.0, context)))),
        update_s=assumed.update_s + weight_bytes / tensor_parallel / assumed.host_copy,
        pull_s=assumed.update_s + 2 * weight_bytes / tensor_parallel / assumed.host_copy,
    )


def step_flops(model: Model, workload: Workload) -> float:
    """Operations of training on one step by its definition, prompts once per group (learner/model_flops.py)."""
    answers = workload.trained_tokens
    prompts = workload.groups_per_step * workload.prompt_tokens
    length = workload.lengths.capped_mean
    squares = 2 * workload.lengths.mean_of_running * length  # E[L²]
    samples = workload.groups_per_step * workload.samples_per_group
    pairs = samples * (length * workload.prompt_tokens + squares / 2) + prompts * workload.prompt_tokens / 2
    return float(training_flops(model.shape, round(answers + prompts), round(answers), round(pairs)))


def learner_roofline(
    model: Model, gpu: Gpu, layout: LearnerLayout, workload: Workload, assumed: Assumptions, *, old_forward: bool = True
) -> LearnerSpeed:
    """A learner of ``layout.ranks`` GPUs.

    Args:
        old_forward: whether log-probs of the policy at step start are computed first (all corrections but ``bypass``): a third more.
    """
    element = BYTES[layout.dtype]
    recomputed = (4.0 if layout.gradient_checkpointing else 3.0) + (1.0 if old_forward else 0.0)
    flops = step_flops(model, workload) * recomputed / 3.0
    peak = gpu.bf16_flops * (0.5 if layout.dtype == "fp32" else 1.0)
    computing = flops / (layout.ranks * peak * assumed.mfu)
    data = layout.data_parallel
    rows = workload.trained_tokens + workload.groups_per_step * workload.prompt_tokens
    micro_batches = max(1.0, -(-rows // (data * layout.micro_batch_tokens)))
    if rows / data < layout.micro_batch_tokens / 2 and data > 1:  # packing cannot fill them: the fullest rank decides
        computing *= max(1.0, 1.0 / max(0.1, workload.groups_per_step / data / max(1.0, -(-workload.groups_per_step // data))))
    link = gpu.link if layout.ranks <= assumed.gpus_per_node else min(gpu.link, assumed.network)
    share = (data - 1) / data
    whole = (model.parameters - model.cut_parameters + model.cut_parameters / layout.tensor_parallel) * share / link
    # Gradients in float32 once a micro-batch; weights once a step, under ZeRO-3 for each pass of each micro-batch.
    passes = recomputed - 1.0
    traffic = whole * 4.0 * (micro_batches if layout.zero_stage >= 2 else 2.0)
    traffic += whole * element * (passes * micro_batches if layout.zero_stage == 3 else 1.0)
    tensors = 0.0
    if layout.tensor_parallel > 1:  # two all-reduces of the hidden states in each direction and layer (arXiv:1909.08053, section 3)
        moved = 2.0 * (layout.tensor_parallel - 1) / layout.tensor_parallel * model.shape.hidden * element * rows / data
        tensors = 2 * model.shape.layers * passes * moved / gpu.link
    # Communication overlaps computing (overlap_comm); what does not fit beside it shows. Tensor parallelism's does not overlap.
    optimizer = 16.0 * model.parameters / layout.ranks / gpu.bandwidth
    train = max(computing, traffic) + tensors + optimizer
    copied = model.parameters * element / assumed.host_copy
    return LearnerSpeed(train_s=train, publish_s=assumed.update_s + copied, computing_s=computing)
