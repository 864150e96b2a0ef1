"""chemr against TRL's GRPOTrainer: the same cores, model, prompts, group size, length cap, precision and number of updates, in one run.

Two scenarios. *natural*: completions end where the model ends them, the cap is a multiple of their mean length; a synchronous trainer waits
for the longest and trains on padding. *fixed*: every completion has the same length; nothing to win but overhead. In each, TRL first looks
for its best settings (short probes, one change at a time), then the two sides take turns: ours, TRL, ours, TRL, ... Medians are compared.

JSON (--json FILE): ratio_natural and ratio_fixed (our samples/s over TRL's); limit_fraction_fixed and limit_fraction_natural: samples/s
over what the cores could do if generation and training, each measured alone in this run, filled them without a gap; limit_fraction is that
of fixed lengths, where there is nothing but overhead to lose (of natural ones if only they were measured); and every single measurement.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose rewards.py would hide the package

from benchmarks.trl_environment import ensure_trl_python

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUSY_CORES = 0.2  # other programs' share of the cores above which the table warns

# TRL's base settings and the changes tried one after the other, each kept only if it is faster (arguments of trl_side.py).
TRL_BASE = {"--processes": "2", "--micro-batch": "32", "--cache-implementation": "dynamic"}
TRL_CHANGES: tuple[dict[str, str], ...] = (
    {"--cache-implementation": "static"},
    {"--processes": "1"},
    {"--micro-batch": "64"},
    {"--micro-batch": "16"},
    {"--gradient-checkpointing": ""},
)
# Not for fixed lengths: this engine lets EOS end a completion early whatever is asked of it.
TRL_NATURAL_CHANGES: tuple[dict[str, str], ...] = ({"--continuous-batching": ""},)
# Freed tensors stay in the process instead of going back to the kernel page by page: a few per cent for TRL on the CPU.
TRL_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}


class SideFailedError(RuntimeError):
    """A side of the comparison ended without a result."""


@dataclass(frozen=True)
class Workload:
    """What both sides are given; lengths in tokens."""

    model: Path
    prompts: Path
    group_size: int
    samples_per_step: int
    max_new_tokens: int
    length: str  # "natural" or "fixed"
    warmup_steps: int
    timed_steps: int
    lr: float
    cores: tuple[int, ...]

    def arguments(self, seed: int) -> list[str]:
        """Return the command-line arguments that trl_side.py and chemr_side.py share."""
        pairs = {
            "--model": self.model,
            "--prompts": self.prompts,
            "--group-size": self.group_size,
            "--samples-per-step": self.samples_per_step,
            "--max-new-tokens": self.max_new_tokens,
            "--length": self.length,
            "--warmup-steps": self.warmup_steps,
            "--timed-steps": self.timed_steps,
            "--lr": self.lr,
            "--seed": seed,
            "--cores": len(self.cores),
        }
        return [str(part) for pair in pairs.items() for part in pair]


def run_side(command: list[str], cores: tuple[int, ...], timeout_s: float, extra_environment: dict[str, str]) -> dict[str, Any]:
    """Run one side; return the JSON object on the last line of its output, with how busy `cores` were just before it started.

    The side runs on the same cores because it inherits the affinity that main gives this process.

    Raises:
        SideFailedError: it exited with an error, ran past `timeout_s`, or printed no JSON; the message ends with its last words.
    """
    psutil.cpu_percent(percpu=True)
    time.sleep(1.0)
    busy = psutil.cpu_percent(percpu=True)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **extra_environment},
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        stop_tree(process)
        advice = "raise --timeout or lower --timed-steps"
        raise SideFailedError(f"{' '.join(command)}\ndid not finish in {timeout_s:.0f} s; {advice}.") from None
    except KeyboardInterrupt:
        stop_tree(process)
        raise
    try:
        if process.returncode != 0:
            raise ValueError(f"exit code {process.returncode}")
        result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise SideFailedError(f"{' '.join(command)}\nended without a result ({error}). Its last words:\n{errors[-3000:]}") from error
    result["foreign_cores_before"] = sum(busy[core] for core in cores) / 100
    return result


def stop_tree(process: subprocess.Popen[str]) -> None:
    """Kill a side and everything it started, by process id, and wait for it."""
    for member in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.communicate()


def trl_command(python: Path, workload: Workload, settings: dict[str, str], seed: int) -> list[str]:
    """Return the command that runs TRL's side with `settings`; a setting with an empty value is a flag."""
    chosen = [part for name, value in settings.items() for part in ((name, value) if value else (name,))]
    return [str(python), str(HERE / "trl_side.py"), *workload.arguments(seed), *chosen]


def tune_trl(python: Path, workload: Workload, timeout_s: float, console: Console) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return TRL's fastest settings for `workload` and all probes: from TRL_BASE on, every change that raises samples/s is kept."""

    def probe(settings: dict[str, str]) -> float:
        result = run_side(trl_command(python, workload, settings, seed=0), workload.cores, timeout_s, TRL_MALLOC)
        probes.append({"settings": settings, "samples_per_s": result["samples_per_s"], "step_seconds": result["step_seconds"]})
        shown = " ".join(f"{name.removeprefix('--')} {value}".strip() for name, value in settings.items())
        console.print(f"  TRL probe ({workload.length}): {result['samples_per_s']:7.1f} samples/s   {shown}", soft_wrap=True)
        return float(result["samples_per_s"])

    probes: list[dict[str, Any]] = []
    best, best_rate = dict(TRL_BASE), probe(dict(TRL_BASE))
    for change in TRL_CHANGES + (TRL_NATURAL_CHANGES if workload.length == "natural" else ()):
        candidate = {**best, **change}
        rate = probe(candidate)
        if rate > best_rate:
            best, best_rate = candidate, rate
    return best, probes


def natural_mean_length(python: Path, workload: Workload, timeout_s: float) -> float:
    """Return the mean completion length in tokens when the model ends its completions itself, below `workload.max_new_tokens`."""
    result = run_side(trl_command(python, workload, TRL_BASE, seed=0), workload.cores, timeout_s, TRL_MALLOC)
    return float(result["completion_tokens_mean"])


def useful_rate(result: dict[str, Any]) -> float:
    """Return samples/s that were generated *and* trained inside the timed window.

    An asynchronous side could begin the window with a full buffer and look faster than it can go on; the smaller count cannot be borrowed.
    """
    return float(min(result["trained_samples"], result["generated_samples"]) / result["window_s"])


def compare(
    workload: Workload, trl_python: Path, settings: dict[str, str], repetitions: int, timeout_s: float, console: Console
) -> dict[str, Any]:
    """Run ours and TRL in turn `repetitions` times; return the medians, the ratio, the limit and all single results."""
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for repetition in range(repetitions):
        chemr = [sys.executable, str(HERE / "chemr_side.py"), *workload.arguments(repetition)]
        ours.append(run_side(chemr, workload.cores, timeout_s, {}))
        theirs.append(run_side(trl_command(trl_python, workload, settings, repetition), workload.cores, timeout_s, TRL_MALLOC))
        console.print(
            f"  {workload.length} {repetition + 1}/{repetitions}: "
            f"chemr {useful_rate(ours[-1]):.1f}, TRL {useful_rate(theirs[-1]):.1f} samples/s"
        )
    figures = summarise(ours, theirs, len(workload.cores))
    return {"workload": describe(workload), "trl_settings": settings, **figures, "chemr": ours, "trl": theirs}


def summarise(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], cores: int) -> dict[str, Any]:
    """Return the medians over the repetitions, our rate over TRL's, and the fraction of the limit we reach.

    The limit is cores / (generation + training core-seconds per sample, each measured alone): samples/s if nothing ever waited.
    """
    chemr_rate = statistics.median(useful_rate(result) for result in ours)
    trl_rate = statistics.median(useful_rate(result) for result in theirs)
    generation = statistics.median(result["generation_core_seconds_per_sample"] for result in ours)
    training = statistics.median(result["training_core_seconds_per_sample"] for result in ours)
    limit = cores / (generation + training)
    return {
        "chemr_samples_per_s": chemr_rate,
        "trl_samples_per_s": trl_rate,
        "ratio": chemr_rate / trl_rate,
        "ratio_core_seconds": statistics.median(result["core_seconds_per_sample"] for result in theirs)
        / statistics.median(result["core_seconds_per_sample"] for result in ours),
        "chemr_generation_core_seconds_per_sample": generation,
        "chemr_training_core_seconds_per_sample": training,
        "limit_samples_per_s": limit,
        "limit_fraction": chemr_rate / limit,
        "foreign_cores_before_max": max(result["foreign_cores_before"] for result in [*ours, *theirs]),
    }


def describe(workload: Workload) -> dict[str, Any]:
    """Return the workload as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(workload).items()}


def print_table(scenarios: dict[str, dict[str, Any]], console: Console) -> None:
    """Print one row for each side of each scenario, and what they come to."""
    table = Table(title="GRPO throughput, medians")
    for column in ("scenario", "side", "samples/s", "core ms/sample", "tokens mean", "tokens max", "padding", "ratio", "of the limit"):
        table.add_column(column, justify="left" if column in ("scenario", "side") else "right")
    for name, scenario in scenarios.items():
        for side in ("chemr", "trl"):
            runs = scenario[side]
            mine = side == "chemr"
            table.add_row(
                name if mine else "",
                side,
                f"{scenario[f'{side}_samples_per_s']:.1f}",
                f"{1e3 * statistics.median(run['core_seconds_per_sample'] for run in runs):.2f}",
                f"{statistics.median(run['completion_tokens_mean'] for run in runs):.1f}",
                f"{max(run['completion_tokens_max'] for run in runs)}",
                f"{statistics.median(run['padded_share'] for run in runs):.0%}",
                f"{scenario['ratio']:.2f}" if mine else "",
                f"{scenario['limit_fraction']:.0%}" if mine else "",
            )
    console.print(table)
    busiest = max(scenario["foreign_cores_before_max"] for scenario in scenarios.values())
    if busiest > BUSY_CORES:
        console.print(f"[yellow]Other programs used up to {busiest:.1f} of the cores just before a measurement: repeat on a quiet machine.")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    distilled = REPOSITORY / "runs" / "starter" / "stages" / "distill"
    parser.add_argument("--model", type=Path, default=distilled, help="Hugging Face folder of the policy; default: the distilled starter")
    parser.add_argument(
        "--prompts",
        type=Path,
        help='JSONL of {"prompt": rendered text} or {"prompt_ids": [int, ...]}; default: the starter\'s training prompts',
    )
    parser.add_argument("--scenarios", nargs="+", choices=("natural", "fixed"), default=["natural", "fixed"])
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--samples-per-step", type=int, default=128)
    parser.add_argument("--fixed-tokens", type=int, default=64, help="new tokens of every completion in the fixed scenario")
    parser.add_argument("--cap-factor", type=float, default=8.0, help="natural: length cap over the mean natural length")
    parser.add_argument("--longest", type=int, default=400, help="natural: cap of the run that measures the mean length")
    parser.add_argument("--warmup-steps", type=int, default=4, help="our limit of samples in flight grows in the first steps")
    parser.add_argument("--timed-steps", type=int, default=12)
    parser.add_argument("--probe-steps", type=int, default=3, help="timed steps of a probe of TRL's settings")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-6, help="small: the lengths shall stay what they are")
    parser.add_argument("--cores", type=int, nargs="+", default=None, help="core numbers for both sides; default: the first two allowed")
    parser.add_argument("--trl-python", type=Path, default=None, help="Python that has TRL; default: benchmarks/.trl-venv")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one run of one side")
    parser.add_argument("--json", type=Path, default=None, help="write the result to this file")
    return parser.parse_args(argv)


def starter_prompts(model: Path, target: Path, count: int = 512) -> Path:
    """Write the first `count` training prompts of the starter data as token ids to `target`."""
    from chemr.config import DataConfig
    from chemr.data.starter import load_starter
    from chemr.prompts import messages
    from chemr.tokenization import ChatTokenizer

    tokenizer, data = ChatTokenizer.load(model), DataConfig()
    rows = load_starter(data.cache_path, data.starter).train[:count]
    lines = [json.dumps({"prompt_ids": tokenizer.encode_prompt(messages(row))}) for row in rows]
    write_atomically(target, "\n".join(lines) + "\n")
    return target


def measure(arguments: argparse.Namespace, base: Workload, trl_python: Path, console: Console) -> dict[str, Any]:
    """Return one scenario's result: find the cap (natural), tune TRL, then let the sides take turns."""
    probe = replace(base, warmup_steps=1, timed_steps=arguments.probe_steps)
    if base.length == "natural":
        mean = natural_mean_length(trl_python, probe, arguments.timeout)
        cap = round(arguments.cap_factor * mean)
        console.print(f"natural: mean completion {mean:.1f} tokens, cap {cap}")
        base, probe = replace(base, max_new_tokens=cap), replace(probe, max_new_tokens=cap)
    settings, probes = tune_trl(trl_python, probe, arguments.timeout, console)
    return {**compare(base, trl_python, settings, arguments.repetitions, arguments.timeout, console), "trl_probes": probes}


def main() -> None:
    """Measure the chosen scenarios, print the table, write the JSON file."""
    arguments = parse_arguments()
    console = Console()
    cores = tuple(arguments.cores or sorted(os.sched_getaffinity(0))[:2])
    os.sched_setaffinity(0, cores)
    trl_python = arguments.trl_python or ensure_trl_python()
    if not (arguments.model / "config.json").is_file():
        sys.exit(f"vs_trl: --model {arguments.model} is no model folder; `make demo` writes the default one")
    prompts = arguments.prompts or starter_prompts(arguments.model, REPOSITORY / "runs" / "bench" / "prompts.jsonl")
    base = Workload(
        model=arguments.model.resolve(),
        prompts=prompts.resolve(),
        group_size=arguments.group_size,
        samples_per_step=arguments.samples_per_step,
        max_new_tokens=arguments.longest,
        length="natural",
        warmup_steps=arguments.warmup_steps,
        timed_steps=arguments.timed_steps,
        lr=arguments.lr,
        cores=cores,
    )
    workloads = {"natural": base, "fixed": replace(base, length="fixed", max_new_tokens=arguments.fixed_tokens)}
    scenarios = {name: measure(arguments, workloads[name], trl_python, console) for name in arguments.scenarios}
    result = {
        **{f"ratio_{name}": scenario["ratio"] for name, scenario in scenarios.items()},
        "limit_fraction": scenarios.get("fixed", scenarios.get("natural", {}))["limit_fraction"],
        **{f"limit_fraction_{name}": scenario["limit_fraction"] for name, scenario in scenarios.items()},
        "cores": cores,
        "scenarios": scenarios,
    }
    print_table(scenarios, console)
    console.print(", ".join(f"{name} {value:.2f}" for name, value in result.items() if isinstance(value, float)))
    if arguments.json:
        write_atomically(arguments.json, json.dumps(result, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it there, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".partial", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


if __name__ == "__main__":
    main()
