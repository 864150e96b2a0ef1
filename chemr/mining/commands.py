"""``chemr protocols STEP FOLDER [overrides]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides, completes
from chemr.completion.words import folders
from chemr.configured_command import with_config
from chemr.exit_status import EXIT_OK
from chemr.mining.step_names import STEP_NAMES

if TYPE_CHECKING:
    from chemr.config import ChemrConfig
    from chemr.data.example import Example


EXAMPLES = (
    "chemr protocols all runs/mining mining.endpoint.base_url=http://localhost:8000/v1 mining.endpoint.model=NAME",
    "chemr protocols all runs/mining mining.teacher=pool mining.pool.model=models/teacher    # a model folder on engines of this machine",
    "chemr protocols report runs/mining",
)


def add_protocols(commands: Any) -> None:
    """Registers the command. ``commands`` is what ``add_subparsers`` returned."""
    parser = add_command(
        commands,
        "protocols",
        "mine reasoning protocols from a teacher, and write traces along them (docs/mining.md)",
        examples=EXAMPLES,
        run=lambda options: with_config(options, lambda config, resolved: run_protocols(options.step, options.folder, config, resolved)),
    )
    parser.add_argument("step", choices=[*STEP_NAMES, "all", "report"], help="all: every step that is not up to date, then the report")
    folder = parser.add_argument("folder", type=Path, metavar="FOLDER", help="where everything is kept, e.g. runs/mining")
    completes(folder, folders)
    add_overrides(parser, "Hydra overrides, e.g. mining.endpoint.model=NAME")
    add_cfg(parser)
    add_config_dir(parser)


def run_protocols(step: str, folder: Path, config: ChemrConfig, resolved: str) -> int:
    """Run a step, all of them, or the report; returns the exit status.

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
    return EXIT_OK
