"""Two lanes for ``make test``: what starts real pools runs one after the other, and beside it, on the other core, everything else.

A pool waits for much of its time (for processes that start, for deadlines), so the second lane costs it little; two pools side by side
would be a different test. Without ``--dist loadgroup`` this only decides the order.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported: on shared cores, threads that spin while they wait make a test of a second take a minute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TESTS = Path(__file__).resolve().parent
POOLS = (
    "actors/test_elastic_pool.py",
    "actors/test_generator.py",
    "actors/test_pool.py",
    "actors/test_weight_transports.py",
    "chaos/test_chaos_run.py",
    "chaos/test_freezes.py",
    "chaos/test_two_hosts.py",
    "e2e/",
)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pools' lane first, since it is the longer one; files stay whole, so that their fixtures are made once."""

    def starts_pools(item: pytest.Item) -> bool:
        return item.path.relative_to(TESTS).as_posix().startswith(POOLS)

    for item in items:
        lane = "pools" if starts_pools(item) else item.path.relative_to(TESTS).as_posix()
        item.add_marker(pytest.mark.xdist_group(lane))
    items.sort(key=lambda item: not starts_pools(item))
