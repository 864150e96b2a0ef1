"""The command line: ``chemr COMMAND [--flags] [hydra overrides]``.

Every command loads and checks the whole configuration first, so that a typing error costs seconds, not a run.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from chemr.serve_rewards import add_arguments as add_service_arguments

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status (2 for a wrong configuration)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe or a log file, a step is to be seen when it is done
    parser = _parser()
    # Overrides may stand before, between and after the flags; argparse alone would take only the first block of them.
    options, rest = parser.parse_known_args(arguments)
    if options.command == "doctor":
        return _doctor()
    if options.command == "serve-rewards":
        if rest:
            parser.error(f"serve-rewards does not know: {' '.join(rest)}")
        from chemr.serve_rewards import serve_rewards

        return serve_rewards(options)
    unknown = [argument for argument in rest if argument.startswith("-") or "=" not in argument]
    if unknown:
        parser.error(f"not a flag and not an override of the form field=value: {' '.join(unknown)}")
    options.overrides += rest
    from chemr.config import ConfigError, load
    from chemr.run_directory import RunDirectoryError

    try:
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
                from chemr.train import train

                asyncio.run(train(config, resolved))
            case "eval":
                from chemr.evaluate_model import evaluate_model

                asyncio.run(evaluate_model(config, options.model, options.json))
            case "export":
                from chemr.export_checkpoint import export_checkpoint

                print(asyncio.run(export_checkpoint(config, options.to)))
    except (ConfigError, RunDirectoryError) as error:
        print(f"chemr {options.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print(f"chemr {options.command}: interrupted; continue with run.resume=auto", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _doctor() -> int:
    from chemr.doctor import print_checks, run_doctor

    checks = run_doctor()
    print_checks(checks)
    return EXIT_OK if all(check.ok for check in checks) else EXIT_FAILED


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
    evaluate = commands.add_parser("eval", parents=[shared], help="score a model folder on held-out tasks")
    evaluate.add_argument("--model", type=Path, required=True, help="a Hugging Face model folder, e.g. runs/starter/model")
    evaluate.add_argument("--json", type=Path, help="write the figures to this file")
    export = commands.add_parser("export", parents=[shared], help="turn a run's newest checkpoint into a Hugging Face model folder")
    export.add_argument("--to", type=Path, required=True, help="the folder to write")
    commands.add_parser("doctor", help="check this machine and installation")
    serve = commands.add_parser("serve-rewards", help="score answers for other programs, over gRPC")
    add_service_arguments(serve)
    return parser


if __name__ == "__main__":
    sys.exit(main())
