"""The suite on a machine that is busy, and after a failure: deadlines follow the machine, and one failure stays one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.beside_busy_processes import busy_processes
from tests.patience import MOST, START_S, patience

ROOT = Path(__file__).resolve().parents[1]

# A fixture of real engines whose start does not come up, and one of a real pool that fails after its start. Ray really runs in both.
PLANTED = """
import ray
from actors.learner_group import LearnerGroup
from actors.pool import ActorPool
from tests.conftest import ray_ends_with_the_module

async def start(pool, model_dir):
    pool._started = True
    pool._start_ray()

async def begin_stage(*arguments, **options):
    raise RuntimeError("planted in the pool")

def get(*arguments, **options):
    raise ray.exceptions.GetTimeoutError("planted in the engines")

ActorPool.start, LearnerGroup.begin_stage, ray.get = start, begin_stage, get
"""
NEIGHBOUR = """
import os
import psutil
import ray

def test_nothing_is_left_of_the_failure():
    assert not ray.is_initialized() and "RAY_AUTH_TOKEN" not in os.environ
    left = [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"]
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]
"""
CARELESS = """
import ray

def test_leaves_ray_initialised():
    stands = [True]
    ray.is_initialized, ray.shutdown = lambda: bool(stands), stands.clear
"""


def test_a_failure_planted_in_a_fixture_fails_its_module_only(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    for name, text in {"test_a.py": NEIGHBOUR, "test_b.py": NEIGHBOUR, "test_careless.py": CARELESS, "test_c.py": NEIGHBOUR}.items():
        (tmp_path / name).write_text(text)
    order = [
        "tests/actors/test_generator.py::test_greedy_takes_the_most_likely_token", str(tmp_path / "test_a.py"),
        "tests/actors/test_pool.py::test_pids_name_every_process_of_the_pool", str(tmp_path / "test_b.py"),
        str(tmp_path / "test_careless.py"), str(tmp_path / "test_c.py"),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-m", "pytest", "-p", "planted", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=line", *order]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=START_S, check=False)
    for planted in ("planted in the engines", "planted in the pool", "this module left Ray initialised"):
        assert planted in done.stdout, f"the failure was not planted:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert "4 passed, 3 errors" in done.stdout, done.stdout[-3000:]


@pytest.mark.parametrize(("slow", "factor"), [(1.0, 1.0), (1.1, 1.0), (2.5, 5.0), (100.0, MOST)])
def test_short_deadlines_are_longer_on_a_busy_machine_and_only_there(slow: float, factor: float) -> None:
    assert patience(slow) == factor


def test_busy_processes_end_with_their_block_and_with_a_parent_that_is_killed() -> None:
    with busy_processes(2) as pids:
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    command = [sys.executable, "-m", "tests.beside_busy_processes", "--busy", "1", "sleep", "1000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        (busy,) = (psutil.Process(int(word)) for word in parent.stdout.readline().split() if word.isdigit() and int(word) > 9)
        (sleeper,) = (child for child in psutil.Process(parent.pid).children() if child.pid != busy.pid)
        parent.kill()
        sleeper.kill()
    assert not psutil.wait_procs([busy], timeout=180)[1], "a busy process outlived whoever started it"
