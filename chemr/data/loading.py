"""The data a configuration asks for."""

from __future__ import annotations

from chemr.config import ChemrConfig, ConfigError
from chemr.data.starter import StarterData, load_starter
from chemr.tasks import select_tasks


def load_data(config: ChemrConfig) -> StarterData:
    """Build or read the starter data and keep the rows of ``data.tasks``.

    Raises:
        ConfigError: a task has no rows in data of this size.
    """
    data = load_starter(config.data.cache_path, config.data.starter)
    try:
        return select_tasks(data, config.data.tasks)
    except ValueError as error:
        raise ConfigError(str(error)) from error
