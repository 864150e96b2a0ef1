"""What a caller meets: verdicts in order, limits with a status each, cancelled work that stops, health, reflection, metrics."""

from __future__ import annotations

import threading
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rewards.job import ScoreJob
from rewards.registry import SCORER_VERSION
from rewards.service.client import RewardServiceError
from rewards.service.server import SERVICE_NAME, RewardServer, ServiceOptions, ServiceStartError
from rewards.service.servicer import CallLimits
from rewards.service.v1 import reward_pb2, reward_pb2_grpc
from rewards.service.wire import job_to_message
from rewards.verdict import Reason
from tests.patience import PATIENCE, WAIT_S

HELD_S = 3.0 * PATIENCE  # a call that holds the queue


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(server.target) as channel:
        yield reward_pb2_grpc.RewardServiceStub(channel)


def request(*jobs: ScoreJob) -> reward_pb2.ScoreRequest:
    return reward_pb2.ScoreRequest(jobs=map(job_to_message, jobs))


def refused(call, *arguments, **options) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value.code(), error.value.details()


def queued(server) -> int:
    return len(server.server._queue)


def busy(server) -> int:
    return sum(lane.busy for lane in server.server._lanes)


def test_verdicts_come_in_the_order_of_the_jobs(client, formula):
    verdicts = client.score([formula(n) for n in (9, 2, 7, 2, 3)] + [ScoreJob("retro", "no tags", {}, {})])
    assert [v.value == 1.0 for v in verdicts] == [False, True, False, True, False, False]
    assert verdicts[-1].reason is Reason.NO_ANSWER and verdicts[1].parts == {"distance": 0.0, "summed": 1.0}


def test_large_batches_are_split_and_put_together_again(server, formula):
    with server.client(max_jobs=7, max_bytes=500) as client:
        verdicts = client.score([formula(n % 5) for n in range(100)])
    assert [v.value == 1.0 for v in verdicts] == [n % 5 == 2 for n in range(100)]
    assert server.client().score([]) == []


@pytest.mark.parametrize(
    ("task", "reason"), [("segfault", Reason.CRASH), ("raise", Reason.SCORER_BUG), ("bad_reference", Reason.BAD_REFERENCE)]
)
def test_what_cannot_be_scored_has_no_value_and_its_neighbours_are_right(client, formula, task, reason):
    verdicts = client.score([formula(2), ScoreJob(task, "<answer>x</answer>", {}, {}), formula(30)])
    assert [v.value for v in verdicts] == [1.0, None, 0.0]
    assert verdicts[1].reason is reason


def test_a_hanging_answer_delays_only_its_own_call(server, client, stub, formula, eventually):
    hanging = stub.Score.future(request(_hang("alone")))
    eventually(lambda: busy(server) == 1, "the hanging answer is being scored")
    for n in range(20):
        client.score([formula(500 + n)])
    assert not hanging.done(), "honest calls waited for somebody else's hanging answer"
    hanging.cancel()
    eventually(lambda: busy(server) == 0, "the hanging answer was given up with its call")


def test_a_stream_delivers_the_neighbours_of_a_slow_answer_first(client, formula, nap):
    places = [place for place, _ in client.score_stream([nap(0.4), *(formula(600 + n) for n in range(10))])]
    assert places[-1] == 0 and sorted(places) == list(range(11))


def test_a_stream_of_any_length_is_read_as_it_is_scored(client, formula):
    taken = 0

    def jobs():
        nonlocal taken
        for n in range(300):
            taken = n
            yield formula(n % 7)

    stream = client.score_stream(jobs())
    next(stream)
    assert taken < 250, "the server should read no further ahead than its window"
    verdicts = dict(stream)
    assert len(verdicts) == 299


def test_an_error_of_the_callers_own_jobs_is_raised_to_them(client, formula):
    def jobs():
        yield formula(2)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.score_stream(jobs()))


def test_an_id_used_twice_in_a_stream_is_refused(stub, nap):
    messages = [reward_pb2.ScoreStreamRequest(id=7, job=job_to_message(nap(0.2))) for _ in range(2)]
    code, details = refused(lambda: list(stub.ScoreStream(iter(messages))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "id 7" in details


def test_an_unknown_task_is_the_callers_error_and_is_not_retried(client, formula):
    with pytest.raises(RewardServiceError, match=r"job 1: there is no scorer for the task 'alchemy'; known tasks: .*forward") as error:
        client.score([formula(2), ScoreJob("alchemy", "x", {}, {})])
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT and error.value.attempts == 1


def test_too_many_jobs_and_too_large_messages_are_refused_and_not_retried(server, stub, formula):
    code, details = refused(stub.Score, request(*[formula(2)] * 1025))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "1025 jobs" in details and "1024" in details
    with server.client(max_bytes=1 << 30) as client, pytest.raises(RewardServiceError, match="larger than max") as error:
        client.score([ScoreJob("retro", "x" * 60_000, {}, {"n": n}) for n in range(100)])
    assert error.value.attempts == 1


def test_list_tasks_names_them_with_plugins_version_and_limits(client):
    info = client.info()
    assert {"retro", "hang"} <= set(info.tasks) and list(info.tasks) == sorted(info.tasks)
    assert (info.scorer_version, info.max_jobs, info.max_message_bytes) == (SCORER_VERSION, 1024, 4 << 20)


def test_at_the_deadline_queued_jobs_leave_and_the_running_one_is_killed(server, stub, formula, nap, eventually):
    workers = set(server.server.worker_pids())
    code, _ = refused(stub.Score, request(*(nap(20.0, n) for n in range(50))), timeout=0.3)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: queued(server) == 0 and busy(server) == 0, "the lanes are free and the queue is empty")
    assert not workers & set(server.server.worker_pids()), "the workers of the expired call were killed"
    assert stub.Score(request(formula(2))).verdicts[0].value == 1.0


def test_a_cancelled_call_is_stopped_and_others_keep_their_workers(server, stub, nap, eventually, tmp_path):
    honest = stub.Score.future(request(nap(2.0 * PATIENCE, "honest")))
    eventually(lambda: busy(server) == 1, "the honest call is being scored")
    cancelled = stub.Score.future(request(_hang("cancelled"), nap(0.1, "never")))
    eventually(lambda: busy(server) == 2, "the call to be cancelled is being scored")
    cancelled.cancel()
    assert honest.result().verdicts[0].value == 1.0
    eventually(lambda: busy(server) == 0, "nothing is being scored")
    assert (tmp_path / "trace").read_text().startswith("honest ") and "never" not in (tmp_path / "trace").read_text()


def test_a_cancelled_stream_is_stopped_too(server, stub, eventually):
    open_end = threading.Event()

    def requests():
        for n in range(5):
            yield reward_pb2.ScoreStreamRequest(id=n, job=job_to_message(_hang(f"stream {n}")))
        open_end.wait(WAIT_S)

    stream = stub.ScoreStream(requests())
    eventually(lambda: busy(server) == 2 and queued(server) == 3, "the stream's jobs are under way")
    stream.cancel()
    open_end.set()
    eventually(lambda: busy(server) == 0 and queued(server) == 0, "nothing is being scored")


def test_a_full_queue_refuses_and_the_client_comes_back(start_server, nap, eventually):
    server = start_server(workers=1, answer_s=60.0, queue_jobs=4, limits=CallLimits(jobs=4, calls=8))
    with grpc.insecure_channel(server.target) as channel, server.client() as client:
        stub = reward_pb2_grpc.RewardServiceStub(channel)
        first = stub.Score.future(request(*(nap(0.4 * PATIENCE, n) for n in range(4))))
        eventually(lambda: queued(server) == 3, "one job is being scored and three wait")
        code, details = refused(stub.Score, request(nap(0.0, "a"), nap(0.0, "b")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "holds 3 of 4 jobs" in details
        assert [v.value for v in client.score([nap(0.0, "c"), nap(0.0, "d")])] == [1.0, 1.0]
        assert client.retries > 0, "the client should have been refused at least once"
        assert [v.value for v in first.result(timeout=WAIT_S).verdicts] == [1.0] * 4, (
            "calls take turns; the first one loses nothing to a later one"
        )
    server.stop()


def test_a_queue_that_stays_full_is_a_clear_status_at_the_deadline(start_server, nap, eventually):
    server = start_server(workers=1, answer_s=60.0, queue_jobs=1, limits=CallLimits(jobs=1, calls=2, seconds=HELD_S))
    with grpc.insecure_channel(server.target) as channel, server.client() as client:
        stub = reward_pb2_grpc.RewardServiceStub(channel)
        long = [stub.Score.future(request(nap(10 * HELD_S, 1)))]
        eventually(lambda: busy(server) == 1, "the worker is taken")
        long.append(stub.Score.future(request(nap(10 * HELD_S, 2))))
        eventually(lambda: queued(server) == 1, "the queue is full")
        with pytest.raises(RewardServiceError, match=r"RESOURCE_EXHAUSTED: 2 calls are being served.*gave up after") as error:
            client.score([nap(0.0, 3)], timeout_s=HELD_S / 3)
        assert error.value.attempts > 1
        assert long[0].exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED and f"{HELD_S:g} s" in long[0].exception().details()
    server.stop()


def test_health_and_reflection_are_the_standard_ones(server):
    with grpc.insecure_channel(server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE_NAME):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        assert {SERVICE_NAME, "grpc.health.v1.Health"} <= {service.name for service in answer.list_services_response.service}


def test_metrics_tell_calls_verdicts_and_state(server, client, formula):
    client.score([formula(2), ScoreJob("retro", "no tags", {}, {})])
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.server.metrics_port}/metrics", timeout=WAIT_S).read().decode()
    for line in (
        'chemr_reward_calls_total{code="OK",method="Score"}',
        'chemr_reward_verdicts_total{reason="no_answer",task="retro"}',
        'chemr_reward_score_seconds_bucket{le="0.001",task="smiles2formula"}',
        "chemr_reward_queued_jobs 0.0",
        "chemr_reward_queue_limit 1024.0",
        "chemr_reward_lanes_ready 2.0",
        'chemr_reward_pool_events_total{event="crash"}',
    ):
        assert line in text, f"{line} is missing in:\n{text}"


def test_a_taken_port_and_a_missing_plugin_are_clear_errors(server, start_server):
    with pytest.raises(ServiceStartError, match=f"cannot listen on 127.0.0.1:{server.server.port}"):
        start_server(port=server.server.port)
    with pytest.raises(ServiceStartError, match="all plugins exist"):
        start_server(plugins=("no_such_module",))
    with pytest.raises(ServiceStartError, match="refused for ever"):
        RewardServer(ServiceOptions(queue_jobs=8))


def _hang(mark: str) -> ScoreJob:
    return ScoreJob("hang", f"<answer>{mark}</answer>", {}, {})
