"""``chemr plan``: what a run on GPUs will need, take and cost; with ``--calibrate RUN`` what other configurations of a run will do.

Only what argparse needs is imported here.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_command, add_config_dir, add_overrides, completes
from chemr.completion.words import field_words, folders, run_folders
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from chemr.planning.errors import PlanError
from chemr.whole_file import write_whole

if TYPE_CHECKING:
    from chemr.config import ChemrConfig
    from chemr.planning.search import Alternative, Request

# What the planner itself decides, so that giving it would do nothing.
DECIDED = (
    *(f"pool.{name}" for name in ("generators", "generator_gpus", "learners", "learner_gpus", "num_cpus")),
    *(f"generator.{name}" for name in ("device", "dtype", "tensor_parallel", "kv_cache_mb", "enforce_eager")),
    *(f"learner.{name}" for name in ("device", "dtype", "zero_stage", "tensor_parallel", "sequence_parallel", "micro_batch_tokens")),
    *(f"learner.{name}" for name in ("gradient_checkpointing", "offload_optimizer", "offload_parameters", "lora_rank")),
)
READ = ("grpo.", "generator.", "pool.timing.", "pool.reward_workers", "rewards.processes", "learner.logprob_buffer_mb")
TAILS = (0.0, 0.5, 1.0, 1.5)  # sigma of the log length
FAILURES = (10.0, 100.0)  # times the assumed rate
STEPS_TO_A_LOSS = 10  # where losses of engines are simulated
ONLY_SEARCH = (
    "model",
    "gpu",
    "gpus",
    "prompt_tokens",
    "mean_tokens",
    "tail",
    "between",
    "trivial",
    "reward_ms",
    "price",
    "assume",
    "out",
    "policy",
)
ONLY_CALIBRATION = ("also", "cores", "nice")


_ON_EIGHT = "chemr plan --model llama-3.1-8b --gpu h100 --gpus 8 --prompt-tokens 300 --mean-tokens 700 grpo.max_new_tokens=4096"
EXAMPLES = (
    f"{_ON_EIGHT} --price 2.5",
    f"{_ON_EIGHT} --out my-conf/experiment/planned.yaml    # for chemr train --config-dir my-conf",
    "chemr plan --calibrate runs/mine grpo.off_policy_steps=2 --also 'grpo.groups_per_step=32'    # of a measured run",
)


def add_plan(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "plan",
        "what a run on GPUs will need, take and cost, and the best split of the GPUs (docs/planning.md)",
        examples=EXAMPLES,
        run=run_plan,
    )
    add_overrides(parser, "Hydra overrides, e.g. grpo.groups_per_step=128")
    add_config_dir(parser)
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``chemr plan``; overrides of grpo.*, generator.* and so on stand beside them."""
    plan = parser.add_argument_group("a plan from data sheets")
    model = plan.add_argument("--model", metavar="NAME|FOLDER", help="a known model (llama-3.1-8b, …) or a Hugging Face folder")
    completes(model, _models)
    completes(plan.add_argument("--gpu", metavar="NAME", help="h100, h200, a100, l40s, …"), _gpus)
    plan.add_argument("--gpus", type=int, metavar="N", help="how many in all, 2 to 4096")
    plan.add_argument("--prompt-tokens", type=float, metavar="N", help="mean length of a prompt")
    plan.add_argument("--mean-tokens", type=float, metavar="N", help="mean length of an answer; the cap is grpo.max_new_tokens")
    plan.add_argument("--tail", type=float, metavar="SIGMA", help="standard deviation of log length (0.7)")
    plan.add_argument("--between", type=float, metavar="SHARE", help="share of its variance that lies between prompts (0.5)")
    plan.add_argument("--trivial", type=float, metavar="SHARE", help="share of groups whose samples are all alike (0.3)")
    plan.add_argument("--reward-ms", type=float, metavar="MS", help="of one reward process for one answer (1)")
    plan.add_argument("--price", type=float, metavar="P", help="of a GPU-hour, in your currency; without it no costs are shown")
    assume = plan.add_argument(
        "--assume", action="append", metavar="NAME=VALUE", help="another assumption, e.g. mfu=0.45 (docs/planning.md)"
    )
    completes(assume, field_words(_assumptions))
    plan.add_argument("--policy", metavar="FOLDER", help="where the model's folder lies on the cluster, for --out")
    plan.add_argument("--out", type=Path, metavar="FILE", help="write the recommended experiment, e.g. my-conf/experiment/planned.yaml")
    calibrated = parser.add_argument_group("a plan from a measured run")
    measured = calibrated.add_argument("--calibrate", type=Path, metavar="RUN", help="the folder of a run with GRPO steps")
    completes(measured, run_folders)
    calibrated.add_argument("--also", action="append", metavar="OVERRIDES", help="one more configuration to predict, quoted")
    calibrated.add_argument("--cores", type=float, metavar="N", help="cores of the machine it ran on, if not as this one's")
    calibrated.add_argument("--nice", type=int, metavar="N", help="niceness it was started with (0)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the simulation (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def _models(prefix: str, **_: object) -> list[str]:
    from chemr.planning.model_sizes import KNOWN

    return [*KNOWN, *folders(prefix)]


def _gpus(prefix: str, **_: object) -> Iterable[str]:
    from chemr.planning.devices import GPUS

    return GPUS


def _assumptions() -> type[Any]:
    from chemr.planning.devices import Assumptions

    return Assumptions


def run_plan(options: argparse.Namespace) -> int:
    """Prints the plan; returns 0, or 2 when something cannot be, in words."""
    from chemr.config import ConfigError

    try:
        lines, figures = _calibrated(options) if options.calibrate is not None else _searched(options)
        if options.json is not None:
            _write_json(options.json, figures)
    except (PlanError, ConfigError) as error:
        print(f"chemr plan: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("chemr plan: interrupted", file=sys.stderr)
        return EXIT_FAILED
    print("\n".join(lines))
    return EXIT_OK


def _searched(options: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    from chemr.planning import experiment_file, tables
    from chemr.planning.search import STEPS, search, setup_of
    from chemr.planning.speedup_bound import speed_up

    _refuse(options, ONLY_CALIBRATION, "belongs to --calibrate RUN")
    request, config = build_request(options)
    if options.price is not None and not 0.0 <= options.price < float("inf"):
        raise PlanError(f"--price {options.price}: should be 0 or more")
    alternatives = search(request, options.seed)
    best = alternatives[0]
    speed = speed_up(setup_of(request, best.split), best.prediction, STEPS, options.seed)
    sensitivity = sensitivities(request, best, options.seed)
    work = request.workload
    lines = [
        f"{request.model.name} ({request.model.parameters / 1e9:.2f} billion parameters) on {request.gpus} × {request.gpu.name}: nothing "
        "of this was measured; data sheets and the assumptions below",
        f"a step: {work.groups_per_step} groups of {work.samples_per_group}, prompts of {work.prompt_tokens:g}, answers of "
        f"{work.lengths.capped_mean:.0f} tokens (cap {work.lengths.cap}, tail {work.lengths.sigma:g}), S = {work.off_policy_steps}, window "
        f"{work.window_fraction:g}, trivial groups {work.trivial:.0%}",
        "",
        *tables.alternatives_table(alternatives, request, options.price),
        "",
        *tables.memory_table(best, request),
        "",
        tables.bound_line(speed),
        f"by the formulas alone, without waiting: generation {best.split.generation_s:.1f} s a step, training and publication "
        f"{best.split.learner.train_s + best.split.learner.publish_s:.1f} s",
        "",
        *tables.sensitivity_table(sensitivity),
        "",
        "assumed: " + ", ".join(f"{name} {value:g}" for name, value in asdict(request.assumed).items()),
    ]
    if best.split.gpus < request.gpus:
        lines.append(f"{request.gpus - best.split.gpus} GPUs are left over: they would make no step shorter")
    policy = options.policy or (str(request.model.folder) if request.model.folder else None)
    notes = [
        f"Planned by chemr plan for {request.model.name} on {request.gpus} x {request.gpu.name}; predicted: {best.step_s:.1f} s a step, "
        f"age {best.prediction.age_mean:.2f} (at most {best.prediction.age_bound}). Not measured.",
    ]
    if policy is None:
        notes.append("Give the model's folder: policy.path=FOLDER")
    text = experiment_file.experiment(request, best, config, policy, notes)
    experiment_file.check(text, policy is not None and (Path(policy) / "config.json").is_file())
    if options.out is not None:
        lines += ["", experiment_file.write(text, options.out)]
    figures = {
        "request": {"model": request.model.name, "parameters": request.model.parameters, "gpu": request.gpu.name, "gpus": request.gpus},
        "assumed": asdict(request.assumed),
        "workload": asdict(work),
        "alternatives": [figures_of(each, request, options.price) for each in alternatives],
        "speed_up": asdict(speed),
        "sensitivity": {what: figures_of(each, request, options.price) for what, each in sensitivity},
    }
    return lines, figures


def build_request(options: argparse.Namespace) -> tuple[Request, ChemrConfig]:
    """What is asked for, from flags and overrides. Raises PlanError or ConfigError naming what is missing or wrong."""
    from chemr.config import load
    from chemr.planning.devices import Assumptions, gpu_named
    from chemr.planning.model_sizes import model_named
    from chemr.planning.search import Request
    from chemr.planning.workload import Lengths, Workload
    from learner.config import Correction, Kl

    missing = [
        f"--{name.replace('_', '-')}" for name in ("model", "gpu", "gpus", "prompt_tokens", "mean_tokens") if getattr(options, name) is None
    ]
    if missing:
        raise PlanError(f"a plan needs {', '.join(missing)} (or --calibrate RUN); see chemr plan --help")
    if not 2 <= options.gpus <= 4096:
        raise PlanError(f"--gpus {options.gpus}: should be from 2 (one that generates, one that trains) to 4096")
    given = [override.partition("=")[0].lstrip("+~") for override in options.overrides]
    for name in given:
        if name in DECIDED:
            raise PlanError(f"{name}: this is what the plan decides; leave it out")
        if not name.startswith(READ) and name != "experiment":
            raise PlanError(
                f"{name}: a plan does not depend on it; it reads {', '.join(f'{part}*' if part.endswith('.') else part for part in READ)}"
            )
    caps = [override.partition("=")[2] for override in options.overrides if override.startswith("grpo.max_new_tokens=")]
    added = []
    if "generator.max_model_len" not in given and caps and caps[-1].isdigit():
        added.append(f"generator.max_model_len={int(caps[-1]) + 4 * int(options.prompt_tokens)}")
    # Only shapes are asked for: the starter's own small model must not stand in the way of a long context, or of large groups.
    added += ["policy.scratch.max_position_embeddings=1000000", "pool.learners=1"]
    config, _ = load([*options.overrides, *added], options.config_dir, files_here=False)
    grpo = config.grpo
    lengths = Lengths(
        options.mean_tokens,
        0.7 if options.tail is None else options.tail,
        grpo.max_new_tokens,
        0.5 if options.between is None else options.between,
    )
    workload = Workload(
        grpo.groups_per_step,
        grpo.samples_per_group,
        grpo.off_policy_steps,
        grpo.window_fraction,
        lengths,
        options.prompt_tokens,
        0.3 if options.trivial is None else options.trivial,
        0.001 if options.reward_ms is None else options.reward_ms / 1e3,
    )
    if config.generator.max_model_len < options.prompt_tokens + grpo.max_new_tokens:
        raise PlanError(
            f"generator.max_model_len={config.generator.max_model_len} is less than --prompt-tokens {options.prompt_tokens:g} and "
            f"grpo.max_new_tokens={grpo.max_new_tokens} together; raise it"
        )
    processes = config.pool.reward_workers * config.rewards.processes
    request = Request(
        model_named(options.model),
        gpu_named(options.gpu),
        options.gpus,
        workload,
        longest=config.generator.max_model_len,
        assumed=Assumptions().with_settings(options.assume or []),
        utilization=config.generator.gpu_memory_utilization,
        max_num_seqs=config.generator.max_num_seqs if "generator.max_num_seqs" in given else None,
        keep_cache=config.generator.keep_cache,
        old_forward=grpo.algo.correction is not Correction.bypass,
        reference=grpo.algo.kl is not Kl.none,
        logprob_buffer_mb=config.learner.logprob_buffer_mb,
        reward_processes=processes if {"pool.reward_workers", "rewards.processes"} & set(given) else None,
        checkpoint_every=grpo.checkpoint_every,
        timing=config.pool.timing,
    )
    return request, config


def sensitivities(request: Request, best: Alternative, seed: int) -> list[tuple[str, Alternative]]:
    """The recommended split when lengths, failures or S are other than assumed (mean length the same)."""
    from chemr.planning.search import evaluate, split_of

    split = best.split

    def again(changed: Request) -> Alternative:
        return evaluate(changed, split_of(changed, split.generators, split.tensor_parallel, split.layout.ranks), seed)

    work = request.workload
    rows: list[tuple[str, Alternative]] = [("as planned", best)]
    for sigma in TAILS:
        rows.append((f"tail {sigma:g}", again(replace(request, workload=replace(work, lengths=replace(work.lengths, sigma=sigma))))))
    for steps in sorted({0, 1, 2, 4} - {work.off_policy_steps}):
        rows.append((f"S = {steps}", again(replace(request, workload=replace(work, off_policy_steps=steps)))))
    each_s = STEPS_TO_A_LOSS * best.prediction.step_s * split.generators  # between two losses of the same engine
    storm = evaluate(request, split, seed, engine_failures_per_hour=3600.0 / each_s)
    rows.append((f"an engine lost every {STEPS_TO_A_LOSS} steps", storm))
    for factor in FAILURES:
        assumed = replace(request.assumed, gpu_failures_per_hour=request.assumed.gpu_failures_per_hour * factor)
        rows.append((f"failures × {factor:g}", again(replace(request, assumed=assumed))))
    return rows


def figures_of(each: Alternative, request: Request, price: float | None) -> dict[str, Any]:
    """One alternative for JSON; memory in bytes."""
    split = each.split
    figures: dict[str, Any] = {
        "generators": split.generators,
        "tensor_parallel": split.tensor_parallel,
        "layout": asdict(split.layout),
        "engine_memory": asdict(split.engine_memory),
        "learner_memory": asdict(split.learner_memory) | {"total": split.learner_memory.total},
        "generation_s": split.generation_s,
        "train_s": split.learner.train_s,
        "publish_s": split.learner.publish_s,
        "step_s": each.step_s,
        "availability": each.availability,
        "tokens_per_day": each.tokens_per_day,
        "prediction": each.prediction.figures(),
    }
    if price is not None:
        figures["cost_per_day"] = price * request.gpus * 24.0
        figures["cost_per_million_tokens"] = each.cost_per_million_tokens(price, request.gpus)
    return figures


def _calibrated(options: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    from chemr.planning import tables
    from chemr.planning.calibration import calibrate, predict
    from chemr.planning.run_records import read_config

    _refuse(options, ONLY_SEARCH, "belongs to a plan from data sheets; with --calibrate the run says it")
    if options.cores is not None and not 0.0 < options.cores < 1e6:
        raise PlanError(f"--cores {options.cores}: should be above 0")
    if options.nice is not None and not 0 <= options.nice <= 19:
        raise PlanError(f"--nice {options.nice}: should be from 0 to 19")
    wanted: list[Sequence[str]] = [options.overrides] if options.overrides else []
    wanted += [shlex.split(text) for text in options.also or []]
    file = options.calibrate / "config.yaml"
    configs = {" ".join(changes): read_config(file, changes) for changes in wanted}  # what is wrong with them shows before seconds of work
    calibration = calibrate(options.calibrate, options.cores, options.nice or 0, options.seed)
    rows = [("as it ran", calibration.fitted)]
    rows += [(what, predict(calibration, config, seed=options.seed)) for what, config in configs.items()]
    lines = [*tables.calibration_lines(calibration), "", *tables.predictions_table(rows)]
    figures = {
        "run": str(options.calibrate),
        "measured": asdict(calibration.measured),
        "fitted": calibration.fitted.figures(),
        "step_error": calibration.step_error,
        "engine": asdict(calibration.engine),
        "train_fixed_s": calibration.train_fixed_s,
        "train_per_flop": calibration.train_per_flop,
        "publish_s": calibration.publish_s,
        "overhead_s": calibration.overhead_s,
        "workload": asdict(calibration.workload),
        "evaluation": asdict(calibration.evaluation) if calibration.evaluation else None,
        "assumed": list(calibration.assumed),
        "predictions": {what: prediction.figures() for what, prediction in rows},
    }
    return lines, figures


def _refuse(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Flags that would do nothing are refused."""
    for name in names:
        if getattr(options, name) is not None:
            raise PlanError(f"--{name.replace('_', '-')} {why}")


def _write_json(file: Path, figures: dict[str, Any]) -> None:
    try:
        write_whole(file, json.dumps(figures, indent=1, default=str) + "\n")
    except OSError as error:
        raise PlanError(f"--json {file} cannot be written: {error}") from error
