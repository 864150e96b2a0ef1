"""``chemr train``, ``rounds`` and ``ablate``: one training run, several after one another, several to compare."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from chemr.command_parsers import add_cfg, add_command, add_config_dir, add_overrides, completes
from chemr.completion.words import conf_names, either, several
from chemr.configured_command import told, with_config
from chemr.exit_status import EXIT_AGAIN, EXIT_OK

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

TRAIN_EXAMPLES = (
    "chemr train experiment=starter run.name=mine                   # writes runs/mine",
    "chemr train experiment=starter run.name=mine run.resume=auto   # go on after an interruption",
    "chemr train --dry-run grpo.groups_per_step=32                  # check it against this machine, start nothing",
    "chemr train --cfg job                                          # the whole configuration",
    "chemr train run.name=arm 'stages=[foundation,grpo]'            # leave a phase out",
)
ROUNDS_EXAMPLES = (
    "chemr rounds specialists --dry-run          # the commands it stands for",
    "chemr rounds iterated experiment=starter    # typed again, it goes on from where it was stopped",
)
ABLATE_EXAMPLES = (
    "chemr ablate experiment=starter arms=paper seeds=0,1,2 --dry-run",
    "chemr ablate experiment=starter arms=paper,reward seeds=0,1,2 name=mine parallel=2",
)


def add_train(commands: Any) -> None:
    parser = add_command(
        commands,
        "train",
        "run the stages of an experiment, or continue them with run.resume=auto",
        description="Run the stages of an experiment: train, evaluate on held-out rows, export. All is checked before anything starts.",
        examples=TRAIN_EXAMPLES,
        run=lambda options: with_config(options, lambda config, resolved: _train(config, resolved, options.dry_run)),
    )
    add_overrides(parser, "Hydra overrides, e.g. experiment=starter grpo.steps=50")
    add_cfg(parser)
    add_config_dir(parser)
    parser.add_argument("--dry-run", action="store_true", help="check configuration, data and cluster, say what would run, start nothing")


def add_rounds(commands: Any) -> None:
    parser = add_command(
        commands,
        "rounds",
        "run a schedule of training runs: specialists and a generalist, or rounds of one model",
        description="Run a schedule of training runs (docs/self-distillation.md); finished ones are not run again.",
        examples=ROUNDS_EXAMPLES,
        run=lambda options: told(options.command, lambda: _rounds(options)),
    )
    schedule = parser.add_argument("schedule", help="a YAML file, or the name of one in conf/rounds (docs/self-distillation.md)")
    completes(schedule, conf_names("rounds"))
    add_overrides(parser, "Hydra overrides for every run of the schedule")
    parser.add_argument("--dry-run", action="store_true", help="check the configuration of every run and print the commands it stands for")
    add_config_dir(parser, "experiment/*.yaml and rounds/*.yaml")


def add_ablate(commands: Any) -> None:
    parser = add_command(
        commands,
        "ablate",
        "train the arms of an experiment over seeds and compare them: arms=paper seeds=0,1,2 name=NAME parallel=1",
        description="Train the arms of an experiment over seeds and compare them in one table and figure (docs/ablations.md).",
        examples=ABLATE_EXAMPLES,
        run=lambda options: told(options.command, lambda: _ablate(options)),
    )
    own = {"arms": several(conf_names("arms")), "seeds": either("0", "0,1,2"), "name": either(), "parallel": either()}
    add_overrides(parser, "arms=, seeds=, name=, parallel=, and Hydra overrides for all arms", own=own)
    parser.add_argument("--dry-run", action="store_true", help="print the runs, start nothing")
    add_config_dir(parser, "experiment/*.yaml and arms/*.yaml")


def _train(config: ChemrConfig, resolved: str, dry: bool) -> int:
    if dry:
        from chemr.dry_run import dry_run

        print("\n".join(dry_run(config)))
        return EXIT_OK
    from actors import clock
    from chemr.train import train

    return status_of(clock.run(train(config, resolved)))


def status_of(summary: dict[str, Any]) -> int:
    """Of what ``train`` returned: a run that was evicted is not done, and whoever started it (a job, a service) is told so."""
    return EXIT_AGAIN if summary.get("evicted") else EXIT_OK


def _rounds(options: argparse.Namespace) -> int:
    from chemr.rounds import find_schedule, read_schedule
    from chemr.run_rounds import plan, run_rounds

    schedule = read_schedule(find_schedule(options.schedule, options.config_dir), options.overrides)
    if options.dry_run:
        print("\n".join(plan(schedule, options.config_dir)))
        return EXIT_OK
    from actors import clock
    from chemr.train import train

    last = run_rounds(schedule, lambda config, resolved: clock.run(train(config, resolved)), options.config_dir)
    return status_of(last)


def _ablate(options: argparse.Namespace) -> int:
    from chemr.ablation.command import ablate, read_options

    return ablate(read_options(options.overrides, options.config_dir), options.dry_run)
