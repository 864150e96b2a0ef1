"""``chemr protocols STEP FOLDER [overrides]``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chemr.mining.step_names import STEP_NAMES

if TYPE_CHECKING:
    from chemr.config import ChemrConfig
    from chemr.data.example import Example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", choices=[*STEP_NAMES, "all", "report"], help="all: every step that is not up to date, then the report")
    parser.add_argument("folder", type=Path, help="where everything is kept, e.g. runs/mining")


def run_protocols(step: str, folder: Path, config: ChemrConfig, resolved: str) -> None:
    """Run a step, all of them, or the report.

    Raises:
        ConfigError, MiningInputError: for anything the user has to change first.
        TeacherStopped: the teacher cannot go on.
    """
    from chemr.data.loading import load_rows
    from chemr.data.reserve import split_reserve
    from chemr.mining.pipeline import locked, run_all, run_step, write_report
    from chemr.mining.workplace import Workplace
    from chemr.whole_file import write_whole

    with locked(folder):
        examples: list[Example] = []
        if step != "report":
            examples = split_reserve(load_rows(config).train, config.data.grpo_share)[0]
            write_whole(folder / "config.yaml", resolved)
        work = Workplace(folder, config, examples)
        if step == "report":
            write_report(work)
        elif step == "all":
            run_all(work)
        else:
            run_step(step, work)
