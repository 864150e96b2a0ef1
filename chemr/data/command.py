"""``chemr data leaks|stats``: what it prints, and its exit status. Only what argparse needs is imported here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides
from chemr.configured_command import with_config
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

EXAMPLES = (
    "chemr data stats data.dir=DATA",
    "chemr data leaks data.dir=DATA data.strict=true --json leaks.json",
)


def add_data(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "data",
        "look at the published data files in data.dir",
        description="Look at the published data files in data.dir (docs/data.md).",
        examples=EXAMPLES,
        run=lambda options: with_config(options, lambda config, _: show_data(options.view, config, options.json)),
    )
    parser.add_argument("view", choices=["leaks", "stats"], help="leaks: what decontamination removes; stats: sizes, lengths, balance")
    add_overrides(parser, "Hydra overrides, e.g. data.dir=PATH data.strict=true")
    add_cfg(parser)
    add_config_dir(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")


def show_data(view: str, config: ChemrConfig, json_path: Path | None) -> int:
    """``leaks`` or ``stats`` over the folder ``data.dir``. Status: 0, 1 when leaks are left, 2 when files cannot be used."""
    from chemr.data.leak_report import find_leaks, leak_lines
    from chemr.data.sources.reading import BadRowError, SourceFileError
    from chemr.data.sources.suites import default_data_dir
    from chemr.data.statistics import collect_statistics, statistics_lines

    data_dir = default_data_dir() if config.data.dir is None else Path(config.data.dir)
    try:
        if view == "leaks":
            report = find_leaks(data_dir, strict=config.data.strict)
            lines, figures, status = leak_lines(report), report.to_json(), EXIT_OK if report.clean else EXIT_FAILED
        else:
            statistics = collect_statistics(data_dir, strict=config.data.strict)
            lines, figures, status = statistics_lines(statistics), statistics.to_json(), EXIT_OK
    except (SourceFileError, BadRowError) as error:
        print(f"chemr data {view}: {error}", file=sys.stderr)
        return EXIT_USAGE
    print("\n".join(lines))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return status
