"""The learner against plain transformers on one device: tokens/s, model FLOPs utilisation (MFU), peak memory, for shapes of 0.5B to 8B.

Needs torch, transformers and deepspeed, and nothing else of chemr's environment. Weights are random and seeded, written once per shape into
a temporary folder in the precision of the run; no data set is read. Each side trains in a process of its own on the same seeded documents,
whose lengths are like those of chemistry rows (log-normal, mean 350 tokens, cut at 2,048; up to half of a row is prompt), with the same
number of updates, AdamW, clipping and activation checkpointing (on for 3b and 8b).

* packed: learner.PolicyLearner, as a run has it. bf16 means bf16 weights with float32 master weights, gradients and optimizer (ZeRO-2).
  Where these exceed the GPU (8b on 80 GB), the optimizer is offloaded to main memory, and ``packed_offload`` says so.
* padded: a transformers causal LM with SDPA, right-padded batches, an attention mask and the loss of its own. bf16 means float32 weights
  under bf16 autocast, which is what transformers' Trainer(bf16=True) does. Batches take documents in the order they come, as Trainer does,
  up to --micro-batch-tokens with padding; --grouped sorts an update's documents by length first. ``padded_fill`` is the share of real
  tokens.

A token is a real token of prompt or completion, on both sides; MFU counts what the documents need (learner/model_flops.py), so padding
lowers it. Both sides' log-probs of a few documents before training, and the losses of the first update, must agree, else the exit status
is 1. A side that runs out of memory is a row that says "does not fit". Peak memory is what torch had allocated at most during the updates;
on a CPU the process's resident memory. The first WARM_UP updates are not timed.

JSON (--json FILE): device, dtype, hardware, versions, settings, and in ``shapes`` by name: packed_tokens_per_s, padded_tokens_per_s, ratio,
packed_mfu, padded_mfu (null: the device's peak is not known), packed_peak_gib, padded_peak_gib, packed_error, padded_error, and what is
needed to judge them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
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
BYTES = 20  # a parameter in bf16: weight and gradient (2 + 2); in float32 master weight, gradient and two moments (4 * 4)
BETAS, EPS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 1e-8, 0.01, 1.0
# Nats. Per-token log-probs of random weights spread over more than half a nat, so that a wrong mask shows; bf16 keeps 8 bits of each
# activation, which averages out in the loss.
LOGPROB_TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}
LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 0.01}
NO_FIT, FAILED = "does not fit", "failed"
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


def make_documents(shape: Shape, tokens: int, seed: int, step: int) -> list[Document]:
    """Documents of one update, one completion each: as many as it takes for ``tokens`` tokens."""
    import numpy as np

    from learner.batch import Completion, Document

    rng = np.random.default_rng([seed, step])
    documents, total = [], 0
    while total < tokens:
        length = int(np.clip(rng.lognormal(np.log(shape.mean) - SPREAD**2 / 2, SPREAD), 8, shape.longest))
        prompt = max(1, int(length * rng.uniform(0.1, 0.5)))
        ids = rng.integers(3, shape.config["vocab_size"], length)
        documents.append(Document(ids[:prompt], [Completion(ids[prompt:])]))
        total += length
    return documents


def train(update: Callable[[list[Document]], float], options: argparse.Namespace) -> Row:
    """Runs all updates. ``update`` returns the loss, in nats per target."""
    from transformers import AutoConfig

    from learner.model_flops import ModelShape, attended_pairs, training_flops

    shape = SHAPES[options.shape]
    flops_of = ModelShape.of(AutoConfig.from_pretrained(options.folder))
    losses, tokens, flops, seconds = [], 0, 0, 0.0
    forget_peak(options.device)
    for step in range(WARM_UP + options.steps):
        documents = make_documents(shape, options.tokens_per_step, options.seed, step)
        wait(options.device)
        began = time.perf_counter()
        losses.append(update(documents))
        wait(options.device)
        if step >= WARM_UP:
            seconds += time.perf_counter() - began
            tokens += sum(len(document.prompt_ids) + document.targets for document in documents)
            rows, targets = sum(document.rows for document in documents), sum(document.targets for document in documents)
            flops += training_flops(flops_of, rows, targets, attended_pairs(documents))
    return {"losses": losses, "tokens": tokens, "flops": flops, "seconds": seconds, **peak_memory(options.device)}


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
    if device == "cuda":
        import torch

        return {"peak_gib": torch.cuda.max_memory_allocated() / 2**30, "reserved_gib": torch.cuda.max_memory_reserved() / 2**30}
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {"peak_gib": None}
    return {"peak_gib": next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20}


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
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields), dtype=dtype)
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
    logprobs = [numbers[0].tolist() for numbers in learner.logprobs(checked_documents(options))]
    result = train(lambda documents: learner.train_sft(documents)["train/loss"], options)
    learner.close()
    return {"logprobs": logprobs, **result}


def padded_side(options: argparse.Namespace) -> Row:
    """What one writes with transformers and torch alone."""
    import torch
    from transformers import AutoModelForCausalLM

    shape, device = SHAPES[options.shape], torch.device(options.device)
    torch.set_num_threads(options.threads)
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32, attn_implementation="sdpa").to(device)
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
        for members in padded_plan(documents, options.micro_batch_tokens, options.grouped):
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

    compared = [logprobs(document) for document in checked_documents(options)]
    result = train(update, options)
    return {"logprobs": compared, "fill": real / computed, **result}


def checked_documents(options: argparse.Namespace) -> list[Document]:
    """Those whose log-probs are compared: the first of the first update."""
    return make_documents(SHAPES[options.shape], options.tokens_per_step, options.seed, 0)[:CHECKED]


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


# ---- the comparison ----------------------------------------------------------------------------------------------------------------------


def measure(side: str, name: str, folder: Path, options: argparse.Namespace, offload: bool = False) -> Row:
    """Runs one side in a process of its own. A row with ``error`` if it does not fit or fails; in the latter case its output is shown."""
    result, log = folder / f"{side}.json", folder / f"{side}.log"
    command = [sys.executable, __file__, "--side", side, "--shape", name, "--folder", str(folder / "model"), "--result", str(result)]
    for option in ("device", "dtype", "tokens_per_step", "micro_batch_tokens", "logprob_buffer_mb", "steps", "seed", "threads"):
        command += ["--" + option.replace("_", "-"), str(getattr(options, option))]
    command += ["--grouped"] * options.grouped + ["--offload"] * offload
    # Passive: threads that spin while they wait cost several times the step on shared cores. Offline: everything is here.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", **os.environ}
    with open(log, "w") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode == -9:
        return {"error": f"{NO_FIT}: the system killed the process, most likely for want of memory"}
    if done.returncode:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
        return {"error": f"{FAILED}: the {side} side ended with status {done.returncode}; its last lines are above"}
    return json.loads(result.read_text())


def compare(name: str, options: argparse.Namespace) -> tuple[Row, Row]:
    """One shape: its row, and what the machine is (empty if not even the model could be made)."""
    folder = Path(tempfile.mkdtemp(prefix="learner-gpu-"))
    try:
        made = measure("model", name, folder, options)
        if "error" in made:
            return make_row(made, made, None, options.dtype), {}
        offload = needs_offload(made["parameters"], made["hardware"].get("gpu_gib"))
        results = {}
        for side in ("padded", "packed"):
            results[side] = measure(side, name, folder, options, offload and side == "packed")
            print(f"learner_gpu: {name}, {side}: {results[side].get('error') or told(results[side])}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row = make_row(results["packed"], results["padded"], made["peak_flops"], options.dtype)
    head = {"parameters": made["parameters"], "gradient_checkpointing": SHAPES[name].checkpointing, "packed_offload": offload}
    return head | row, {"hardware": made["hardware"], "versions": made["versions"]}


def needs_offload(parameters: int, gpu_gib: float | None) -> bool:
    """Whether the learner's optimizer goes to main memory: weights, gradients, master weights and moments exceed the GPU."""
    return gpu_gib is not None and parameters * BYTES > gpu_gib * 2**30


def told(result: Row) -> str:
    return f"{result['tokens'] / result['seconds']:,.0f} tokens/s"


def make_row(packed: Row, padded: Row, peak_flops: float | None, dtype: str) -> Row:
    """The figures of two sides; None for what a side that does not fit has not measured."""
    row: Row = {"peak_flops": peak_flops}
    for side, result in (("packed", packed), ("padded", padded)):
        ran = "error" not in result
        row[f"{side}_error"] = result.get("error")
        row[f"{side}_tokens_per_s"] = result["tokens"] / result["seconds"] if ran else None
        row[f"{side}_mfu"] = result["flops"] / result["seconds"] / peak_flops if ran and peak_flops else None
        for figure in ("peak_gib", "reserved_gib", "fill"):
            if figure in result:
                row[f"{side}_{figure}"] = result[figure]
        row[f"{side}_first_loss"] = result["losses"][0] if ran else None
    both = row["packed_error"] is None and row["padded_error"] is None
    row["ratio"] = row["packed_tokens_per_s"] / row["padded_tokens_per_s"] if both else None
    row["disagreement"] = None
    if both:
        row["loss_difference"] = abs(packed["losses"][0] - padded["losses"][0])
        row["logprob_difference"] = logprob_difference(packed["logprobs"], padded["logprobs"])
        row["disagreement"] = disagreement(row, packed["tokens"], padded["tokens"], dtype)
    return row


def logprob_difference(packed: list[list[float]], padded: list[list[float]]) -> float:
    """Mean over the tokens of the compared documents, nats."""
    differences = [abs(a - b) for ours, theirs in zip(packed, padded, strict=True) for a, b in zip(ours, theirs, strict=True)]
    return sum(differences) / len(differences)


def disagreement(row: Row, packed_tokens: int, padded_tokens: int, dtype: str) -> str | None:
    """Why the two sides have not trained the same thing, or None."""
    if packed_tokens != padded_tokens:
        return f"packed trained on {packed_tokens:,} tokens and padded on {padded_tokens:,}"
    for figure, what, tolerance in (
        ("logprob_difference", "log-probs of a token before training (mean)", LOGPROB_TOLERANCE[dtype]),
        ("loss_difference", "losses of the first update", LOSS_TOLERANCE[dtype]),
    ):
        if not row[figure] <= tolerance:  # NaN disagrees
            return (
                f"the {what} differ by {row[figure]:.2e} nats, more than {tolerance:.0e} in {dtype}: the two sides compute different things"
            )
    return None


COLUMNS = ("shape", "tokens/s packed", "padded", "ratio", "MFU packed", "padded", "peak GiB packed", "padded")


def cells(name: str, row: Row) -> list[str]:
    """A row of the table."""

    def shown(side: str, figure: str, pattern: str) -> str:
        if row[f"{side}_error"]:
            return row[f"{side}_error"].split(":")[0]
        value = row.get(f"{side}_{figure}")
        return "–" if value is None else pattern.format(value)

    ratio = row.get("ratio")
    figures = (("tokens_per_s", "{:,.0f}"), ("mfu", "{:.1%}"), ("peak_gib", "{:.2f}"))
    pairs = [[shown(side, figure, pattern) for side in ("packed", "padded")] for figure, pattern in figures]
    return [name, *pairs[0], "–" if ratio is None else f"{ratio:.2f}", *pairs[1], *pairs[2]]


def print_table(title: str, lines: list[list[str]]) -> None:
    """With rich where it is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(line[column]) for line in [list(COLUMNS), *lines]) for column in range(len(COLUMNS))]
        print(title)
        for line in [list(COLUMNS), *lines]:
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
        return
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "shape" else "right")
    for line in lines:
        table.add_row(*line)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if torch sees a GPU")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), help="default: bf16 on cuda, fp32 on cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="default: 0.5b 1b 3b 8b on cuda, tiny on cpu")
    parser.add_argument("--tokens-per-step", type=int, help="of an update; default: 65,536 on cuda, 2,048 on cpu")
    parser.add_argument("--micro-batch-tokens", type=int, help="of one forward pass of either side; default: 8,192 on cuda, 1,024 on cpu")
    parser.add_argument("--logprob-buffer-mb", type=int, help="learner.logprob_buffer_mb; default: 1,024 on cuda, 256 on cpu")
    parser.add_argument("--steps", type=int, default=6, help=f"timed updates, after {WARM_UP} that are not")
    parser.add_argument("--grouped", action="store_true", help="padded batches of similar length")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 16), help="of torch on the CPU")
    parser.add_argument("--seed", type=int, default=0, help="of weights and documents")
    parser.add_argument("--json", type=Path, help="write the figures here, after every shape")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    parser.add_argument("--offload", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options)
        return
    fill_defaults(options)
    if min(options.tokens_per_step, options.micro_batch_tokens, options.logprob_buffer_mb, options.steps, options.threads) < 1:
        parser.error("numbers of tokens, MiB, steps and threads must be positive")
    settings = ("tokens_per_step", "micro_batch_tokens", "logprob_buffer_mb", "steps", "grouped", "threads", "seed")
    figures: Row = {"device": options.device, "dtype": options.dtype, "settings": {name: getattr(options, name) for name in settings}}
    figures["shapes"] = {}
    for name in options.shapes:
        row, machine = compare(name, options)
        figures |= machine
        figures["shapes"][name] = row
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
    where = figures.get("hardware", {})
    title = f"packed learner and padded transformers, {options.dtype} on {where.get('gpu') or where.get('cpu') or options.device}"
    print_table(title, [cells(name, row) for name, row in figures["shapes"].items()])
    problems = [f"learner_gpu: {name}: {problem}" for name, row in figures["shapes"].items() for problem in problems_of(row)]
    if problems:
        sys.exit("\n".join(problems))


def problems_of(row: Row) -> list[str]:
    """What makes the comparison worthless. To lack memory does not."""
    failures = {row[f"{side}_error"] for side in ("packed", "padded")} - {None}
    return sorted(failure for failure in failures if failure.startswith(FAILED)) + ([row["disagreement"]] if row["disagreement"] else [])


def fill_defaults(options: argparse.Namespace) -> None:
    """What depends on the device."""
    if options.device is None:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = options.device == "cuda"
    options.dtype = options.dtype or ("bf16" if gpu else "fp32")
    options.shapes = options.shapes or (["0.5b", "1b", "3b", "8b"] if gpu else ["tiny"])
    options.tokens_per_step = options.tokens_per_step or (65_536 if gpu else 2_048)
    options.micro_batch_tokens = options.micro_batch_tokens or (8_192 if gpu else 1_024)
    options.logprob_buffer_mb = options.logprob_buffer_mb or (1_024 if gpu else 256)  # a GPU wants larger products than 256 MiB allow


if __name__ == "__main__":
    main()
