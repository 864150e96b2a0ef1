"""What the commands share that read a run's configuration: loading it first, and words instead of tracebacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from chemr.exit_status import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from chemr.config import ChemrConfig

CONTINUED = ("rounds", "ablate", "protocols")  # commands that go on from where they were stopped when they are typed again


def with_config(options: argparse.Namespace, work: Callable[[ChemrConfig, str], int], *, own_policy: bool = True) -> int:
    """The status of ``work``, given the configuration and its resolved YAML; ``--cfg job`` prints the latter instead.

    ``own_policy``: see :func:`chemr.config.load`.
    """

    def load_and_work() -> int:
        from chemr.config import load

        config, resolved = load(options.overrides, options.config_dir, own_policy=own_policy)
        if options.cfg is not None:
            print(resolved, end="")
            return EXIT_OK
        return work(config, resolved)

    return told(options.command, load_and_work)


def told(command: str, work: Callable[[], int]) -> int:
    """The status of ``work``; what a person has to change, or may continue, is said in words instead of a traceback."""
    from actors.failures import FleetTooSmallError
    from actors.shared_directory import NotSharedError
    from chemr.checkpoints import CheckpointError
    from chemr.config import ConfigError
    from chemr.mining.errors import MiningInputError
    from chemr.run_directory import RunDirectoryError
    from chemr.run_stopped import RunStopped

    continues = "the same command goes on from there" if command in CONTINUED else "run.resume=auto continues the run"
    try:
        return work()
    except (UsageError, ConfigError, RunDirectoryError, CheckpointError, MiningInputError, NotSharedError) as error:
        message, status = str(error), EXIT_USAGE
    except (RunStopped, FleetTooSmallError) as error:
        says_how = isinstance(error, RunStopped) and command != "rounds"  # which run of several was stopped, its message cannot know
        message, status = str(error) if says_how else f"{error}; {continues}", EXIT_FAILED
    except KeyboardInterrupt:
        message, status = f"interrupted; {continues}", EXIT_FAILED
    for line in message.splitlines() or [""]:
        print(f"chemr {command}: {line}", file=sys.stderr)
    return status
