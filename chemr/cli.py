"""The command line: ``chemr COMMAND [--flags] [hydra overrides]``.

A command registers its parser with the function that runs it (:func:`chemr.command_parsers.add_command`); :data:`COMMANDS` lists them in
the order of --help. What takes time to import is imported by that function. Commands that read a configuration load and check all of it
first, so that a typing error costs seconds, not a run.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from chemr.completion.command import add_completion, answer_shell
from chemr.control_commands import add_control_commands
from chemr.data.command import add_data
from chemr.doctor_command import add_doctor
from chemr.evaluation_commands import add_eval, add_score
from chemr.exit_status import EXIT_FAILED
from chemr.k8s.commands import add_k8s
from chemr.live.command import add_watch
from chemr.mining.commands import add_protocols
from chemr.model_commands import add_export, add_import
from chemr.planning.command import add_plan
from chemr.playground.command import add_chat
from chemr.redteam.command import add_redteam
from chemr.report.command import add_report
from chemr.run_commands import add_ablate, add_rounds, add_train
from chemr.serve_rewards import add_serve_rewards
from chemr.tracking.workspace_command import add_workspace

COMMANDS: tuple[Callable[[Any], None], ...] = (
    add_train,
    add_rounds,
    add_ablate,
    add_eval,
    add_plan,
    add_export,
    add_score,
    add_redteam,
    add_data,
    add_import,
    add_protocols,
    add_doctor,
    add_serve_rewards,
    add_report,
    add_workspace,
    add_watch,
    add_chat,
    add_k8s,
    add_control_commands,
    add_completion,
)
EPILOG = """\
examples:
  chemr doctor                                      # is this machine ready?
  chemr train experiment=starter run.name=mine      # train the starter model
  chemr COMMAND --help                              # what a command takes, with examples
  eval "$(chemr completion bash)"                   # TAB completes commands, flags, fields and values
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status (:mod:`chemr.exit_status`)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe or a log file, a step is to be seen when it is done
    parser = command_parser()
    answer_shell(parser)
    options = parse(parser, arguments)
    return _in_words(options)


def _in_words(options: argparse.Namespace) -> int:
    """Runs the command. What its own handlers left, and a person can do something about, is said in one line; a bug shows its traceback."""
    from chemr.complaints import COMPLAINTS, complaint  # not for a TAB: it needs YAML

    try:
        status: int = options.execute(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `chemr ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        line = "interrupted"
    except COMPLAINTS as error:
        line = complaint(error) or ""
        if not line:
            raise
    else:
        return status
    print(f"chemr {' '.join(_words(options))}: {line}", file=sys.stderr)
    return EXIT_FAILED


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with all overrides: they may stand before, between and after the flags, and argparse takes only their first block.

    Raises:
        SystemExit: with status 2 and a message, as argparse does.
    """
    options, rest = parser.parse_known_args(arguments)
    if not rest:
        return options
    if not hasattr(options, "overrides"):
        parser.error(f"{' '.join(_words(options))} does not know: {' '.join(rest)}")
    unknown = [argument for argument in rest if argument.startswith("-") or "=" not in argument]
    if unknown:
        parser.error(f"not a flag and not an override of the form field=value: {' '.join(unknown)}")
    options.overrides += rest
    return options


def _words(options: argparse.Namespace) -> list[str]:
    return [word for word in (options.command, getattr(options, "verb", None)) if word]


def command_parser() -> argparse.ArgumentParser:
    """All commands; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog="chemr",
        description="Train a language model to reason as a chemist, in the three phases of Chem-R.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help="each has its own --help, with examples")
    for add in COMMANDS:
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
