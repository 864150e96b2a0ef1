"""kill -9 of workers, zygotes and the server, and SIGTERM, all under load: no verdict is lost or doubled, and clients hear the truth."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rewards.service.client import RewardClient, RewardServiceError
from rewards.service.v1 import reward_pb2, reward_pb2_grpc
from rewards.service.wire import job_to_message
from tests.patience import PATIENCE, START_S, WAIT_S


@pytest.fixture
def load(formula):
    def make(count: int):
        """Distinct jobs (nothing is answered from memory) and which of them are right."""
        jobs = [formula(2 if n % 3 == 0 else 1000 + n) for n in range(count)]
        return jobs, [n % 3 == 0 for n in range(count)]

    return make


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_killing_workers_and_zygotes_under_load_loses_no_verdict(service_process, load, nap):
    service = service_process("--workers", "2")
    jobs, right = load(200)
    jobs, right = jobs + [nap(0.01, n) for n in range(200)], right + [True] * 200
    dice, done, killed = random.Random(1), threading.Event(), Counter()

    def murderer() -> None:
        while not done.wait(0.1) and killed["workers"] < 12:
            zygotes, workers = service.descendants()
            if not killed["zygotes"] and killed["workers"] == 3:
                kill(dice.choice(zygotes))
                killed["zygotes"] += 1
            elif workers:
                kill(dice.choice(workers))
                killed["workers"] += 1

    thread = threading.Thread(target=murderer)
    with RewardClient(service.target, timeout_s=START_S, max_jobs=50) as client:
        thread.start()
        try:
            verdicts = client.score(jobs)
            streamed = list(client.score_stream(jobs))
        finally:
            done.set()
            thread.join()
        assert client.retries == 0, "the death of scoring processes is not the client's business"
    assert killed["workers"] >= 4 and killed["zygotes"] == 1, f"hardly anything was killed: {killed}"
    known = [(v.value == 1.0, r) for v, r in zip(verdicts, right, strict=True) if v.value is not None]
    assert all(found == wanted for found, wanted in known), "a verdict went to another answer"
    # A job whose worker is killed twice has no known worth: that is a verdict too, but a rare one.
    assert len(known) >= len(jobs) - killed["workers"], f"{len(jobs) - len(known)} unknown after {killed}"
    assert Counter(place for place, _ in streamed) == Counter(range(len(jobs)))


def test_a_killed_and_restarted_server_costs_retries_but_no_verdict(service_process, load, nap, tmp_path):
    service = service_process("--workers", "1")
    jobs, right = load(300)
    jobs = [job for n, job in enumerate(jobs) for job in ([nap(0.005, n)] if n % 10 == 0 else []) + [job]]
    right = [wanted for n, wanted in enumerate(right) for wanted in ([True] if n % 10 == 0 else []) + [wanted]]
    streamed: list[tuple[int, bool]] = []
    with (
        RewardClient(service.target, timeout_s=START_S, max_jobs=20) as client,
        RewardClient(service.target, timeout_s=START_S) as streaming,
    ):
        batch: list[bool] = []
        threads = [
            threading.Thread(target=lambda: batch.extend(v.value == 1.0 for v in client.score(jobs))),
            threading.Thread(target=lambda: streamed.extend((p, v.value == 1.0) for p, v in streaming.score_stream(jobs))),
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + WAIT_S
        while len(streamed) < 50 and time.monotonic() < deadline:
            time.sleep(0.005)
        _, workers = service.descendants()
        service.kill()
        assert len(streamed) < len(jobs), "the server was killed too late to test anything"
        again = service_process("--workers", "1", port=service.port)
        for thread in threads:
            thread.join(timeout=START_S)
        assert batch == right
        assert [place for place, _ in sorted(streamed)] == list(range(len(jobs))), "a verdict was lost or doubled"
        assert [value for _, value in sorted(streamed)] == right
        assert client.retries > 0 and streaming.retries > 0
    assert not set(workers) & set(again.descendants()[1])


def test_a_server_that_stays_away_is_a_clear_status(service_process, load, wait_until_gone):
    service = service_process("--workers", "1")
    zygotes, workers = service.descendants()
    with RewardClient(service.target, timeout_s=2.0 * PATIENCE) as client:
        client.score(load(3)[0])
        service.kill()
        with pytest.raises(
            RewardServiceError, match=rf"reward service 127.0.0.1:{service.port}: UNAVAILABLE: .*gave up after \d+ calls"
        ) as e:
            client.score(load(4)[0])
    assert e.value.code is grpc.StatusCode.UNAVAILABLE and e.value.attempts > 1
    assert not wait_until_gone(zygotes + workers), "the scoring processes outlived their server"


def test_sigterm_finishes_what_is_under_way_refuses_the_rest_and_ends_with_0(service_process, nap, eventually, wait_until_gone):
    service = service_process("--workers", "1", "--drain", "120")
    children = [pid for pids in service.descendants() for pid in pids]
    with grpc.insecure_channel(service.target) as channel:
        stub, health = reward_pb2_grpc.RewardServiceStub(channel), health_pb2_grpc.HealthStub(channel)

        def status() -> int:
            return health.Check(health_pb2.HealthCheckRequest()).status

        under_way = stub.Score.future(reward_pb2.ScoreRequest(jobs=[job_to_message(nap(0.4, n)) for n in range(3)]))
        release = threading.Event()

        def requests():
            yield reward_pb2.ScoreStreamRequest(id=5, job=job_to_message(nap(0.0, "streamed")))
            release.wait(WAIT_S)

        stream = stub.ScoreStream(requests())
        assert next(stream).id == 5
        assert status() == health_pb2.HealthCheckResponse.SERVING
        service.signal(signal.SIGTERM)
        eventually(lambda: status() == health_pb2.HealthCheckResponse.NOT_SERVING, "health says NOT_SERVING while calls are finished")
        with pytest.raises(grpc.RpcError) as late:
            stub.Score(reward_pb2.ScoreRequest(jobs=[job_to_message(nap(0.0))]))
        assert late.value.code() is grpc.StatusCode.UNAVAILABLE and "shutting down" in late.value.details()
        assert [v.value for v in under_way.result(timeout=WAIT_S).verdicts] == [1.0, 1.0, 1.0]
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE, "an open stream is asked to go elsewhere"
        release.set()
    assert service.process.wait(timeout=WAIT_S) == 0
    assert not wait_until_gone(children)


def test_the_drain_has_an_end(service_process, nap, eventually, wait_until_gone):
    service = service_process("--workers", "1", "--drain", "0.3", "--answer-timeout", "60")
    children = [pid for pids in service.descendants() for pid in pids]
    with grpc.insecure_channel(service.target) as channel:
        endless = reward_pb2_grpc.RewardServiceStub(channel).Score.future(reward_pb2.ScoreRequest(jobs=[job_to_message(nap(50.0))]))
        health = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest())
        time.sleep(0.1)
        service.signal(signal.SIGTERM)
        assert endless.exception(timeout=WAIT_S).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert service.process.wait(timeout=WAIT_S) == 0
    assert not wait_until_gone(children)
