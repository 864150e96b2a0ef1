"""argcomplete's search, with overrides that may also stand after flags. Imported only while a shell waits."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from argcomplete.completers import BaseCompleter
from argcomplete.finders import CompletionFinder

from chemr.completion.words import paths


class Finder(CompletionFinder):
    """What the shell is answered. Flags are offered once a dash is typed; files only where an argument is a path."""

    def answer(self, parser: argparse.ArgumentParser, **settings: Any) -> None:
        """Write the offers to the shell and end the process; ``settings`` are those of ``CompletionFinder.__call__``."""
        self(parser, always_complete_options=False, default_completer=PathWords(), **settings)

    def collect_completions(
        self, active_parsers: list[argparse.ArgumentParser], parsed_args: argparse.Namespace, cword_prefix: str
    ) -> list[str]:
        found: list[str] = super().collect_completions(active_parsers, parsed_args, cword_prefix)
        parser: Any = active_parsers[-1]
        if found or cword_prefix.startswith("-") or any(action.option_strings for action in parser.active_actions):
            return found
        # argparse takes the first block of overrides only; chemr collects the others (chemr.cli.main).
        overrides = next((action for action in parser._actions if action.dest == "overrides"), None)
        if overrides is None or overrides in parser.active_actions:
            return found
        return [
            word
            for word in overrides.completer(prefix=cword_prefix, action=overrides, parser=parser, parsed_args=parsed_args)
            if word.startswith(cword_prefix)
        ]


class PathWords(BaseCompleter):
    """Of arguments that say nothing of their own."""

    def __call__(self, *, prefix: str, action: argparse.Action, **_: object) -> Iterable[str]:
        return paths(prefix) if action.type is Path else ()
