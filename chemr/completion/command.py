"""``chemr completion bash|zsh``: the lines to source, and what answers the shell when TAB is pressed.

The shell runs the same ``chemr`` that was typed, with the line in the environment (argcomplete's protocol): what is offered is always what
this version understands.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from chemr.command_parsers import add_command
from chemr.exit_status import EXIT_FAILED, EXIT_OK

MISSING = "argcomplete is not installed; pip install argcomplete"
EXAMPLES = (
    'eval "$(chemr completion bash)"              # for this shell; the same line in ~/.bashrc for all',
    "chemr completion zsh > ~/.zfunc/_chemr       # zsh: a folder of $fpath, before compinit",
    "chemr completion bash",
)


def add_completion(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "completion",
        "print what a shell sources so that TAB completes commands, flags, files, experiments, fields and their values",
        examples=EXAMPLES,
        run=run_completion,
    )
    parser.add_argument("shell", choices=["bash", "zsh"], help="the shell that is to source it")


def run_completion(options: argparse.Namespace) -> int:
    try:
        from argcomplete.shell_integration import shellcode
    except ModuleNotFoundError:
        print(f"chemr completion: {MISSING}", file=sys.stderr)
        return EXIT_FAILED
    # Without "-o default": where nothing can be completed, file names would be offered.
    print(shellcode(["chemr"], shell=options.shell, complete_arguments=["-o", "nospace"]).rstrip())
    return EXIT_OK


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """When a shell asks for completions, answer and end the process; else return at once."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    from chemr.completion.finder import Finder

    Finder().answer(parser)
