"""``make test`` runs two pytest processes (pytest-xdist) and deals them whole files. What trains on real pools is one pile, dealt first.

A pool waits for much of its time (for processes that start, for deadlines), so other tests run beside it, on the other core. Two training
runs side by side would be a different test. tests/actors/test_pool.py and test_generator.py start pools and engines, too, but no run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# The hundreds of processes that tests start compile the modules once, not each for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Before torch is imported: on shared cores, threads that spin while they wait make a test of a second take a minute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray gives its workers nice 15: beside busy processes an engine then takes ten minutes to start. The product's pools set it themselves.
os.environ.setdefault("RAY_worker_niceness", "0")

POOLS = (
    "actors/two_generators/",
    "chaos/test_chaos_run.py",
    "chaos/test_two_hosts.py",
    "e2e/",
)


def pile_of(nodeid: str) -> str:
    file = nodeid.split("::", 1)[0].removeprefix("tests/")
    return "pools" if file.startswith(POOLS) else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: pile_of(item.nodeid) != "pools")


@pytest.fixture(scope="module", autouse=True)
def ray_ends_with_the_module() -> Iterator[None]:
    """A process has one Ray. What a module, or a fixture of it that failed half-way, leaves initialised would fail every later module.

    Set up before all other fixtures of a module, so what these start has been ended by the time this one looks.
    """
    yield
    if "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            ray.shutdown()
            raise RuntimeError("this module left Ray initialised (it is shut down now): its fixtures must end what they began")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Piles(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return pile_of(nodeid)

    config.option.loadscopereorder = False  # not the largest number of tests first: the pools first
    return Piles(config, log)
