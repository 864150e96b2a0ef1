"""What a killed driver's pool leaves: processes that hide whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from actors.leftovers import PoolNote, sweep

HOLD = "import sys, time; log = open(sys.argv[1], 'a'); print('open', flush=True); time.sleep(60)"


def holding(path: Path, title: str) -> subprocess.Popen[bytes]:
    """A process of that title, without any environment, that has ``path`` open."""
    process = subprocess.Popen([title, "-c", HOLD, str(path)], executable=sys.executable, env={}, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"open\n"
    return process


def test_an_orphaned_agent_of_ray_is_ended_by_the_next_start_and_a_reader_of_its_log_is_not(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "chemr-abc", tmp_path / "chemr-abcd"
    for directory in (folder, elsewhere):
        directory.mkdir()
    agent = holding(folder / "agent.log", "ray::DashboardAgent")
    reader = holding(folder / "agent.log", "tail")
    others = holding(elsewhere / "agent.log", "ray::DashboardAgent")
    try:
        run_dir = tmp_path / "run"
        gone = subprocess.Popen(["true"])
        gone.wait()
        PoolNote("no-process-has-this-id", gone.pid, -1, (str(folder),)).write(run_dir)
        assert [int(name.split()[0]) for name in sweep(run_dir)] == [agent.pid]
        assert not psutil.pid_exists(agent.pid), "the agent was killed"
        assert psutil.pid_exists(reader.pid) and reader.poll() is None, "whoever reads the log is left alone"
        assert others.poll() is None, "and so is the agent of another pool"
        assert not folder.exists() and os.listdir(run_dir) == []
    finally:
        for process in (agent, reader, others):
            process.kill()
            process.communicate()
