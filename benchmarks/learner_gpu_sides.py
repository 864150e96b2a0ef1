"""The sides of learner_gpu.py, each in a process of its own: the model is made, then plain transformers and the learner train it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

if TYPE_CHECKING:
    import torch

    from learner.batch import Document

Row = dict[str, Any]

WARM_UP = 2  # updates: kernels are chosen, memory is found
CHECKED = 4  # documents whose log-probs are compared
SPREAD = 0.85  # of the logarithm of a length
LEARNING_RATE = 1e-5
BETAS, EPS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 1e-8, 0.01, 1.0
NO_FIT = "does not fit"
NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Shape:
    """``config``: of transformers. ``mean``, ``longest``: tokens of a document. ``checkpointing``: activations are computed twice."""

    config: dict[str, Any]
    mean: int = 350
    longest: int = 2048
    checkpointing: bool = False


def _llama(layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, intermediate: int, vocabulary: int, tied: bool) -> Row:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    }


SHAPES = {
    "tiny": Shape(_llama(2, 64, 4, 2, 16, 128, 512, True), mean=48, longest=256),
    "0.5b": Shape({**_llama(24, 896, 14, 2, 64, 4864, 151_936, True), "model_type": "qwen2"}),  # Qwen2.5-0.5B
    "1b": Shape(_llama(16, 2048, 32, 8, 64, 8192, 128_256, True)),  # Llama-3.2-1B
    "3b": Shape(_llama(28, 3072, 24, 8, 128, 8192, 128_256, True), checkpointing=True),  # Llama-3.2-3B
    "8b": Shape(_llama(32, 4096, 32, 8, 128, 14_336, 128_256, False), checkpointing=True),  # Llama-3.1-8B
}

# ---- both sides --------------------------------------------------------------------------------------------------------------------------


def make_documents(shape: Shape, options: argparse.Namespace, step: int) -> list[Document]:
    """Documents of one update with ``options.group`` completions each: as many as it takes for its tokens."""
    import numpy as np

    from learner.batch import Completion, Document

    rng = np.random.default_rng([options.seed, step])
    documents: list[Document] = []
    total = 0
    while total < options.tokens_per_step:
        length = int(np.clip(rng.lognormal(np.log(shape.mean) - SPREAD**2 / 2, SPREAD), 8, shape.longest))
        prompt = max(1, int(length * rng.uniform(0.1, 0.5)))
        targets = [length - prompt]
        for _ in range(options.group - 1):
            drawn = int(np.clip(rng.lognormal(np.log(shape.mean) - SPREAD**2 / 2, SPREAD), 8, shape.longest))
            targets.append(max(1, min(drawn, shape.longest - prompt)))
        ids = rng.integers(3, shape.config["vocab_size"], prompt + sum(targets))
        completions = np.split(ids[prompt:], np.cumsum(targets)[:-1])
        documents.append(Document(ids[:prompt], [Completion(part) for part in completions]))
        total += trained_tokens(documents[-1])
    return documents


def trained_tokens(document: Document) -> int:
    """What its sequences have, each with its own copy of the prompt."""
    return len(document.prompt_ids) * len(document.completions) + document.targets


def sequences_of(documents: Sequence[Document]) -> list[Document]:
    """Every completion alone behind its prompt."""
    from learner.batch import Document

    return [Document(document.prompt_ids, [completion]) for document in documents for completion in document.completions]


def train(update: Callable[[list[Document]], float], options: argparse.Namespace) -> Row:
    """Runs all updates. ``update`` returns the loss, in nats per target."""
    from transformers import AutoConfig

    from learner.model_flops import ModelShape, attended_pairs, training_flops

    shape = SHAPES[options.shape]
    flops_of = ModelShape.of(AutoConfig.from_pretrained(options.folder, trust_remote_code=False))
    losses, peaks, tokens, flops, seconds = [], [], 0, 0, 0.0
    forget_peak(options.device)
    for step in range(WARM_UP + options.steps):
        documents = make_documents(shape, options, step)
        wait(options.device)
        began = time.perf_counter()
        losses.append(update(documents))
        wait(options.device)
        peaks.append(peak_memory(options.device))  # the learner forgets its peak at the start of every update
        if step >= WARM_UP:
            seconds += time.perf_counter() - began
            tokens += sum(map(trained_tokens, documents))
            rows, targets = sum(document.rows for document in documents), sum(document.targets for document in documents)
            flops += training_flops(flops_of, rows, targets, attended_pairs(documents))
    return {"losses": losses, "tokens": tokens, "flops": flops, "seconds": seconds, **highest(peaks)}


def highest(peaks: Sequence[Row]) -> Row:
    """The largest of every figure; None where the system does not tell."""
    return {name: max((peak[name] for peak in peaks if peak[name] is not None), default=None) for name in peaks[0]}


def wait(device: str) -> None:
    """Until the device has computed what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def forget_peak(device: str) -> None:
    """Peaks are counted from here on."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            print("learner_gpu: the peak includes the loading of the model: the system does not let it be reset")


def peak_memory(device: str) -> Row:
    """``peak_gib``, and on a GPU ``reserved_gib``, what the allocator held with its gaps."""
    import torch

    from learner.throughput import peak_memory_bytes

    peak = peak_memory_bytes(torch.device(device))
    figures: Row = {"peak_gib": None if peak is None else peak / 2**30}
    if device == "cuda":
        figures["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
    return figures


# ---- sides: each runs in a process of its own --------------------------------------------------------------------------------------------


def model_side(options: argparse.Namespace) -> Row:
    """Writes the model, made on the device in the precision of the run, and says what the machine is."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from learner.model_flops import matmul_peak

    device, dtype = torch.device(options.device), torch.bfloat16 if options.dtype == "bf16" else torch.float32
    torch.set_num_threads(options.threads)
    fields = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **SHAPES[options.shape].config}
    torch.manual_seed(options.seed)
    with device:
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(fields.pop("model_type"), **fields), dtype=dtype, trust_remote_code=False
        )
    model.save_pretrained(options.folder)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak_flops": matmul_peak(dtype, device, options.threads),
        "hardware": hardware(device),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "deepspeed", "numpy")}
        | {"python": platform.python_version(), "cuda": torch.version.cuda},
    }


def hardware(device: torch.device) -> Row:
    """Names of processor and GPU."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    found: Row = {"cpu": cpu, "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}
    if device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "gpu_gib": torch.cuda.get_device_properties(0).total_memory / 2**30}
    return found


def packed_side(options: argparse.Namespace) -> Row:
    """The product's learner, one rank."""
    from learner.config import Device, Dtype, LearnerConfig, OptimConfig, Schedule
    from learner.distributed import World
    from learner.engine import PolicyLearner

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = LearnerConfig(
        dtype=Dtype(options.dtype),
        device=Device(options.device),
        zero_stage=2 if options.dtype == "bf16" or options.offload else 0,  # stage 0 would add bf16 gradients up in bf16
        offload_optimizer=options.offload,
        micro_batch_tokens=options.micro_batch_tokens,
        threads=options.threads,
        logprob_buffer_mb=options.logprob_buffer_mb,
        gradient_checkpointing=SHAPES[options.shape].checkpointing,
    )
    optim = OptimConfig(lr=LEARNING_RATE, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, grad_clip=CLIP, schedule=Schedule.constant)
    learner = PolicyLearner(config, options.folder, World(master_port=port))
    learner.begin_stage(optim, WARM_UP + options.steps, options.seed)
    logprobs = [numbers.tolist() for group in learner.logprobs(checked_documents(options)) for numbers in group]
    result = train(lambda documents: learner.train_sft(documents)["train/loss"], options)
    learner.close()
    return {"logprobs": logprobs, **result}


def padded_side(options: argparse.Namespace) -> Row:
    """What one writes with transformers and torch alone."""
    import torch
    from transformers import AutoModelForCausalLM

    shape, device = SHAPES[options.shape], torch.device(options.device)
    torch.set_num_threads(options.threads)
    model = AutoModelForCausalLM.from_pretrained(
        options.folder, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True
    ).to(device)
    model.config.use_cache = False
    model.train()
    if shape.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameter for parameter in model.parameters() if parameter.dim() >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [parameter for parameter in model.parameters() if parameter.dim() < 2], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
        betas=BETAS,
        eps=EPS,
        fused=True,
    )
    real = computed = 0

    def precision() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=options.dtype == "bf16")

    def logprobs(document: Document) -> list[float]:
        ids, _, labels = padded_batch([document])
        with torch.no_grad(), precision():
            logits_LV = model(ids.to(device)).logits[0, len(document.prompt_ids) - 1 : -1]
        targets_L = labels[0, len(document.prompt_ids) :].to(device)
        return torch.log_softmax(logits_LV.float(), -1).gather(1, targets_L[:, None])[:, 0].tolist()

    def update(documents: list[Document]) -> float:
        nonlocal real, computed
        optimizer.zero_grad(set_to_none=True)
        targets = sum(document.targets for document in documents)
        total = torch.zeros((), dtype=torch.float64, device=device)
        for members in padded_plan(sequences_of(documents), options.micro_batch_tokens, options.grouped):
            ids, mask, labels = padded_batch(members)
            real, computed = real + int(mask.sum()), computed + mask.numel()
            with precision():
                output = model(
                    input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), num_items_in_batch=targets
                )
            output.loss.backward()
            total += output.loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        return total.item()

    compared = [logprobs(document) for document in sequences_of(checked_documents(options))]
    result = train(update, options)
    return {"logprobs": compared, "fill": real / computed, **result}


def checked_documents(options: argparse.Namespace) -> list[Document]:
    """Those whose log-probs are compared: the first of the first update."""
    return make_documents(SHAPES[options.shape], options, 0)[:CHECKED]


def padded_plan(documents: Sequence[Document], budget: int, grouped: bool) -> list[list[Document]]:
    """Documents that are computed together: as many in a row as stay within ``budget`` tokens, padding included."""

    def length(document: Document) -> int:
        return len(document.prompt_ids) + document.targets

    plan: list[list[Document]] = []
    width = 0
    for document in sorted(documents, key=length, reverse=True) if grouped else documents:
        width = max(width, length(document))
        if plan and width * (len(plan[-1]) + 1) <= budget:
            plan[-1].append(document)
        else:
            plan.append([document])
            width = length(document)
    return plan


def padded_batch(documents: Sequence[Document]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, attention mask and labels (-100 where nothing is learnt), int64 [documents, longest]."""
    import numpy as np
    import torch

    sequences = [np.concatenate([document.prompt_ids, document.completions[0].ids]) for document in documents]
    shape = (len(sequences), max(len(sequence) for sequence in sequences))
    ids, mask, labels = (torch.full(shape, filler, dtype=torch.int64) for filler in (2, 0, -100))
    for row, (document, sequence) in enumerate(zip(documents, sequences, strict=True)):
        ids[row, : len(sequence)] = torch.from_numpy(sequence)
        mask[row, : len(sequence)] = 1
        labels[row, len(document.prompt_ids) : len(sequence)] = ids[row, len(document.prompt_ids) : len(sequence)]
    return ids, mask, labels


SIDES = {"model": model_side, "padded": padded_side, "packed": packed_side}


def run_side(options: argparse.Namespace) -> None:
    """In the child: writes the side's result. To lack memory is a result."""
    try:
        result = SIDES[options.side](options)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        result = {"error": f"{NO_FIT}: {str(error).splitlines()[0] if str(error) else 'out of memory'}"}
    options.result.write_text(json.dumps(result))


def lacks_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out. Libraries raise it as RuntimeError of their own wording."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)
