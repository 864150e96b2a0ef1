"""A reward service in this process, one in a process of its own, and jobs for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rewards.job import ScoreJob
from rewards.service.client import RewardClient
from rewards.service.server import RewardServer, ServiceOptions
from tests.patience import START_S, WAIT_S

ROOT = Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "tests" / "rewards" / "plugins"


class RunningServer:
    """A RewardServer in an event loop of its own thread."""

    def __init__(self, options: ServiceOptions) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server = RewardServer(options)
        try:
            self.run(self.server.start())
        except BaseException:
            self._end_loop()
            raise

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=START_S)

    def client(self, **options) -> RewardClient:
        return RewardClient(self.target, **{"timeout_s": WAIT_S, **options})

    def stop(self) -> None:
        """Safe to call twice."""
        if not self.loop.is_closed():
            try:
                self.run(self.server.stop(drain_s=0.0))
            finally:
                self._end_loop()

    def _end_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class ServiceProcess:
    """``chemr serve-rewards`` as an operator runs it."""

    def __init__(self, *flags: str, log: Path) -> None:
        self.log = log
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGINS)])}
        command = [sys.executable, "-m", "chemr.cli", "serve-rewards", "--plugin", "napping_scorers", *flags]
        with log.open("w") as stderr:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "listening on port" not in line:
            self.kill()
            raise AssertionError(f"the service said {line!r} and {log.read_text()}")
        self.port = int(line.split()[-1])
        self.target = f"127.0.0.1:{self.port}"

    def descendants(self) -> tuple[list[int], list[int]]:
        """Zygotes and workers."""
        zygotes = _children(self.process.pid)
        return zygotes, [worker for zygote in zygotes for worker in _children(zygote)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text().split())
    return found


@pytest.fixture
def service_process(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """``service_process("--flag", …)`` starts one on a free port, or on a given ``port``."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def start(*flags: str, port: int = 0) -> ServiceProcess:
            process = ServiceProcess("--port", str(port), *flags, log=tmp_path / f"service-{next(numbers)}.log")
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="session")
def plugin_path() -> Iterator[None]:
    sys.path.append(str(PLUGINS))
    yield
    sys.path.remove(str(PLUGINS))


@pytest.fixture(scope="session")
def start_server(plugin_path) -> Iterator[Callable[..., RunningServer]]:
    """``start_server(workers=2, …)``; stopped at the end of the session unless stopped before."""
    plugins = ("misbehaving_scorers", "napping_scorers")
    with contextlib.ExitStack() as stack:

        def start(**options) -> RunningServer:
            server = RunningServer(ServiceOptions(**{"port": 0, "plugins": plugins, **options}))
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def server(start_server) -> RunningServer:
    """Two workers and an answer deadline so long that only a kill ends a hanging answer in time."""
    return start_server(workers=2, answer_s=30.0, queue_jobs=1024, metrics_port=0)


@pytest.fixture
def client(server) -> Iterator[RewardClient]:
    with server.client() as running:
        yield running


@pytest.fixture
def formula() -> Callable[[int], ScoreJob]:
    def job(carbons: int) -> ScoreJob:
        """A job of its own for every number: right for 2, else wrong or nearly right."""
        return ScoreJob("smiles2formula", f"<answer>C{carbons}H6O</answer>", {"smiles": "CCO"}, {"answer": "C2H6O"})

    return job


@pytest.fixture
def nap(tmp_path: Path) -> Callable[..., ScoreJob]:
    def job(seconds: float, name: object = "x") -> ScoreJob:
        """Takes so long, and is seen in ``tmp_path / "trace"`` when it is done."""
        return ScoreJob("nap", f"<answer>{name}</answer>", {"seconds": seconds, "trace": str(tmp_path / "trace")}, {})

    return job


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    def wait(condition: Callable[[], bool], sentence: str, seconds: float = WAIT_S) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {sentence}"
            time.sleep(0.01)

    return wait
