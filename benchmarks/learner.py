"""The learner against transformers' Trainer and TRL's GRPO update: the same documents and stored rollouts, models, cores and precision.

Per model (the starter, and the shape of SmolLM2-135M, both with random weights) each side makes the same updates, in fp32, on the same
token ids of benchmarks/learner_workload.py: supervised ones (`sft`) and policy-gradient ones (`grpo`). Ours is PolicyLearner (packed
documents, a prompt once for its completions); the others run in learner_trainer_side.py, one process with as many torch threads as ours:

* default: the trainer's own settings (micro-batches of 8 as the data come; GRPOTrainer computes activations twice to save memory).
* grouped: micro-batches sorted by length; for GRPOTrainer by a subclass that also cuts every micro-batch's padding.
* tuned (grpo): grouped, and without gradient checkpointing.

Matched: weights, documents of every update, AdamW (constant lr, betas 0.9 and 0.999, no decay, gradient norm at most 1), loss as the mean
over tokens, and for GRPO clip 0.2 on both sides, TRL's advantages, no off-policy correction, no KL. Only updates are timed: what TRL spends
on completions and rewards is not. Sides take turns; medians are compared. A run in which losses or gradient norms differ ends with an error
instead of a ratio: they are compared in every update, the warm-up's (of names only, so that it is short) included.

JSON (--json FILE): sft_ratio, sft_ratio_grouped, grpo_ratio, grpo_ratio_grouped, grpo_ratio_tuned: our trained (completion) tokens/s over
theirs, the least over the models; the same with _starter and _135m; and every measurement. Documents are the same on both sides, so the
ratio of all non-padding tokens/s is the same number.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose learner.py would hide the package

from benchmarks.trl_environment import ensure_trl_python
from benchmarks.vs_trl import BUSY_CORES, SideFailedError, run_side, write_atomically

HERE = Path(__file__).resolve().parent
WARMUP_STEPS = 1
LEARNING_RATES = {"sft": 5e-5, "grpo": 1e-6}  # the trainers' defaults
# The other side's ways, with the arguments of learner_trainer_side.py.
WAYS = {
    "sft": {"default": [], "grouped": ["--grouped"]},
    "grpo": {"default": [], "grouped": ["--grouped"], "tuned": ["--grouped", "--no-checkpointing"]},
}
BARS = {"default": 1.5, "grouped": 1.0, "tuned": 1.0}
LOSS_TOLERANCE, NORM_TOLERANCE = 1e-4, 1e-3  # relative; a GRPO loss, which is near 0, also may differ by
LOSS_FLOOR = 1e-6

Result = dict[str, Any]


class UnequalLossError(RuntimeError):
    """The two sides do not compute the same thing, so that their times cannot be compared."""


@dataclass(frozen=True)
class Case:
    """One model and kind of update; ``data`` holds WARMUP_STEPS updates and then the timed ones."""

    model: str
    kind: str
    model_dir: Path
    data: Path
    repeats: int


def measure_ours(kind: str, model_dir: Path, data: Path, threads: int) -> Result:
    """Runs in the child: PolicyLearner on every update of ``data``."""
    from learner.config import Correction, GrpoConfig, LearnerConfig, OptimConfig, Schedule
    from learner.distributed import World
    from learner.engine import PolicyLearner

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    updates = read_updates(data)
    learner = PolicyLearner(LearnerConfig(threads=threads), model_dir, World(master_port=port))
    optim = OptimConfig(lr=LEARNING_RATES[kind], betas=(0.9, 0.999), weight_decay=0.0, schedule=Schedule.constant)
    learner.begin_stage(optim, len(updates), seed=0)
    grpo = GrpoConfig(clip_high=0.2, correction=Correction.none)
    metrics, ends = [], []
    for documents in updates:
        metrics.append(learner.train_sft(documents) if kind == "sft" else learner.train_grpo(documents, grpo))
        ends.append(time.perf_counter())
    learner.close()
    return {
        "window_s": ends[-1] - ends[WARMUP_STEPS - 1],
        "losses": [step["train/loss"] for step in metrics],
        "grad_norms": [step["train/grad_norm"] for step in metrics],
        "computed_tokens": sum(step["train/rows"] for step in metrics[WARMUP_STEPS:]),
    }


def read_updates(data: Path) -> list[list[Any]]:
    """The documents of every update."""
    import numpy as np

    from learner.batch import Completion, Document

    updates: list[list[Any]] = []
    for line in map(json.loads, data.read_text().splitlines()):
        if line["step"] == len(updates):
            updates.append([])
        ids = [np.array(completion) for completion in line["completions"]]
        advantages = line.get("advantages", [0.0] * len(ids))
        logprobs = [np.array(values) for values in line["behaviour_logprobs"]] if "behaviour_logprobs" in line else [None] * len(ids)
        completions = [Completion(*values) for values in zip(ids, advantages, logprobs, strict=True)]
        updates[-1].append(Document(np.array(line["prompt"]), completions))
    return updates


def prepare(options: argparse.Namespace, folder: Path, console: Console) -> list[Case]:
    """Writes models and data of all cases."""
    from benchmarks.learner_workload import GROUP_SIZE, LONGEST, SHAPES, TASKS, Drawer, load_pools, load_starter_rows, write_model

    starter = load_starter_rows()
    pools = load_pools(starter)
    if missing := TASKS.keys() - pools.keys():
        console.print(
            f"[yellow]no {', '.join(missing)}: ChEBI-20 is not in the data folder (CHEMR_DATA); lengths are less mixed than they should be"
        )
    cases = []
    for name in options.models:
        shape = SHAPES[name]
        tokenizer = write_model(folder / name, shape, starter, options.seed)
        updates = WARMUP_STEPS + (options.steps or shape.steps)
        documents = options.documents or shape.documents
        repeats = options.repeats or shape.repeats
        sft, grpo = folder / f"{name}-sft.jsonl", folder / f"{name}-grpo.jsonl"
        Drawer(pools, tokenizer, options.seed).write_documents(sft, WARMUP_STEPS, updates, documents)
        Drawer(pools, tokenizer, options.seed).write_rollouts(grpo, WARMUP_STEPS, updates, documents // GROUP_SIZE)
        cases += [Case(name, "sft", folder / name, sft, repeats), Case(name, "grpo", folder / name, grpo, repeats)]
    console.print(f"rows: {', '.join(pools)}; at most {LONGEST} tokens each")
    return cases


def count_tokens(case: Case) -> dict[str, int]:
    """Of the timed updates: trained = completion tokens; all = those with a prompt before every completion."""
    lines = [line for line in map(json.loads, case.data.read_text().splitlines()) if line["step"] >= WARMUP_STEPS]
    lengths = [(len(line["prompt"]), len(ids)) for line in lines for ids in line["completions"]]
    return {"trained": sum(own for _, own in lengths), "all": sum(prompt + own for prompt, own in lengths)}


def run(command: list[str], options: argparse.Namespace) -> Result:
    """One measurement on quiet cores: it waits for them (``--patience``), and is made again (``--tries`` in all) if they do not stay quiet.

    Two threads that wait for each other at every operation are slowed down not by the share of the cores that others take, but many times:
    a disturbed measurement says nothing. Of several disturbed ones the least disturbed counts; foreign_cores is what the others took.
    """
    results: list[Result] = []
    while len(results) < options.tries and not (results and results[-1]["foreign_cores"] <= BUSY_CORES):
        wait_for_quiet(options.cores, options.patience)
        began, busy, own = time.perf_counter(), busy_s(options.cores), children_s()
        result = run_side(command, options.cores, options.timeout, {"OMP_NUM_THREADS": str(len(options.cores))})
        foreign = busy_s(options.cores) - busy - (children_s() - own)
        results.append({**result, "foreign_cores": foreign / (time.perf_counter() - began)})
    return min(results, key=lambda result: result["foreign_cores"])


def wait_for_quiet(cores: tuple[int, ...], patience_s: float) -> None:
    """Returns when the cores have been idle for two seconds, or when patience ends."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        busy = busy_s(cores)
        time.sleep(2.0)
        if busy_s(cores) - busy < 2.0 * BUSY_CORES:
            return


def busy_s(cores: tuple[int, ...]) -> float:
    """Seconds in which the cores computed something so far, for whomever."""
    times = psutil.cpu_times(percpu=True)
    return sum(sum(times[core]) - times[core].idle - getattr(times[core], "iowait", 0.0) for core in cores)


def children_s() -> float:
    """Seconds that processes started here have computed."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(case: Case, trl_python: Path, options: argparse.Namespace, console: Console) -> Result:
    """Runs ours and every way of the other side in turn; raises UnequalLossError if they compute different things."""
    shared = ["--kind", case.kind, "--model", str(case.model_dir), "--data", str(case.data), "--threads", str(len(options.cores))]
    theirs = [str(trl_python), str(HERE / "learner_trainer_side.py"), "--lr", str(LEARNING_RATES[case.kind])]
    theirs += ["--warmup-steps", str(WARMUP_STEPS)]
    commands = {"chemr": [sys.executable, str(HERE / "learner.py"), "--side", *shared]}
    commands |= {way: [*theirs, *shared, *extra] for way, extra in WAYS[case.kind].items()}
    runs: dict[str, list[Result]] = {way: [] for way in commands}
    tokens = count_tokens(case)
    for repeat in range(case.repeats):
        for way, command in commands.items():
            runs[way].append(run(command, options))
            check_equal(f"{case.model} {case.kind} ({way})", runs["chemr"][0], runs[way][-1])
        rates = ", ".join(f"{way} {tokens['trained'] / results[-1]['window_s']:,.0f}" for way, results in runs.items())
        console.print(f"  {case.model} {case.kind} {repeat + 1}/{case.repeats}: {rates} trained tokens/s", soft_wrap=True)
    rate = {way: tokens["trained"] / statistics.median(result["window_s"] for result in results) for way, results in runs.items()}
    return {
        "model": case.model,
        "kind": case.kind,
        "tokens": tokens,
        "trained_tokens_per_s": rate,
        "ratio": {way: rate["chemr"] / rate[way] for way in WAYS[case.kind]},
        "runs": runs,
    }


def check_equal(name: str, ours: Result, theirs: Result) -> None:
    """Losses and gradient norms of every update."""
    for quantity, relative, absolute in (("losses", LOSS_TOLERANCE, LOSS_FLOOR), ("grad_norms", NORM_TOLERANCE, 0.0)):
        for step, (own, other) in enumerate(zip(ours[quantity], theirs[quantity], strict=True)):
            if not math.isclose(own, other, rel_tol=relative, abs_tol=absolute):
                raise UnequalLossError(
                    f"{name}: {quantity} of update {step} differ: ours {own:.8g}, theirs {other:.8g} (tolerance {relative:g} relative). "
                    "The sides do not do the same work, so there is no ratio to report."
                )


def print_table(comparisons: list[Result], console: Console) -> None:
    """One row for each way of each case."""
    table = Table(title="Updates in fp32, medians")
    for column in ("model", "update", "side", "trained tokens/s", "all tokens/s", "computed / all", "ours / theirs", "bar"):
        table.add_column(column, justify="left" if column in ("model", "update", "side") else "right")
    for comparison in comparisons:
        tokens = comparison["tokens"]
        for way, rate in comparison["trained_tokens_per_s"].items():
            first = way == "chemr"
            table.add_row(
                comparison["model"] if first else "",
                comparison["kind"] if first else "",
                way,
                f"{rate:,.0f}",
                f"{rate * tokens['all'] / tokens['trained']:,.0f}",
                f"{comparison['runs'][way][0]['computed_tokens'] / tokens['all']:.2f}",
                "" if first else f"{comparison['ratio'][way]:.2f}",
                "" if first else f"{BARS[way]}",
            )
    console.print(table)
    busiest = max(result["foreign_cores"] for comparison in comparisons for results in comparison["runs"].values() for result in results)
    if busiest > BUSY_CORES:
        console.print(f"[yellow]Other programs used up to {busiest:.1f} of the cores during a measurement: repeat on a quiet machine.")


def ratios(comparisons: list[Result]) -> dict[str, float]:
    """sft_ratio, sft_ratio_grouped, ...: the least over the models, and each model's with its name at the end."""
    figures: dict[str, float] = {}
    for comparison in comparisons:
        for way, ratio in comparison["ratio"].items():
            name = f"{comparison['kind']}_ratio" + ("" if way == "default" else f"_{way}")
            figures[name] = min(ratio, figures.get(name, math.inf))
            figures[f"{name}_{comparison['model']}"] = ratio
    return figures


def parse_arguments() -> argparse.Namespace:
    """The command line; ``cores`` become a tuple."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=["starter", "135m"], help="starter,135m")
    parser.add_argument("--repeats", type=int, help="runs of each side; default: 3 of the starter, 1 of 135m")
    parser.add_argument("--steps", type=int, help="timed updates of a run; default: 2")
    parser.add_argument("--documents", type=int, help="per update, a multiple of 8; default: 128 for the starter, 24 for 135m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=3, help="measure again, this often in all, if other programs took part of the cores")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for quiet cores before a measurement")
    parser.add_argument("--cores", type=int, nargs="+", help="core numbers for both sides; default: the first two allowed")
    parser.add_argument("--trl-python", type=Path, help="Python that has TRL; default: benchmarks/.trl-venv")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one run of one side")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    for name in ("--kind", "--model", "--data", "--threads"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.models) - {"starter", "135m"}:
        parser.error(f"--models {','.join(sorted(unknown))}: there are starter and 135m")
    if options.documents and options.documents % 8:
        parser.error(f"--documents {options.documents} is no multiple of 8, the trainers' micro-batch")
    options.cores = tuple(options.cores or sorted(os.sched_getaffinity(0))[:2])
    return options


def main() -> None:
    """Measures everything, prints the table, writes the JSON file; or, in a child, measures our side once."""
    options = parse_arguments()
    if options.side:
        print(json.dumps(measure_ours(options.kind, Path(options.model), Path(options.data), int(options.threads))))
        return
    console = Console()
    os.sched_setaffinity(0, options.cores)
    trl_python = options.trl_python or ensure_trl_python()
    try:
        with tempfile.TemporaryDirectory(prefix="chemr-learner-") as folder:
            cases = prepare(options, Path(folder), console)
            comparisons = [compare(case, trl_python, options, console) for case in cases]
    except (SideFailedError, UnequalLossError) as error:
        sys.exit(f"learner: {error}")
    figures = ratios(comparisons)
    print_table(comparisons, console)
    console.print(", ".join(f"{name} {value:.2f}" for name, value in figures.items()), soft_wrap=True)
    if options.json:
        write_atomically(options.json, json.dumps({**figures, "cores": options.cores, "comparisons": comparisons}, indent=1))


if __name__ == "__main__":
    main()
