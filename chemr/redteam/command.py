"""``chemr redteam [task=A,B] [FIELD=VALUE …]``. Only what argparse needs is imported here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides
from chemr.completion.words import several, task_names
from chemr.configured_command import with_config
from chemr.exit_status import EXIT_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from chemr.config import ChemrConfig
    from chemr.data.example import Example
    from chemr.redteam.attack import Finding
    from chemr.redteam.search import Climbed

ROWS = 100
ALL_TASKS = "data.tasks=[]"  # unless some are named: an experiment trains on fewer
EXAMPLES = (
    "chemr redteam                                                     # the starter's tasks",
    "chemr redteam task=moledit_add,molopt_logp --tries 300            # and the best of 300 text edits",
    "chemr redteam data.kind=published data.dir=DATA --json found.json",
    "chemr redteam task=moledit_sub --climbs 20 --page found.html      # what hill-climbing finds, with pictures",
)


def add_redteam(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "redteam",
        "what the rewards pay policies that do not do the task; fails where one earns more than it may",
        description="Measure what policies that do not do the task earn (docs/rewards.md). Fails where one earns more than it may.",
        examples=EXAMPLES,
        run=run_redteam,
    )
    own = {"task": several(lambda prefix, **_: task_names())}
    add_overrides(parser, "task=A,B (that is data.tasks), and Hydra overrides, e.g. data.kind=published data.dir=PATH", own=own)
    add_cfg(parser)
    add_config_dir(parser)
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help=f"test rows of each task, drawn by the seed ({ROWS})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of rows, policies and searches (0)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="scoring processes (1)")
    parser.add_argument("--tries", type=int, default=0, metavar="N", help="text edits to try on 50 rows of each task (0)")
    parser.add_argument("--climbs", type=int, default=0, metavar="N", help="rows of each task to climb on (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings to this file")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write them as an HTML page, with pictures")


def run_redteam(options: argparse.Namespace) -> int:
    """Prints policy × task; returns 0, 1 when a policy exceeds its ceiling, or 2 for options that cannot be used."""
    options.overrides = [ALL_TASKS, *(_as_field(override) for override in options.overrides)]
    return with_config(options, lambda config, _: _attack(config, options), own_policy=False)


def _as_field(override: str) -> str:
    name, _, value = override.partition("=")
    return f"data.tasks=[{value.strip('[]')}]" if name == "task" else override


def _attack(config: ChemrConfig, options: argparse.Namespace) -> int:
    for name, least in (("rows", 1), ("workers", 1), ("tries", 0), ("climbs", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name}: should be at least {least}, found {getattr(options, name)}")
    for file in (options.json, options.page):
        if file is not None and not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.absolute().parent}")
    from chemr.data.loading import load_rows
    from chemr.redteam.attack import attacked, chosen_rows, table
    from chemr.redteam.page import page
    from chemr.redteam.search import best_text_rules, climbed
    from rewards.blind import BlindPolicies
    from rewards.isolation import ScorerPool

    data = load_rows(config)
    blind = BlindPolicies.fitted(data.train)
    findings: list[Finding] = []
    climbs: list[Climbed] = []
    by_uid: dict[str, Example] = {}
    with ScorerPool(workers=options.workers) as scorers:
        for rows in chosen_rows(data.test, options.rows, options.seed).values():
            of_task = attacked(rows, blind, scorers, options.seed)
            ceiling = next(finding.ceiling for finding in of_task if finding.kind == "attack")
            of_task += best_text_rules(rows, ceiling, scorers, options.tries, options.seed) if options.tries else []
            print("\n".join([*table(of_task), ""]))
            findings += of_task
            climbs += climbed(rows[: options.climbs], scorers, steps=40, seed=options.seed)
            by_uid |= {row.uid: row for row in rows}
    for climb in climbs:
        print(f"climb: {climb.value:.2f} {climb.row.task} {climb.row.uid} {climb.answer}")
    if options.json is not None:
        figures = {"findings": [finding.to_json() for finding in findings], "climbs": [climb.to_json() for climb in climbs]}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.page is not None:
        options.page.write_text(page(findings, climbs, by_uid), encoding="utf-8")
    over = [finding for finding in findings if finding.exceeded]
    for finding in over:
        bar = "full credit of right answers at least" if finding.kind == "gold" else "a mean of at most"
        got = finding.full if finding.kind == "gold" else finding.mean
        print(f"chemr redteam: {finding.task}: {finding.policy}: {got:.3f}, and {bar} {finding.ceiling:.2f} is allowed", file=sys.stderr)
    return EXIT_FAILED if over else EXIT_OK
