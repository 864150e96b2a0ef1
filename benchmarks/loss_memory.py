"""Peak memory of the loss over a large vocabulary: chunked log-probs (learner/logprobs.py) against plain cross-entropy on all logits.

Each way runs forward and backward once in a process of its own, on random hidden states; what counts is how far its peak resident memory
rises above what it held before. Gradients of hidden states and weights are part of it either way.

JSON (--json FILE): loss_memory_ratio (naive over chunked; the bar is 8), naive_mib, chunked_mib, naive_s, chunked_s, loss_difference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

WAYS = ("naive", "chunked")


def measure(way: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs in the child: seconds, peak in MiB and the loss (mean over tokens)."""
    import torch
    from torch import nn

    from learner import logprobs

    class Model:
        head = nn.Linear(options.width, options.vocabulary, bias=False)

        def get_output_embeddings(self) -> nn.Linear:
            return self.head

    torch.manual_seed(0)
    model = Model()
    nn.init.normal_(model.head.weight, std=0.02)
    hidden_NC = torch.randn(options.tokens, options.width, requires_grad=True)
    target_N = torch.randint(options.vocabulary, (options.tokens,))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now: that of the imports does not count
    before = memory_kib("VmRSS")
    began = time.perf_counter()
    if way == "naive":
        loss = nn.functional.cross_entropy(model.head(hidden_NC), target_N)
    else:
        logprobs.install(model, logprobs.HeadConfig(options.buffer_mb << 20))
        loss = -model.head(hidden_NC, target_N, 1.0)[0].mean()
    loss.backward()
    seconds = time.perf_counter() - began
    return {"s": seconds, "mib": (memory_kib("VmHWM") - before) / 1024, "loss": loss.item()}


def memory_kib(name: str) -> int:
    """Of this process, now (VmRSS) or at most since it was last cleared (VmHWM)."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--tokens", type=int, default=8_192)
    parser.add_argument("--width", type=int, default=576, help="of the hidden states")
    parser.add_argument("--buffer-mb", type=int, default=256, help="learner.logprob_buffer_mb")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options)))
        return
    results = {}
    for way in WAYS:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"loss_memory: the {way} side ended with status {done.returncode} (out of memory?); try fewer --tokens")
        results[way] = json.loads(done.stdout)
    figures = {f"{way}_{name}": value for way, result in results.items() for name, value in result.items() if name != "loss"}
    figures["loss_memory_ratio"] = results["naive"]["mib"] / results["chunked"]["mib"]
    figures["loss_difference"] = abs(results["naive"]["loss"] - results["chunked"]["loss"])
    table = Table(title=f"loss over {options.vocabulary:,} tokens of vocabulary, {options.tokens:,} targets, fp32")
    for column in ("", "peak MiB", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    for way, result in results.items():
        table.add_row(way, f"{result['mib']:,.0f}", f"{result['s']:.1f}")
    Console().print(table)
    print(f"loss_memory_ratio {figures['loss_memory_ratio']:.1f} (the bar is 8), losses differ by {figures['loss_difference']:.1e}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
