"""Limits of a service are met before a message is read, and each kind of call has its own."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rewards.service import admission
from rewards.service import server as server_module
from rewards.service.admission import Callers
from rewards.service.certificates import TlsFiles
from rewards.service.client import ClientTls, RewardServiceError
from rewards.service.servicer import CallLimits
from tests.patience import WAIT_S
from tests.rewards.service.test_reward_service_tls import Authority


def test_a_call_above_the_limit_is_refused_before_its_message_is_parsed(start_server, formula, monkeypatch):
    arrived, pass_on = threading.Event(), admission._pass_on

    async def passing(*call):
        arrived.set()
        await pass_on(*call)

    monkeypatch.setattr(admission, "_pass_on", passing)
    server = start_server(workers=1, answer_s=60.0, limits=CallLimits(calls=1))
    method = f"/{server_module.SERVICE_NAME}/Score"
    with grpc.insecure_channel(server.target) as channel, server.client() as client:
        silent = channel.stream_stream(method)(iter(lambda: threading.Event().wait(30), None))  # takes the only place and says nothing
        assert arrived.wait(WAIT_S)
        with pytest.raises(RewardServiceError, match=r"RESOURCE_EXHAUSTED: 1 calls .*are being served"):
            client.score([formula(2)], timeout_s=1.0)
        garbage = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as refused:
            garbage(b"\xff" * 100_000, timeout=10)  # no message at all: parsing it would end in INTERNAL
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        silent.cancel()
    server.stop()


def test_health_streams_have_places_of_their_own_and_an_end(start_server, formula, monkeypatch):
    monkeypatch.setattr(server_module, "_WATCHES", 8)
    server = start_server(workers=1, answer_s=60.0, limits=CallLimits(calls=2))
    with grpc.insecure_channel(server.target) as channel, server.client() as client:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(8)]
        assert {next(iter(watch)).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        with pytest.raises(grpc.RpcError) as refused:
            next(iter(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.score([formula(2)])[0].value == 1.0
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING
        for watch in watches:
            watch.cancel()
    server.stop()


def test_a_call_that_never_sends_its_message_gives_its_place_back(start_server, formula, monkeypatch):
    monkeypatch.setattr(admission, "MESSAGE_S", 0.3)
    server = start_server(workers=1, answer_s=60.0, limits=CallLimits(calls=1))
    with grpc.insecure_channel(server.target) as channel, server.client() as client:
        silent = channel.stream_stream(f"/{server_module.SERVICE_NAME}/Score")(iter(lambda: threading.Event().wait(30), None))
        with pytest.raises(grpc.RpcError) as ended:
            next(silent)
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.score([formula(2)])[0].value == 1.0
    server.stop()


def test_with_names_only_these_certificates_of_the_ca_may_score(start_server, tmp_path, formula):
    ours = Authority(tmp_path / "ours")
    server = start_server(workers=1, tls=TlsFiles(*ours.issue("server"), ours.file, ("trainer",)))
    with server.client(tls=ClientTls(ours.file, *ours.issue("trainer"))) as client:
        assert client.score([formula(2)])[0].value == 1.0
    with (
        server.client(tls=ClientTls(ours.file, *ours.issue("somebody"))) as client,
        pytest.raises(RewardServiceError, match=r"PERMISSION_DENIED.*somebody"),
    ):
        client.score([formula(2)])
    server.stop()


def test_names_without_a_ca_are_refused(tmp_path):
    with pytest.raises(ValueError, match="only with a client CA"):
        TlsFiles(tmp_path / "c", tmp_path / "k", None, ("trainer",))


@pytest.mark.parametrize(
    ("metadata", "certificate", "code"),
    [
        ((("authorization", "Bearer t"),), {"x509_common_name": [b"ops"]}, None),
        ((("authorization", "Bearer t"),), {"x509_subject_alternative_name": [b"x", b"ops"]}, None),
        ((("authorization", "Bearer u"),), {"x509_common_name": [b"ops"]}, grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", b"\xff"),), {"x509_common_name": [b"ops"]}, grpc.StatusCode.UNAUTHENTICATED),
        ((), {"x509_common_name": [b"ops"]}, grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer t"),), {"x509_common_name": [b"ops.example"]}, grpc.StatusCode.PERMISSION_DENIED),
        ((("authorization", "Bearer t"),), {}, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_a_caller_shows_all_that_is_asked_for(metadata, certificate, code):
    context = SimpleNamespace(invocation_metadata=lambda: metadata, auth_context=lambda: certificate)
    refusal = Callers("t", ("ops",), open_to_all=("/health/",)).refusal("/a/B", context)
    assert (refusal[0] if refusal else None) is code
    assert Callers("t", ("ops",), open_to_all=("/health/",)).refusal("/health/Check", context) is None
