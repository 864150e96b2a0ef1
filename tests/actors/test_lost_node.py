"""What a node takes with it when it dies can be asked again (a real cluster of two nodes, in a process of its own)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_node_that_dies_takes_tokens_and_verdicts_with_it_and_no_learner() -> None:
    script = Path(__file__).with_name("lost_node.py")
    done = subprocess.run([sys.executable, script], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"] == [1], "the group that lay on that node alone; copies elsewhere and small ones are still there"
    assert found["learner"] == {"train/groups": 2.0}, "the same ranks go on with what is there"
    assert found["tokens"] == ["TokensLost", "infrastructure"], "what was to be scored is generated again"
    assert found["verdicts"] == ["TokensLost", "infrastructure"], "verdicts that died with their scorer's node: so is this"
    assert found["scorer"] == ["ActorDiedError", "infrastructure"]
    assert found["cause"] == ["RayTaskError(ValueError)", "infrastructure"], "Ray drops the cause; its text is still there"


def environment() -> dict[str, str]:
    """Of a cluster that comes up on a busy machine: no worker that nobody asked for, and time to register."""
    ray = {"enable_metrics_collection": 0, "prestart_worker_first_driver": 0, "enable_worker_prestart": 0, "worker_niceness": 0}
    ray |= {"raylet_start_wait_time_s": 180, "USAGE_STATS_ENABLED": 0}
    return os.environ | {"PYTHONPATH": str(ROOT)} | {f"RAY_{name}": str(value) for name, value in ray.items()}
