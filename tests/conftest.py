"""Two lanes for ``make test`` (tests/lanes.py): what trains on real pools has the mark ``pools``, everything else runs beside it.

tests/actors/test_pool.py, test_elastic_pool.py and test_generator.py start pools and engines, too, but no run: they fill the shorter lane.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported: on shared cores, threads that spin while they wait make a test of a second take a minute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TESTS = Path(__file__).resolve().parent
POOLS = (
    "actors/test_weight_transports.py",
    "chaos/test_chaos_run.py",
    "chaos/test_freezes.py",
    "chaos/test_two_hosts.py",
    "e2e/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(POOLS):
            item.add_marker(pytest.mark.pools)
