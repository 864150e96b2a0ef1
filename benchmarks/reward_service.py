"""The reward service in a process of its own: calls per second of one job each, and verdicts per second in batches against a bare pool.

A call of one job costs gRPC, the queue and a thread; in a batch this is shared. Every job is distinct, so nothing is remembered. Service
and pool take turns over the same batches with the same number of workers; medians are reported.

JSON (--json FILE): calls_per_s (one job each, from --callers threads), service_verdicts_per_s and pool_verdicts_per_s (batches of --batch),
service_ratio (the former over the latter, in one run), p50_ms and p99_ms of a single call, and what other programs on the machine do not
change: server_us_per_verdict and server_us_per_call, the processor time of the server itself (without its scoring processes) in
microseconds per verdict of a batch and per call of one job.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from rewards.isolation import ScorerPool  # noqa: E402
from rewards.job import ScoreJob  # noqa: E402
from rewards.service.client import RewardClient  # noqa: E402

START_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 40.0

_numbers = itertools.count()


def distinct_jobs(count: int) -> list[ScoreJob]:
    """Answers that no other job of this process has; each needs RDKit."""
    smiles = "CC(C)Cc1ccc(cc1)C(C)C(=O)O"

    def chain(number: int) -> str:
        return "C" * (1 + number % 40)

    return [
        ScoreJob(
            "iupac2smiles",
            f"<answer>{chain(n)}c1ccc(cc1)C({chain(n // 40)})C({chain(n // 1600)})=O</answer>",
            {"iupac": f"row {n // 64_000}"},
            {"answer": smiles},
        )
        for n in itertools.islice(_numbers, count)
    ]


@contextmanager
def running_service(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """``host:port`` and process of a ``chemr serve-rewards`` that ends with the block. Raises RuntimeError: it does not start."""
    command = [sys.executable, "-m", "chemr.cli", "serve-rewards", "--port", "0", "--workers", str(workers)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if "port" not in line:
            raise RuntimeError(f"the service did not start within {START_TIMEOUT_S:g} s; run {' '.join(command[1:])} to see why")
        watchdog.cancel()
        yield f"127.0.0.1:{int(line.split()[-1])}", psutil.Process(process.pid)
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(process: psutil.Process) -> float:
    """Of the process itself, without its children."""
    times = process.cpu_times()
    return times.user + times.system


def single_calls(client: RewardClient, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Calls per second of one job each from so many threads, and the latencies in seconds."""
    latencies: list[float] = []
    jobs = iter(distinct_jobs(50_000))
    lock, stop_at = threading.Lock(), time.perf_counter() + seconds

    def call() -> None:
        while time.perf_counter() < stop_at:
            with lock:
                job = next(jobs)
            started = time.perf_counter()
            client.score([job])
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / (time.perf_counter() - started), latencies


def measure(workers: int = 1, callers: int = 8, batch: int = 512, rounds: int = 5, seconds: float = 3.0) -> dict[str, float]:
    """The figures of this file's JSON."""
    rates: dict[str, list[float]] = {"service": [], "pool": []}
    with running_service(workers) as (target, server), RewardClient(target) as client, ScorerPool(workers=workers) as pool:
        client.score(distinct_jobs(batch))
        pool.score(distinct_jobs(batch))
        before = cpu_seconds(server)
        for _ in range(rounds):
            for name, score in (("service", client.score), ("pool", pool.score)):
                jobs = distinct_jobs(batch)
                started = time.perf_counter()
                score(jobs)
                rates[name].append(batch / (time.perf_counter() - started))
        between = cpu_seconds(server)
        calls_per_s, latencies = single_calls(client, callers, seconds)
        after = cpu_seconds(server)
    service, direct = statistics.median(rates["service"]), statistics.median(rates["pool"])
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "workers": workers,
        "callers": callers,
        "batch": batch,
        "calls_per_s": calls_per_s,
        "server_us_per_call": (after - between) / len(latencies) * 1e6,
        "server_us_per_verdict": (between - before) / (rounds * batch) * 1e6,
        "p50_ms": percentiles[49] * 1e3,
        "p99_ms": percentiles[98] * 1e3,
        "service_verdicts_per_s": service,
        "pool_verdicts_per_s": direct,
        "service_ratio": service / direct,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=1, help="scoring processes (%(default)s)")
    parser.add_argument("--callers", type=int, default=8, help="threads that send calls of one job (%(default)s)")
    parser.add_argument("--batch", type=int, default=512, help="jobs in a batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="batches of service and pool each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of the single calls (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    found = measure(options.workers, options.callers, options.batch, options.rounds, options.seconds)
    for name, value in found.items():
        print(f"{name:>24} {value:12.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
