"""What the parsers of all commands have in common: a description, examples, a function to run, and what TAB offers for an argument.

Only what argparse needs is imported here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chemr.completion.words import Words, conf_names, folders, override_words, run_schema

Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any, name: str, help: str, *, examples: Sequence[str], run: Run | None = None, description: str = "", **settings: Any
) -> argparse.ArgumentParser:
    """Registers a command or a verb of one.

    Args:
        commands: what ``add_subparsers`` returned.
        help: its line in the list of commands.
        examples: command lines as they are typed, each with an optional ``# comment``; --help prints them.
        run: takes the parsed arguments and returns the exit status; None for a command whose verbs have their own.
        description: the first lines of its --help; else ``help`` as a sentence.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog="\n".join(["examples:" if len(examples) > 1 else "example:", *(f"  {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **settings,
    )
    if run is not None:
        parser.set_defaults(execute=run)
    return parser


def add_verbs(parser: argparse.ArgumentParser, metavar: str) -> Any:
    """The sub-commands of a command; the chosen one is ``options.verb``."""
    return parser.add_subparsers(dest="verb", required=True, metavar=metavar, help="what to do with it; each has its own --help")


def add_overrides(
    parser: argparse.ArgumentParser,
    help: str,
    *,
    schemas: Mapping[str, Callable[[], type[Any]]] | None = None,
    own: Mapping[str, Words] | None = None,
) -> None:
    """``FIELD=VALUE`` arguments, which may stand before, between and after flags (:func:`chemr.cli.main` collects them).

    Args:
        schemas: the dataclasses whose fields may be set (:func:`chemr.completion.words.override_words`); else a run's configuration.
        own: what TAB offers for names that are no fields, besides ``experiment``.
    """
    of_run = schemas is None
    words = override_words({"": run_schema} if schemas is None else schemas, {"experiment": conf_names("experiment")} | dict(own or {}))
    completes(parser.add_argument("overrides", nargs="*", metavar="FIELD=VALUE" if of_run else "NAME=VALUE", help=help), words)


def add_config_dir(parser: argparse.ArgumentParser, holds: str = "experiment/*.yaml") -> None:
    completes(parser.add_argument("--config-dir", type=Path, metavar="DIR", help=f"a folder with your own {holds}"), folders)


def add_cfg(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfg", choices=["job"], help="print the resolved configuration and stop")


def completes(action: argparse.Action, words: Words) -> argparse.Action:
    """TAB offers ``words`` for this argument; argcomplete looks for the attribute."""
    action.completer = words  # type: ignore[attr-defined]
    return action
