"""``chemr doctor`` on the command line. Without overrides no configuration is loaded: that needs packages which may be what is missing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from chemr.command_parsers import add_command, add_config_dir, add_overrides
from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE

EXAMPLES = (
    "chemr doctor                                              # this machine and installation",
    "chemr doctor experiment=starter pool.address=auto         # and what this run asks of them and of the cluster",
    "chemr doctor --json -                                     # for programs",
)


def add_doctor(commands: Any) -> None:
    parser = add_command(
        commands,
        "doctor",
        "check this machine and installation, and with overrides what a run asks of them",
        examples=EXAMPLES,
        run=_doctor,
    )
    add_overrides(parser, "of the run, e.g. experiment=starter pool.address=auto")
    add_config_dir(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings to this file; - prints them in place of the table")


def _doctor(options: argparse.Namespace) -> int:
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
