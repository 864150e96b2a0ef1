"""``chemr workspace RUN --entity TEAM``: saves a view of the run's W&B project. Only what argparse needs is imported here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chemr.command_parsers import add_command, completes
from chemr.completion.words import run_folders
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

MISSING = "wandb-workspaces is not installed; pip install 'chemr[workspace]'"
EXAMPLES = (
    "chemr workspace runs/mine --entity my-team",
    "chemr workspace runs/mine --entity my-team --dry-run      # print the view, send nothing",
)


def add_workspace(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "workspace",
        "save a view of a run's W&B project: panels chosen and in order (docs/tracking.md)",
        examples=EXAMPLES,
        run=run_workspace,
    )
    run = parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder: its project and tasks are taken, e.g. runs/mine")
    completes(run, run_folders)
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="the W&B user or team ($WANDB_ENTITY)")
    parser.add_argument("--name", default="chemr", help="of the view (chemr)")
    parser.add_argument("--dry-run", action="store_true", help="print sections, panels and their metrics, send nothing")


def run_workspace(options: argparse.Namespace) -> int:
    try:
        return _save(options)
    except (UsageError, ModuleNotFoundError) as error:
        print(f"chemr workspace: {MISSING if isinstance(error, ModuleNotFoundError) else error}", file=sys.stderr)
        return EXIT_USAGE


def _save(options: argparse.Namespace) -> int:
    from chemr.tracking.wandb_sink import wandb_failures
    from chemr.tracking.workspace_view import SECTIONS, metrics_of, workspace

    settings = _settings(options.run)
    tasks = settings["data"]["tasks"]
    if options.dry_run:
        for title, panels in SECTIONS.items():
            print(title, *(f"  {panel.title}: {', '.join(metrics_of(panel, tasks))}" for panel in panels), sep="\n")
        return EXIT_OK
    if not options.entity:
        raise UsageError("whose project is it? --entity USER_OR_TEAM, or WANDB_ENTITY")
    view = workspace(options.entity, settings["tracking"]["project"], options.name, tasks)
    try:
        print(view.save().url)
    except wandb_failures() as error:  # no key, no such project, no network
        print(f"chemr workspace: the view was not saved: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _settings(run: Path) -> Mapping[str, Any]:
    from chemr.finished_run import CONFIG, stored_config

    found = stored_config(run)
    if found is None:
        raise UsageError(f"{run} is not a run's folder: it has no {CONFIG}")
    return found
