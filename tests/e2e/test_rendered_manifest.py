"""The manifest of cpu-smoke, run: its start parameters and labels on an isolated Ray, its command, a lost head, and the second attempt.

Every pod is a Ray node on this machine, and the command goes through Ray's job API with a token, as KubeRay's submitter does it. That needs
the job server (requirements/cluster.txt), which `make setup` does not install: `make test-manifest` does. Without it the test is skipped.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from chemr.k8s.ray_objects import ray_object
from chemr.k8s.request import read_request

ROOT = Path(__file__).resolve().parents[2]
MARK = "CHEMR_TEST_MANIFEST"  # in the environment of every process of this test, which ends them by pid
JOB_SERVER = all(find_spec(name) is not None for name in ("aiohttp_cors", "opencensus", "smart_open", "virtualenv"))
# One stage: GRPO after so few supervised steps has nothing to learn from. The evaluation at its end needs generators and reward workers.
SMALL = ("stages=[foundation]", "foundation.steps=12", "foundation.eval_every=0", "foundation.checkpoint_every=4", "run.name=manifest")
SMALL += ("eval.test_prompts_per_task=1", "eval.validation_prompts_per_task=1", "eval.samples=1")
# What KubeRay's submitter does: the dashboard may be there before the agent that starts jobs.
SUBMITTER = """
import sys, time
from ray.job_submission import JobStatus, JobSubmissionClient

client, deadline = JobSubmissionClient(sys.argv[1]), time.monotonic() + 120
while True:
    try:
        job = client.submit_job(entrypoint=sys.argv[2])
        break
    except RuntimeError:
        if time.monotonic() > deadline:
            raise
        time.sleep(1)
while not (status := client.get_job_status(job)).is_terminal():
    time.sleep(1)
print(client.get_job_logs(job))
sys.exit(status != JobStatus.SUCCEEDED)
"""


class LocalCluster:
    """One Ray node per pod of a RayJob's cluster, started with its parameters and labels."""

    def __init__(self, job: dict[str, Any], folder: Path) -> None:
        self.spec = job["spec"]["rayClusterSpec"]
        self.entrypoint = job["spec"]["entrypoint"]
        self.folder, self.mark = folder, secrets.token_hex(8)
        self.port, self.dashboard = free_port(), free_port()
        self.temporary = tempfile.mkdtemp(prefix="cm", dir="/tmp")
        self.environment = os.environ | {MARK: self.mark, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_worker_niceness": "0"}
        self.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        assert self.spec["authOptions"]["mode"] == "token", "the manifest should have token authentication"

    def start_head(self) -> None:
        head = self.spec["headGroupSpec"]
        dashboard = [f"--dashboard-port={self.dashboard}"]
        self._start("--head", f"--port={self.port}", f"--temp-dir={self.temporary}", *dashboard, *parameters(head))

    def start_workers(self) -> None:
        for group in self.spec["workerGroupSpecs"]:
            labels = ",".join(f"{key}={value}" for key, value in group["labels"].items())
            for _ in range(group["replicas"]):
                self._start(f"--address=127.0.0.1:{self.port}", f"--labels={labels}", *parameters(group), *cpus(group))

    def submit(self) -> subprocess.Popen[bytes]:
        """The entrypoint; the process ends with the job."""
        environment = self.environment | {"RAY_ADDRESS": f"127.0.0.1:{self.port}"}
        command = [sys.executable, "-c", SUBMITTER, f"http://127.0.0.1:{self.dashboard}", self.entrypoint]
        with (self.folder / "driver.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def close(self) -> None:
        """Everything of this cluster is killed, as the operator does with the pods of a failed attempt."""
        while found := [process for process in psutil.process_iter() if self._mine(process)]:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for each in (*process.children(recursive=True), process):  # Ray's agents rename themselves over their environment
                        each.kill()
            time.sleep(0.1)  # psutil.wait would take the driver's exit status from its Popen
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        command += [f"--dashboard-agent-listen-port={free_port()}", *options]  # of a pod, too
        run = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=480, check=False)
        assert run.returncode == 0, f"ray start {' '.join(options)}:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"


def parameters(group: dict[str, Any]) -> list[str]:
    """As KubeRay puts rayStartParams; the metrics' port is of a pod, and these pods share a host."""
    return [f"--{key}={value}" for key, value in group["rayStartParams"].items() if key != "metrics-export-port"]


def cpus(group: dict[str, Any]) -> list[str]:
    """As KubeRay derives it from the container's limits."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    return [f"--num-cpus={math.ceil(float(limits['cpu']))}", "--num-gpus=0"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(condition: Callable[[], bool], limit_s: float, what: str, log: Path) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s\n{log.read_text(errors='replace')[-3000:]}"
        time.sleep(0.25)


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Callable[[], LocalCluster]]:
    small = [f"cluster.groups.{name}.object_store_gb=0.1" for name in ("learner", "generator", "reward")]
    arguments = ["overlay=cpu-smoke", f"cluster.storage.mount={tmp_path}", "cluster.head.object_store_gb=0.1", *small, *SMALL]
    job = ray_object(read_request(arguments))
    started: list[LocalCluster] = []

    def start() -> LocalCluster:
        started.append(LocalCluster(job, tmp_path))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()


@pytest.mark.skipif(not JOB_SERVER, reason="no job server: make test-manifest installs it")
@pytest.mark.timeout(900)
def test_the_rendered_job_trains_and_a_second_attempt_resumes_after_the_head_is_lost(
    clusters: Callable[[], LocalCluster], tmp_path: Path
) -> None:
    run, log = tmp_path / "manifest", tmp_path / "driver.log"
    first = clusters()
    first.start_head()
    driver = first.submit()  # before the workers are there, as in SidecarMode: the run waits for them
    first.start_workers()

    def checkpointed() -> bool:
        assert driver.poll() is None, f"the first attempt ended early:\n{log.read_text(errors='replace')[-3000:]}"
        return (run / "checkpoints" / "step-4").is_dir()

    wait_until(checkpointed, 300, "a checkpoint of the first attempt", log)
    first.close()
    driver.wait(timeout=180)
    assert driver.returncode != 0 and not (run / "summary.json").exists(), "the attempt should have failed with its head"

    second = clusters()
    second.start_head()
    driver = second.submit()
    second.start_workers()
    assert driver.wait(timeout=400) == 0, log.read_text(errors="replace")[-3000:]
    assert (run / "summary.json").is_file(), "the second attempt should have finished the run"
    assert f"continuing {run} from step" in log.read_text(errors="replace"), "the second attempt should go on from the checkpoint"
