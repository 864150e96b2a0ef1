"""The control service in front of a scripted run: who comes in, what they get, and what probes are told."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors.control.address import ControlNote, check_address, is_local
from actors.control.client import ControlClient, ControlError
from actors.control.run_status import (
    Ages,
    InvalidRequestError,
    LedgerCounts,
    MemberStatus,
    NotNowError,
    Phase,
    RunStatus,
    Slots,
)
from actors.control.server import LIMITS, SERVICE_NAME, ControlOptions, ControlServer, ControlStartError
from actors.control.wire import status_from_message, status_to_message
from rewards.service.admission import WATCH
from rewards.service.certificates import TlsFiles
from rewards.service.client import ClientTls
from tests.patience import WAIT_S
from tests.rewards.service.test_reward_service_tls import Authority

TOKEN = "a-token"
FULL = RunStatus(
    run="runs/x",
    phase=Phase.paused,
    reason="asked to",
    stage="grpo",
    step=12,
    stage_step=2,
    stage_steps=6,
    version=5,
    checkpoint="runs/x/checkpoints/step-10",
    uptime_s=3.5,
    quiet_s=0.25,
    slots=Slots(8, 0, 3, 2, 3),
    ages=Ages(1, 2),
    ledger=LedgerCounts(20, 8, {"trivial": 4}, 8, 0),
    members=[MemberStatus("generator-0", "generator", "serving", 4, 1, 77, 5, 16, 0.5), MemberStatus("reward-0", "reward", "lost")],
    counters={"groups": 12.0},
    curriculum={"retro": 1.0},
    floors={"retro": 0.5},
)


class ScriptedRun:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.is_healthy = True
        self.checkpoint_waits = asyncio.Event()

    def status(self) -> RunStatus:
        return FULL

    def healthy(self) -> bool:
        return self.is_healthy

    async def pause(self) -> int:
        self.asked.append("pause")
        return 12

    def resume(self) -> bool:
        self.asked.append("resume")
        return True

    async def checkpoint(self) -> str:
        self.asked.append("checkpoint")
        await self.checkpoint_waits.wait()
        return "runs/x/checkpoints/step-12"

    async def drain(self, evicted: bool) -> str:
        raise NotNowError(f"the run has ended, evicted={evicted}")

    def set_curriculum_floor(self, task: str, floor: float) -> dict[str, float]:
        if task != "retro":
            raise InvalidRequestError(f"no task {task!r}")
        self.asked.append(floor)
        return {"retro": 1.0}

    def scale(self, kind: str, count: int) -> None:
        self.asked.append((kind, count))


@pytest.fixture
async def run() -> ScriptedRun:
    return ScriptedRun()


@pytest.fixture
async def server(run: ScriptedRun) -> AsyncIterator[ControlServer]:
    server = ControlServer(run, ControlOptions("127.0.0.1:0", TOKEN))
    await server.start()
    yield server
    await server.stop()


async def ask(
    server: ControlServer, question: Callable[[ControlClient], object], token: str | None = TOKEN, timeout_s: float = WAIT_S
) -> object:
    def call() -> object:
        with ControlClient(server.address, token, timeout_s=timeout_s) as client:
            return question(client)

    return await asyncio.to_thread(call)


def test_a_status_survives_the_wire() -> None:
    assert status_from_message(status_to_message(FULL)) == FULL
    bare = RunStatus("runs/x", Phase.running)
    assert status_from_message(status_to_message(bare)) == bare, "what is not there stays not there"


async def test_calls_reach_the_run_and_bring_its_answers_back(server: ControlServer, run: ScriptedRun) -> None:
    run.checkpoint_waits.set()
    assert await ask(server, lambda client: client.status()) == FULL
    assert await ask(server, lambda client: client.pause()) == 12
    assert await ask(server, lambda client: client.resume()) is True
    assert await ask(server, lambda client: client.checkpoint()) == "runs/x/checkpoints/step-12"
    assert await ask(server, lambda client: client.set_curriculum_floor("retro", 0.5)) == {"retro": 1.0}
    await ask(server, lambda client: client.scale("generators", 3))
    assert run.asked == ["pause", "resume", "checkpoint", 0.5, ("generators", 3)]


async def test_a_refusal_keeps_the_runs_own_words(server: ControlServer) -> None:
    for evicted in (False, True):
        with pytest.raises(ControlError, match=f"the run has ended, evicted={evicted}") as refused:
            await ask(server, lambda client, evicted=evicted: client.drain(evicted))
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(ControlError, match="no task 'nosuch'") as invalid:
        await ask(server, lambda client: client.set_curriculum_floor("nosuch", 0.5))
    assert invalid.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("token", [None, "another", ""])
async def test_without_the_token_nobody_comes_in(server: ControlServer, run: ScriptedRun, token: str | None) -> None:
    for question in (ControlClient.status, ControlClient.pause, ControlClient.drain):
        with pytest.raises(ControlError, match="token") as refused:
            await ask(server, question, token)
        assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert run.asked == [], "a refused call must not reach the run"


async def test_a_caller_that_gives_up_leaves_the_service_as_it_was(server: ControlServer, run: ScriptedRun) -> None:
    with pytest.raises(ControlError) as late:
        await ask(server, ControlClient.checkpoint, timeout_s=0.2)
    assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    run.checkpoint_waits.set()
    assert await ask(server, ControlClient.checkpoint) == "runs/x/checkpoints/step-12"


async def test_probes_need_no_token_and_see_whether_the_run_makes_progress(server: ControlServer, run: ScriptedRun) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def becomes(status: int, service: str) -> None:
            async with asyncio.timeout(WAIT_S):
                while (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S)).status != status:
                    await asyncio.sleep(0.05)

        for service in ("", SERVICE_NAME):
            await becomes(health_pb2.HealthCheckResponse.SERVING, service)
        run.is_healthy = False
        for service in ("", SERVICE_NAME):
            await becomes(health_pb2.HealthCheckResponse.NOT_SERVING, service)
        run.is_healthy = True
        await becomes(health_pb2.HealthCheckResponse.SERVING, "")


async def test_a_unix_socket_is_its_owners_alone(run: ScriptedRun, tmp_path: Path) -> None:
    server = ControlServer(run, ControlOptions(f"unix:{tmp_path}/c.sock", TOKEN))
    await server.start()
    try:
        assert stat.S_IMODE((tmp_path / "c.sock").stat().st_mode) == 0o600
        assert await ask(server, ControlClient.status) == FULL
    finally:
        await server.stop()


async def test_with_mtls_a_certificate_of_the_ca_with_an_allowed_name_takes_the_place_of_the_token(
    run: ScriptedRun, tmp_path: Path
) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    server = ControlServer(run, ControlOptions("127.0.0.1:0", None, TlsFiles(*ours.issue("server"), ours.file, ("client", "operator"))))
    await server.start()

    def call(own: tuple[Path, Path]) -> RunStatus:
        with ControlClient(server.address, None, ClientTls(ours.file, *own), timeout_s=WAIT_S) as client:
            return client.status()

    try:
        assert await asyncio.to_thread(call, ours.issue("client")) == FULL
        with pytest.raises(ControlError):
            await asyncio.to_thread(call, others.issue("client"))
        with pytest.raises(ControlError, match=r"that of .*neighbour.*not among those who may") as refused:
            await asyncio.to_thread(call, ours.issue("neighbour"))
        assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED, "the CA signs for others, too"
    finally:
        await server.stop()


async def test_a_client_ca_without_names_does_not_take_the_place_of_the_token(run: ScriptedRun, tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    files = TlsFiles(*ours.issue("server"), ours.file)
    with pytest.raises(ValueError, match="names that may"):
        ControlOptions("127.0.0.1:0", None, files)
    server = ControlServer(run, ControlOptions("127.0.0.1:0", TOKEN, files))
    await server.start()

    def call(token: str | None) -> RunStatus:
        with ControlClient(server.address, token, ClientTls(ours.file, *ours.issue("client")), timeout_s=5.0) as client:
            return client.status()

    try:
        assert await asyncio.to_thread(call, TOKEN) == FULL
        with pytest.raises(ControlError, match="token"):
            await asyncio.to_thread(call, None)
    finally:
        await server.stop()


@pytest.mark.parametrize("kind", ["watch", "silent checks", "silent calls without a token"])
async def test_strangers_cannot_take_the_owners_place(server: ControlServer, kind: str) -> None:
    """Health needs no token, and neither does a call that is refused: 300 of them stay open, and the owner is served all the same."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        if kind == "watch":
            stub = health_pb2_grpc.HealthStub(channel)
            calls: list[object] = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(300)]
        else:
            path = "/grpc.health.v1.Health/Check" if kind == "silent checks" else f"/{SERVICE_NAME}/Status"
            calls = [channel.stream_stream(path)() for _ in range(300)]  # opened, and nothing is ever sent
        reads = [asyncio.ensure_future(call.read()) for call in calls]  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        assert await ask(server, ControlClient.status, timeout_s=30.0) == FULL
        assert await ask(server, ControlClient.pause, timeout_s=30.0) == 12
        if kind == "watch":
            async with asyncio.timeout(30):  # more streams than their limit are refused, not kept
                while sum(call.done() for call in calls) < 300 - LIMITS[WATCH]:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.05)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_an_address_that_is_taken_is_said_and_leaves_nothing(server: ControlServer, run: ScriptedRun) -> None:
    second = ControlServer(run, ControlOptions(server.address, TOKEN))
    with pytest.raises(ControlStartError, match=server.address):
        await second.start()
    assert await ask(server, ControlClient.status) == FULL, "the first must not notice"


def test_a_service_open_to_everybody_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="anybody could control the run"):
        ControlOptions("127.0.0.1:0", None)


def test_the_note_is_its_owners_alone_and_knows_its_process(tmp_path: Path) -> None:
    note = ControlNote.of_this_process("127.0.0.1:5", TOKEN, None, False)
    note.write(tmp_path)
    assert stat.S_IMODE((tmp_path / "control.json").stat().st_mode) == 0o600
    assert ControlNote.read(tmp_path) == note and note.driver_alive() is True
    gone = ControlNote(note.address, TOKEN, None, False, note.host, note.pid, note.started - 100)
    assert gone.driver_alive() is False, "another process with that pid is not the driver"


@pytest.mark.parametrize("address", ["localhost", ":80", "host:port", "host:70000", "unix:relative", "unix:/" + "x" * 120])
def test_an_address_that_cannot_be_is_explained(address: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|absolute path"):
        check_address(address)


def test_what_only_this_machine_can_reach_is_known() -> None:
    assert all(map(is_local, ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/x")))
    assert not any(map(is_local, ("0.0.0.0:1", "10.0.0.7:1", "example.org:1", "[::]:1")))
