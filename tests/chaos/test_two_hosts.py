"""Two hosts: Ray's head, driver, learner and a generator on one, another generator on the other; the link is cut and healed.

The hosts are network namespaces (tests/chaos/network.py). Takes a minute or two, so it is part of `make chaos`, not of `make test`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from tests.chaos.harness import PATIENCE, ROOT, settings
from tests.chaos.history import CHAOS_DIR_VARIABLE
from tests.chaos.network import TwoHosts, unavailable
from tests.chaos.observer import UPTO, Observer, write_whole
from tests.chaos.verify import verify

pytestmark = pytest.mark.timeout(1200)
in_chaos = pytest.mark.skipif("CHEMR_CHAOS" not in os.environ, reason="part of `make chaos`: takes a minute or two (set CHEMR_CHAOS=1)")

RAY_PACKAGE = f"{Path(ray.__file__).parent}/"
RAY_TITLES = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::SPILL_", "ray::RESTORE_", "ray::DELETE_")

PORT = 6399
CUT_S = 12.0  # longer than the silence below, so the far generator is given up; shorter than Ray's patience with a node
STEPS = 100  # the last ten wait until the far generator is back, however fast the machine is
# Three CPUs of Ray's account for a generator: beside the learner and the reward workers the head has room for one of the two.
TOPOLOGY = (
    "stages=[foundation,grpo]",
    f"grpo.steps={STEPS}",
    "pool.generator_cpus=3",
    f"pool.address={TwoHosts.addresses[0]}:{PORT}",
    "pool.timing.health_s=4",  # two health checks without an answer are longer than hang_s
    "pool.timing.hang_s=7",
)
HEAD_CPUS, WORKER_CPUS = 5, 3


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with TwoHosts() as hosts:
        yield hosts
        for host in (hosts.worker, hosts.head):  # whoever is still there; the namespaces are this test's own
            listing = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=True)
            processes = [psutil.Process(int(pid)) for pid in listing.stdout.split() if psutil.pid_exists(int(pid))]
            for process in processes:
                process.kill()
            psutil.wait_procs(processes, timeout=10)


def start_ray(hosts: TwoHosts, environment: dict[str, str], temporary: str) -> None:
    program = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--object-store-memory=100000000"]
    head = ["--head", f"--node-ip-address={hosts.addresses[0]}", f"--port={PORT}", f"--num-cpus={HEAD_CPUS}", "--include-dashboard=false"]
    worker = [f"--address={hosts.addresses[0]}:{PORT}", f"--node-ip-address={hosts.addresses[1]}", f"--num-cpus={WORKER_CPUS}"]
    for host, options in ((hosts.head, [*head, f"--temp-dir={temporary}/ray"]), (hosts.worker, worker)):
        subprocess.run(hosts.inside(host, [*program, *options]), env=environment, check=True, capture_output=True, timeout=90 * PATIENCE)


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s * PATIENCE, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.1)
    return time.monotonic() - began


def far_generators(hosts: TwoHosts, observer: Observer) -> list[int]:
    """Pids of the generators that the driver counts as serving and that run on the worker's host."""
    listing = subprocess.run(["ip", "netns", "pids", hosts.worker], capture_output=True, text=True, check=True)
    return [pid for name, pid in observer.pids().items() if name in ("generator-0", "generator-1") and str(pid) in listing.stdout.split()]


def rays_own(process: psutil.Process) -> bool:
    """By the whole command line, however long the path of the checkout is: a program or script of the package, or a title of Ray's own."""
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return True
    return any(part.startswith(RAY_PACKAGE) for part in command) or "".join(command[:1]).startswith(RAY_TITLES)


def test_processes_of_ray_are_told_from_the_runs_in_a_checkout_with_a_long_path() -> None:
    commands = {
        (f"{RAY_PACKAGE}core/src/ray/raylet/raylet", "--x"): True,
        (f"/{'long/' * 40}bin/python", "-u", f"{RAY_PACKAGE}_private/log_monitor.py"): True,
        ("ray::DashboardAgent",): True,
        ("ray::IDLE",): True,
        ("ray::RolloutGenerator",): False,
        ("VLLM::EngineCore",): False,
        (f"/{'long/' * 40}bin/python", "-m", "rewards.zygote"): False,
        ("/home/ray/bin/python", "-m", "rewards.zygote"): False,
    }
    for command, expected in commands.items():
        assert rays_own(SimpleNamespace(cmdline=lambda command=command: list(command))) is expected, command  # type: ignore[arg-type]


@in_chaos
def test_a_run_survives_the_loss_of_the_link_to_a_generators_host(hosts: TwoHosts, tmp_path: Path) -> None:
    run_dir, chaos_dir, log = tmp_path / "run", tmp_path / "chaos", tmp_path / "driver.log"
    chaos_dir.mkdir()
    write_whole(chaos_dir / UPTO, str(STEPS - 10))
    with tempfile.TemporaryDirectory(prefix="cx", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        environment = os.environ | {"PYTHONPATH": str(ROOT), CHAOS_DIR_VARIABLE: str(chaos_dir), "TMPDIR": temporary}
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
        start_ray(hosts, environment, temporary)
        overrides = [*settings(more=TOPOLOGY), f"run.root={tmp_path}", "run.name=run"]
        command = hosts.inside(hosts.head, [sys.executable, "-m", "tests.chaos.driver", *overrides])
        observer = Observer(run_dir, chaos_dir)

        def reached(step: int) -> bool:
            observer.poll()
            assert driver.poll() is None, f"the driver ended early:\n{log.read_text()[-3000:]}"
            return observer.step >= step

        with log.open("wb") as output:
            driver = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
            try:
                wait_until(lambda: reached(3), 150, "three steps")
                (before,) = far_generators(hosts, observer)  # one generator on each host
                hosts.cut()
                cut_at, step = time.monotonic(), observer.step
                try:
                    wait_until(lambda: time.monotonic() - cut_at > CUT_S or not reached(0), CUT_S + 1, "the cut to last")
                finally:
                    hosts.heal()
                assert observer.step > step, "the near generator must carry on alone"
                wait_until(
                    lambda: reached(0) and far_generators(hosts, observer) not in ([], [before]), 120, "a new generator on the far host"
                )
                write_whole(chaos_dir / UPTO, str(STEPS))
                assert driver.wait(timeout=180 * PATIENCE) == 0, log.read_text()[-3000:]
            finally:
                driver.kill()
                driver.wait()
        # Ray's own processes of the two nodes carry the marker too, and are the fixture's to end.
        problems = verify(run_dir, chaos_dir, observer, finished=True, not_the_runs=rays_own)
    assert not problems, problems
