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

With --group G a document has G completions, as in GRPO: packed computes its prompt once, padded with every completion.

A token is a real token of a sequence, prompt included, on both sides; MFU counts what the documents need (learner/model_flops.py), so
padding and prompts computed again lower it. Both sides' log-probs of a few documents before training, and the losses of the first update,
must agree, else the exit status is 1. A side that runs out of memory is a row that says "does not fit". Peak memory is what torch had
allocated at most during the updates; on a CPU the process's resident memory. The first WARM_UP updates are not timed.

JSON (--json FILE): device, dtype, hardware, versions, settings, and in ``shapes`` by name: packed_tokens_per_s, padded_tokens_per_s, ratio,
packed_mfu, padded_mfu (null: the device's peak is not known), packed_peak_gib, padded_peak_gib, packed_error, padded_error, and what is
needed to judge them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from benchmarks.learner_gpu_sides import NO_FIT, SHAPES, SIDES, WARM_UP, Row, run_side

BYTES = 20  # a parameter in bf16: weight and gradient (2 + 2); in float32 master weight, gradient and two moments (4 * 4)
# Nats. Per-token log-probs of random weights spread over more than half a nat, so that a wrong mask shows; bf16 keeps 8 bits of each
# activation, which averages out in the loss.
LOGPROB_TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}
LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 0.01}
FAILED = "failed"
COUNTS = ("tokens_per_step", "micro_batch_tokens", "logprob_buffer_mb", "steps", "group", "threads")


def measure(side: str, name: str, folder: Path, options: argparse.Namespace, offload: bool = False) -> Row:
    """Runs one side in a process of its own. A row with ``error`` if it does not fit or fails; in the latter case its output is shown."""
    result, log = folder / f"{side}.json", folder / f"{side}.log"
    command = [sys.executable, __file__, "--side", side, "--shape", name, "--folder", str(folder / "model"), "--result", str(result)]
    for option in ("device", "dtype", "tokens_per_step", "micro_batch_tokens", "logprob_buffer_mb", "steps", "group", "seed", "threads"):
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
    parser.add_argument("--group", type=int, default=1, help="completions of a prompt")
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
    if min(getattr(options, name) for name in COUNTS) < 1:
        parser.error("numbers of tokens, MiB, steps, completions and threads must be positive")
    settings = (*COUNTS, "grouped", "seed")
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
