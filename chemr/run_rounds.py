"""`chemr rounds`: runs a schedule (chemr/rounds.py), one whole training run after another in this process.

A pool is started and closed by each run. A finished run is not started again and an interrupted one goes on from its newest checkpoint, so
the same command continues a schedule wherever it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chemr.config import ChemrConfig, load
from chemr.finished_run import has_finished
from chemr.rounds import RoundsError, Schedule, ScheduledRun, check_schedule
from chemr.whole_file import write_whole

Train = Callable[[ChemrConfig, str], dict[str, Any]]


def plan(schedule: Schedule, config_dir: Path | None = None) -> Iterator[str]:
    """What would be done, as commands of a shell, each run under a line that says how far it is. Checks the schedule first."""
    configs = check_schedule(schedule, config_dir)
    for number, (run, config) in enumerate(zip(schedule.runs, configs, strict=True), start=1):
        directory = schedule.directory(run.name)
        state = "finished, is left out" if has_finished(directory, config.stages) else "begun, goes on" if directory.is_dir() else "new"
        yield f"# {number}/{len(schedule.runs)} {run.name}: {state}"
        yield from schedule.commands(run)


def run_rounds(schedule: Schedule, train: Train, config_dir: Path | None = None, say: Callable[[str], None] = print) -> bool:
    """Runs what is not finished, in order. ``train`` trains one run and returns its summary.

    Returns:
        Whether all runs are finished; False when one was drained, as somebody asked.

    Raises:
        RoundsError: the schedule is wrong, or an earlier run left no harvest behind.
        Exception: what ``train`` raises; later runs are not started then.
    """
    configs = check_schedule(schedule, config_dir)
    for number, (run, checked) in enumerate(zip(schedule.runs, configs, strict=True), start=1):
        label = f"run {number} of {len(schedule.runs)}, {run.name}"
        if has_finished(schedule.directory(run.name), checked.stages):
            say(f"{label}: finished before ({schedule.directory(run.name)})")
            continue
        if run.traces:
            say(f"{label}: {gather_traces(schedule, run)} traces of {', '.join(run.traces)}")
        say(f"{label}: begins")
        config, resolved = load(schedule.arguments(run), config_dir)
        if "drained" in train(config, resolved):
            say(f"{label}: drained; the same command goes on from here")
            return False
    return True


def gather_traces(schedule: Schedule, run: ScheduledRun) -> int:
    """Put the harvests that ``run`` trains on into its one file, one after the other; returns the number of traces.

    Raises:
        RoundsError: a harvest is missing.
    """
    parts = []
    for source in run.traces:
        harvest = schedule.harvest(source)
        if not harvest.is_file():
            raise RoundsError(
                f"run {run.name!r} needs the harvest of {source!r}, but there is no {harvest}: that run was made without grpo.harvest, "
                "or the file was moved away"
            )
        parts.append(harvest.read_bytes())  # its last line ends, as a harvest writes it
    target = schedule.traces(run)
    write_whole(target, b"".join(parts))
    return sum(part.count(b"\n") for part in parts)
