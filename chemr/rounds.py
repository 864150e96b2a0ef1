"""Several training runs after one another, as one schedule: specialists, then a generalist that learns from their harvests (ether0), or the
same model in rounds of reinforcement learning and supervised training on its own traces (Mol-R1). docs/self-distillation.md.

A schedule is a YAML file; each of its runs is a whole `chemr train` in a run directory of its own, so checkpoints, resume, metrics and
summaries are those of any run. This module reads, checks and plans; :mod:`chemr.run_rounds` runs.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemr.conf_files import ConfFileError, conf_file_names, find_conf_file, read_yaml
from chemr.config import ChemrConfig, ConfigError, Stage, conf_directory, load
from chemr.config_overrides import quoted
from chemr.nearest_name import did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEDULE_KEYS = ("name", "root", "overrides", "runs")
_RUN_KEYS = ("name", "start", "traces", "tasks", "overrides")
_OWN_FIELDS = ("run.name", "run.root", "run.resume")


class RoundsError(ConfigError):
    """A schedule that cannot run; the message names the file, the place in it and the remedy."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """One run of a schedule.

    Attributes:
        name: unique in the schedule.
        start: the earlier run whose model it starts from; "" = what the configuration says (policy.*).
        traces: the earlier runs whose harvests, together, are what its distillation trains on; () = the teacher's traces.
        tasks: ``data.tasks``; () = what the configuration says.
        overrides: of this run, after those of the schedule.
    """

    name: str
    start: str = ""
    traces: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Run directories are ``root/name-<run name>``. ``overrides`` come before, ``last_overrides`` after those of a run."""

    file: Path
    name: str
    root: Path
    overrides: tuple[str, ...]
    runs: tuple[ScheduledRun, ...]
    last_overrides: tuple[str, ...] = ()

    def directory(self, run: str) -> Path:
        return self.root / f"{self.name}-{run}"

    def harvest(self, run: str) -> Path:
        """Where a run's traces are."""
        return self.directory(run) / "harvest" / f"{Stage.grpo}.jsonl"

    def traces(self, run: ScheduledRun) -> Path:
        """Where the traces that a run trains on are put together."""
        return self.directory(run.name) / "traces.jsonl"

    def arguments(self, run: ScheduledRun, model: Path | None = None, traces: Path | None = None) -> list[str]:
        """The overrides of ``chemr train`` that make this run; ``model`` and ``traces`` stand in for what earlier runs leave."""
        own = [f"run.root={quoted(str(self.root))}", f"run.name={self.name}-{run.name}", "run.resume=auto"]
        if run.start:
            folder = model or self.directory(run.start) / "model"
            own.append(f"policy.path={quoted(str(folder))}")
        if run.traces:
            file = traces or self.traces(run)
            own.append(f"distill.traces={quoted(str(file))}")
        if run.tasks:
            own.append(f"data.tasks=[{','.join(run.tasks)}]")
        return [*self.overrides, *run.overrides, *self.last_overrides, *own]

    def commands(self, run: ScheduledRun) -> list[str]:
        """What a person would type to do this run by hand."""
        lines = []
        if run.traces:
            target = self.traces(run)
            harvests = shlex.join(str(self.harvest(source)) for source in run.traces)
            lines += [f"mkdir -p {shlex.quote(str(target.parent))}", f"cat {harvests} > {shlex.quote(str(target))}"]
        return [*lines, shlex.join(["chemr", "train", *self.arguments(run)])]


def find_schedule(name: str, config_dir: Path | None = None) -> Path:
    """A path to a YAML file as it is; else ``rounds/<name>.yaml`` in the user's folder, then among the shipped ones.

    Raises:
        RoundsError: there is none; the message lists those that there are.
    """
    folders = [folder for folder in (config_dir, conf_directory()) if folder is not None]
    found = find_conf_file("rounds", name, folders)
    if found is not None:
        return found
    if Path(name).suffix in (".yaml", ".yml"):
        raise RoundsError(f"{name} is not a file; expected a schedule in YAML")
    known = ", ".join(conf_file_names("rounds", folders))
    raise RoundsError(f"there is no schedule {name!r}; give the path of a YAML file, or one of: {known}")


def read_schedule(path: Path, overrides: Sequence[str] = ()) -> Schedule:
    """The schedule of a file; ``overrides`` (of a command line) come after the file's own ones, in every run.

    Raises:
        RoundsError: naming the place in the file and what was expected there.
    """
    try:
        content = read_yaml(path)
    except ConfFileError as error:
        raise RoundsError(str(error)) from error
    content = _mapping(content, str(path), _SCHEDULE_KEYS)
    name = _name(content.get("name"), f"{path}: name")
    root = content.get("root", "runs")
    if not isinstance(root, str) or not root:
        raise RoundsError(f"{path}: root is {root!r}; expected the folder for the run directories")
    found = content.get("runs")
    if not isinstance(found, list) or not found:
        raise RoundsError(f"{path}: runs is {found!r:.80}; expected a list of at least one run with {', '.join(_RUN_KEYS)}")
    shared = _overrides(content.get("overrides"), f"{path}: overrides")
    last = _overrides(list(overrides), "the command line")
    runs: list[ScheduledRun] = []
    for number, item in enumerate(found):
        runs.append(_run(item, f"{path}: runs[{number}]", (*shared, *last), [run.name for run in runs]))
    return Schedule(path, name, Path(root), shared, tuple(runs), last)


def check_schedule(schedule: Schedule, config_dir: Path | None = None) -> list[ChemrConfig]:
    """The configuration of every run, checked before the first is started: a typing error in the last one costs seconds, not days.

    Raises:
        RoundsError: naming the run.
    """
    configs: dict[str, ChemrConfig] = {}
    with tempfile.TemporaryDirectory() as folder:
        model, traces = Path(folder) / "model", Path(folder) / "traces.jsonl"
        model.mkdir()
        (model / "config.json").write_text("{}\n", encoding="utf-8")
        traces.touch()
        for run in schedule.runs:
            try:
                config, _ = load(schedule.arguments(run, model, traces), config_dir)
            except ConfigError as error:
                raise RoundsError(f"{schedule.file}, run {run.name!r}: {error}") from error
            for source in run.traces:
                giver = configs[source]
                if Stage.grpo not in giver.stages or not giver.grpo.harvest.share:
                    raise RoundsError(
                        f"{schedule.file}, run {run.name!r}: traces names {source!r}, which harvests nothing: its stages are "
                        f"{[str(stage) for stage in giver.stages]} and grpo.harvest.share={giver.grpo.harvest.share}; "
                        "give it the stage grpo and a share above 0"
                    )
            configs[run.name] = config
    return list(configs.values())


def _run(item: Any, place: str, shared: Sequence[str], earlier: Sequence[str]) -> ScheduledRun:
    item = _mapping(item, place, _RUN_KEYS)
    name = _name(item.get("name"), f"{place}.name")
    place = f"{place} ({name})"
    if name in earlier:
        raise RoundsError(f"{place}: another run has this name already")
    start = item.get("start") or ""
    traces = _names(item.get("traces"), f"{place}.traces")
    sources = [("traces", source) for source in traces]
    if start:
        sources.append(("start", start))
    for field, source in sources:
        if source not in earlier:
            raise RoundsError(f"{place}.{field}: {source!r} is no run before this one; there are {', '.join(earlier) or 'none'}")
    tasks = _names(item.get("tasks"), f"{place}.tasks")
    own = [("start", bool(start), "policy.path"), ("traces", bool(traces), "distill.traces"), ("tasks", bool(tasks), "data.tasks")]
    taken = {field: key for key, given, field in own if given}
    overrides = _overrides(item.get("overrides"), f"{place}.overrides")
    for override in (*shared, *overrides):
        field = _field(override)
        if field in taken:
            raise RoundsError(f"{place}: {override!r} is set by this run's {taken[field]!r}; leave one of the two out")
    return ScheduledRun(name, start, traces, tasks, overrides)


def _mapping(value: Any, place: str, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RoundsError(f"{place}: found {value!r:.80}; expected a mapping with {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise RoundsError(f"{place}: unknown key {key!r}; known: {', '.join(keys)}{did_you_mean(str(key), keys)}")
    return value


def _name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise RoundsError(f"{place} is {value!r}; expected letters, digits, '.', '_' or '-': it is part of a directory's name")
    return value


def _names(value: Any, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise RoundsError(f"{place} is {value!r:.80}; expected a list of names")
    if len(set(value)) != len(value):
        raise RoundsError(f"{place} names {', '.join(sorted({item for item in value if value.count(item) > 1}))} twice")
    return tuple(value)


def _overrides(value: Any, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RoundsError(f"{place} is {value!r:.80}; expected a list of overrides such as grpo.steps=50")
    for item in value:
        if not isinstance(item, str) or "=" not in item or item.startswith("-"):
            raise RoundsError(f"{place} holds {item!r:.80}; expected an override of the form field=value (in quotes where YAML needs them)")
        if _field(item) in _OWN_FIELDS:
            raise RoundsError(f"{place} holds {item!r}: the schedule names and resumes its runs itself; see its keys name and root")
    return tuple(value)


def _field(override: str) -> str:
    return override.lstrip("+~").split("=")[0]
