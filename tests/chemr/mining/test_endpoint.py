"""The endpoint teacher against a local server that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chemr.data.example import Example
from chemr.mining.asking import ask_all
from chemr.mining.config import EndpointConfig
from chemr.mining.endpoint import EndpointTeacher
from chemr.mining.errors import MiningInputError, TeacherStopped
from chemr.mining.pacing import MinuteWindow
from chemr.mining.responses import ResponseStore, Usage
from chemr.mining.teacher import ChatRequest, ChatSampling, RequestFailed

EXAMPLE = Example("t/1", "smiles2formula", {"smiles": "C"}, {"answer": "CH4"}, 0.0, "tests", "Apache-2.0")
KEY = "sk-very-secret-0123456789"

Script = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], Any]]
"""(number of the request, its body) -> status, headers, body of the answer; a body of None closes the connection without one."""


class Server:
    """Answers by a script and remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.script: Script = lambda number, body: (200, {}, completion("fine"))
        self.most_at_once = self._now = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.keys.append(self.headers.get("Authorization", ""))
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                status, headers, content = outer.script(number, body)
                with lock:
                    outer._now -= 1
                if content is None:
                    self.close_connection = True
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(text: str, **message: Any) -> dict[str, Any]:
    return {
        "id": "1", "object": "chat.completion", "created": 1, "model": "teacher-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }  # fmt: skip


RETRY_SOON = {"retry-after-ms": "1"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.close()


def config(server: Server, **changes: Any) -> EndpointConfig:
    made = EndpointConfig(base_url=server.url, model="teacher", key_env="TEACHER_KEY", timeout_s=20.0, retries=3)
    for name, value in changes.items():
        assert hasattr(made, name)
        setattr(made, name, value)
    made.validate()
    return made


def request(number: int = 0, max_tokens: int = 100, **extra: Any) -> ChatRequest:
    message = {"role": "user", "content": f"question {number}"}
    return ChatRequest((message,), ChatSampling(0.8, 0.95, max_tokens, extra), 0, EXAMPLE, "mine")


def answered(made: EndpointConfig, *wanted: ChatRequest, used: Usage | None = None) -> list[Any]:
    async def run() -> list[Any]:
        teacher = EndpointTeacher(made, used)
        try:
            return list(await asyncio.gather(*(teacher.answer(one) for one in wanted), return_exceptions=True))
        finally:
            await teacher.close()

    return asyncio.run(run())


def test_a_reply_comes_with_its_usage(server: Server) -> None:
    (reply,) = answered(config(server), request())
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.model, reply.finish) == ("fine", 20, 10, "teacher-1", "stop")
    (body,) = server.bodies
    assert body["model"] == "teacher" and body["max_tokens"] == 100 and body["temperature"] == 0.8 and body["top_p"] == 0.95
    assert body["seed"] == request().seed("teacher") and "n" not in body
    assert server.keys == [f"Bearer {KEY}"]


def test_what_servers_want_otherwise_can_be_said(server: Server) -> None:
    made = config(server, length_field="max_completion_tokens", send_seed=False, key_env=None)
    answered(made, request(chat_template_kwargs={"enable_thinking": False}))
    (body,) = server.bodies
    assert body["max_completion_tokens"] == 100 and "max_tokens" not in body and "seed" not in body
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert KEY not in server.keys[0]


def test_reasoning_that_a_server_sets_apart_is_kept(server: Server) -> None:
    server.script = lambda number, body: (200, {}, completion("<answer>C</answer>", reasoning_content="1. **A**: b"))
    assert answered(config(server), request())[0].reasoning == "1. **A**: b"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_passing_trouble_is_tried_again(server: Server, status: int) -> None:
    server.script = lambda number, body: (
        (status, RETRY_SOON, {"error": {"message": "busy"}}) if number < 2 else (200, {}, completion("late"))
    )
    assert answered(config(server), request())[0].text == "late" and len(server.bodies) == 3


def test_a_lost_connection_is_tried_again(server: Server) -> None:
    server.script = lambda number, body: (200, {}, None) if number == 0 else (200, {}, completion("late"))
    assert answered(config(server), request())[0].text == "late"


def test_a_server_that_does_not_answer_in_time_fails_the_request(server: Server) -> None:
    release = threading.Event()

    def hang(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        release.wait(180.0)
        return 200, {}, completion("too late")

    server.script = hang
    (failure,) = answered(config(server, timeout_s=0.2, retries=0), request())
    release.set()
    assert isinstance(failure, RequestFailed) and "timed out" in str(failure).lower()


@pytest.mark.parametrize("content", [b"<html>gateway</html>", b"{}", b'{"choices": []}', b'{"choices": [{"index": 0}]}'])
def test_an_answer_that_is_none_fails_the_request_and_nothing_else(server: Server, content: bytes) -> None:
    server.script = lambda number, body: (200, {}, content)
    (failure,) = answered(config(server), request())
    assert isinstance(failure, RequestFailed), failure


def test_a_request_that_the_server_refuses_fails_alone(server: Server) -> None:
    server.script = lambda number, body: (400, {}, {"error": {"message": "context too long"}})
    (failure,) = answered(config(server), request())
    assert isinstance(failure, RequestFailed) and "context too long" in str(failure) and len(server.bodies) == 1, "no use to try it again"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_no_access_ends_it_and_no_message_holds_the_key(server: Server, status: int) -> None:
    server.script = lambda number, body: (status, {}, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    (stop,) = answered(config(server), request())
    assert isinstance(stop, TeacherStopped) and str(status) in str(stop) and "teacher" in str(stop)
    assert KEY not in str(stop) and "[key]" in str(stop)
    assert stop.__cause__ is None and stop.__suppress_context__, "the library's error, which holds the request, is not shown"


def test_the_key_has_to_be_in_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(MiningInputError, match=r"TEACHER_KEY.*is not set.*key_env=null"):
        EndpointTeacher(config(server))
    with pytest.raises(ValueError, match="does not belong there") as caught:
        config(server, key_env=KEY)
    assert KEY not in str(caught.value), "the message must not repeat what may be a key"


def test_the_key_is_in_no_file(server: Server, tmp_path: Path) -> None:
    async def run() -> None:
        store = ResponseStore(tmp_path / "r.jsonl")
        teacher = EndpointTeacher(config(server))
        await ask_all(teacher, store, [request(number) for number in range(3)], 2, 5)
        await teacher.close()
        store.close()

    asyncio.run(run())
    assert KEY not in (tmp_path / "r.jsonl").read_text() and len(server.bodies) == 3


def test_no_more_requests_are_in_flight_than_allowed(server: Server, tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def in_pairs(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        both.wait(180.0)  # passes only with two at once
        return 200, {}, completion("x")

    server.script = in_pairs

    async def run() -> None:
        store = ResponseStore(tmp_path / "r.jsonl")
        teacher = EndpointTeacher(config(server))
        await ask_all(teacher, store, [request(number) for number in range(6)], 2, 5)
        await teacher.close()
        store.close()

    asyncio.run(run())
    assert server.most_at_once == 2


def test_a_budget_stops_before_it_is_exceeded(server: Server) -> None:
    priced = config(server, price_in=1e6, price_out=1e6, budget=500.0)  # one unit of money a token
    outcomes = answered(priced, *(request(number, max_tokens=100) for number in range(20)))
    stops = [one for one in outcomes if isinstance(one, TeacherStopped)]
    # A reply costs 30, a request may cost 119: after 13 of them 390 are spent, and one more might exceed 500.
    assert len(server.bodies) == 13 and len(stops) == 7
    assert server.most_at_once <= 4, "what is in flight counts with the most it can cost"
    assert "mining.endpoint.budget=500" in str(stops[0])
    (stop,) = answered(priced, request(9), used=Usage(10, 300, 180))
    assert isinstance(stop, TeacherStopped), "earlier starts count"


def test_limits_per_minute_are_kept(server: Server) -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    async def run() -> None:
        teacher = EndpointTeacher(config(server, requests_per_minute=2), clock=lambda: now[0], sleep=sleep)
        for number in range(5):
            await teacher.answer(request(number))
        await teacher.close()

    asyncio.run(run())
    assert len(server.bodies) == 5 and sum(slept) >= 120.0, "two in the first minute, two in the second, one in the third"


def test_a_minute_holds_no_more_than_its_limit() -> None:
    window = MinuteWindow(100)
    booking = window.take(80, now=0.0)
    assert window.wait_s(20, now=1.0) == 0.0 and window.wait_s(21, now=1.0) == 59.0
    window.correct(booking, 30)
    assert window.wait_s(70, now=1.0) == 0.0, "tokens that were booked and not used are free again"
    window.take(70, now=10.0)
    assert window.wait_s(50, now=11.0) == 59.0, "waits for the second booking too"
    assert window.wait_s(5000, now=71.0) == 0.0, "more than the limit goes alone, not never"
    assert MinuteWindow(0).wait_s(1e9, 0.0) == 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_url": "localhost:8000"}, "should be a URL"),
        ({"base_url": "http://user:pass@host/v1"}, "no password"),
        ({"price_in": 1.0}, "belong together"),
        ({"budget": 5.0}, "needs price_in"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"extra_body": {"temperature": 0}}, "temperature"),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict[str, Any], said: str) -> None:
    made = EndpointConfig()
    for name, value in changes.items():
        setattr(made, name, value)
    with pytest.raises(ValueError, match=said):
        made.validate()
