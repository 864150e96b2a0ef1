"""`chemr rounds`: runs a schedule (chemr/rounds.py), one whole training run after another in this process.

A pool is started and closed by each run. A finished run is not started again and an interrupted one goes on from its newest checkpoint, so
the same command continues a schedule wherever it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from chemr.config import ChemrConfig, load, mapping_fields
from chemr.finished_run import differing_fields, has_finished, stored_config
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


def run_rounds(schedule: Schedule, train: Train, config_dir: Path | None = None, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Runs what is not finished, in order. ``train`` trains one run and returns its summary.

    Returns:
        Nothing when all runs are finished; what ``train`` returned of one that was drained.

    Raises:
        RoundsError: the schedule is wrong, or an earlier run left no harvest behind.
        Exception: what ``train`` raises; later runs are not started then.
    """
    configs = check_schedule(schedule, config_dir)
    for number, (run, checked) in enumerate(zip(schedule.runs, configs, strict=True), start=1):
        label = f"run {number} of {len(schedule.runs)}, {run.name}"
        if has_finished(schedule.directory(run.name), checked.stages) and not _told_otherwise(schedule, run, config_dir):
            say(f"{label}: finished before ({schedule.directory(run.name)})")
            continue
        if run.traces:
            say(f"{label}: {gather_traces(schedule, run)} traces of {', '.join(run.traces)}")
        say(f"{label}: begins")
        config, resolved = load(schedule.arguments(run), config_dir)
        summary = train(config, resolved)
        if "drained" in summary:
            say(f"{label}: drained; the same command goes on from here")
            return summary
    return {}


def _told_otherwise(schedule: Schedule, run: ScheduledRun, config_dir: Path | None) -> bool:
    """Whether a finished run was made with another configuration; then ``train`` says what becomes of that."""
    stored = stored_config(schedule.directory(run.name))
    _, resolved = load(schedule.arguments(run), config_dir, files_here=False)
    return stored is not None and bool(differing_fields(stored, yaml.safe_load(resolved), mapping_fields()))


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
