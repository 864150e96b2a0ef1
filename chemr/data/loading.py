"""The data a configuration asks for."""

from __future__ import annotations

from pathlib import Path

from chemr.config import ChemrConfig, ConfigError, DataKind, Stage
from chemr.data.starter import load_starter
from chemr.data.starter.compounds import MissingTableError
from chemr.data.task_data import TaskData
from chemr.protocols.teacher import PROTOCOLS
from chemr.tasks import select_tasks
from chemr.trace_file import read_traces


def load_data(config: ChemrConfig) -> TaskData:
    """The rows of a run (:func:`load_rows`), after a check that its distillation can do with them.

    Raises:
        ConfigError: as :func:`load_rows`; distillation has no protocol for a task, or its file of traces does not fit the rows.
    """
    data = load_rows(config)
    if Stage.distill not in config.stages:
        return data
    if config.distill.traces is not None:
        read_traces(Path(config.distill.traces), data.train)
        return data
    untaught = sorted({example.task for example in data.train} - PROTOCOLS.keys())
    if untaught:
        raise ConfigError(
            f"the programmatic teacher has no protocol for {', '.join(untaught)}; leave distill out of stages, name other data.tasks, or "
            "bring traces (distill.traces; docs/mining.md, docs/self-distillation.md)"
        )
    return data


def load_rows(config: ChemrConfig) -> TaskData:
    """Build or read the rows of ``data.kind`` and keep those of ``data.tasks``.

    Raises:
        ConfigError: a task has no rows in these data, or published files cannot be used.
    """
    section = config.data
    try:
        if section.kind is DataKind.starter:
            data = load_starter(section.cache_path, section.starter)
        else:
            from chemr.data.published import load_published  # it needs RDKit, which a driver with starter data does without
            from chemr.data.sources.suites import default_data_dir

            data_dir = Path(section.dir) if section.dir else default_data_dir()
            data = load_published(section.cache_path, data_dir, section.published, section.tasks, strict=section.strict)
        return select_tasks(data, section.tasks)
    except (ValueError, MissingTableError) as error:  # of files and rows too: SourceFileError, BadRowError
        raise ConfigError(str(error)) from error
