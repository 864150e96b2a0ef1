"""``chemr watch RUN [--once] [--page]``. Only what argparse needs is imported here."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from chemr.command_parsers import add_command, completes
from chemr.completion.words import run_folders
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE

LOOK_S = 1.0  # between two looks at the folder
EXAMPLES = (
    "chemr watch runs/starter                  # until the run ends, or Ctrl-C",
    "chemr watch runs/starter --once           # one picture, for scripts",
    "chemr watch runs/starter --page           # the report as a page of this machine that follows the run",
)


def add_watch(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "watch",
        "a run while it goes on: in the terminal, or with --page in a browser (docs/live.md)",
        examples=EXAMPLES,
        run=run_watch,
    )
    run = parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, which need not be there yet, e.g. runs/starter")
    completes(run, run_folders)
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument("--page", action="store_true", help="serve the report to browsers of this machine, made again when the run goes on")
    parser.add_argument("--port", type=int, metavar="PORT", help="of --page (a free one)")


def run_watch(options: argparse.Namespace) -> int:
    """Returns 0 when the run ended or was left with Ctrl-C, 1 when a port or a file cannot be used, 2 for wrong arguments."""
    problem = _problem(options)
    if problem:
        print(f"chemr watch: {problem}", file=sys.stderr)
        return EXIT_USAGE
    try:
        if options.page:
            from chemr.live.page_server import serve_run

            serve_run(options.run, options.port or 0)
        else:
            _show(options.run, options.once)
    except KeyboardInterrupt:
        return EXIT_OK
    except OSError as error:
        print(f"chemr watch: {error.filename or 'the page'} cannot be used: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _problem(options: argparse.Namespace) -> str:
    if options.run.exists() and not options.run.is_dir():
        return f"{options.run} is not a folder; a run's folder was expected, e.g. runs/starter"
    if options.run.is_dir() and not (options.run / "config.yaml").is_file() and (options.run / "metrics.jsonl").is_file():
        return f"{options.run} is not a run's folder: it has no config.yaml"
    if options.port is not None and not options.page:
        return "--port is of --page, which is not given"
    if options.port is not None and not 0 <= options.port <= 65_535:
        return f"--port {options.port} is no port: 0 (a free one) to 65535"
    return "--once and --page exclude each other" if options.once and options.page else ""


def _show(run: Path, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from chemr.live.liveness import Life
    from chemr.live.view import LiveView

    console = Console(highlight=False)
    view = LiveView(run)
    try:
        view.look()
        if once or not console.is_terminal:
            console.print(view.picture(console.width, 200))
        if once:
            return
        with Live(view.picture(console.width, console.height), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            # A pipe gets the first picture and the last one.
            while view.life in (Life.running, Life.not_begun):
                time.sleep(LOOK_S)
                view.look()
                if console.is_terminal:
                    live.update(view.picture(console.width, console.height), refresh=True)
            live.update(view.picture(console.width, console.height), refresh=True)
    finally:
        view.close()
