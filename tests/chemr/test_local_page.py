"""A server for the browsers of this machine answers them and nobody else."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from chemr.local_page import MAX_BODY_BYTES, Exchange, LocalServer


def page(exchange: Exchange) -> None:
    exchange.send(b"page", "text/html")


def echo(exchange: Exchange) -> None:
    exchange.send_json({"got": exchange.body()})


def lines(exchange: Exchange) -> None:
    line = exchange.begin_lines()
    for number in range(3):
        line({"number": number})


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    routes = {("GET", "/"): page, ("POST", "/echo"): echo, ("GET", "/lines"): lines}
    started = LocalServer(routes)
    thread = threading.Thread(target=started.serve, daemon=True)
    thread.start()
    yield started
    started.close()
    thread.join(5.0)


def ask(server: LocalServer, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_a_page_is_served_on_this_machine_only_and_never_kept(server: LocalServer) -> None:
    status, content, headers = ask(server, "GET", "/")
    assert (status, content) == (200, b"page") and server.address.startswith("http://127.0.0.1:")
    assert headers["cache-control"] == "no-store" and headers["x-frame-options"] == "DENY"
    assert ask(server, "HEAD", "/")[:2] == (200, b"")
    assert ask(server, "GET", "/nowhere")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
def test_a_foreign_name_for_this_machine_is_refused(host: str, server: LocalServer) -> None:
    status, content, _ = ask(server, "GET", "/", Host=host.format(port=server.port))
    assert status == 403 and b"under no other name" in content


def test_localhost_is_this_machine(server: LocalServer) -> None:
    assert ask(server, "GET", "/", Host=f"localhost:{server.port}")[0] == 200


def test_a_foreign_page_cannot_ask(server: LocalServer) -> None:
    body = b'{"a": 1}'
    assert ask(server, "POST", "/echo", body, Content_Type="application/json", Origin="https://evil.example")[0] == 403
    assert ask(server, "POST", "/echo", body, Content_Type="text/plain")[0] == 415, "a form of a foreign page can send that"
    own = f"http://127.0.0.1:{server.port}"
    assert json.loads(ask(server, "POST", "/echo", body, Content_Type="application/json", Origin=own)[1]) == {"got": {"a": 1}}


NOT_OBJECTS = [(b"{", 400), (b"[1]", 400), (b"\xff", 400), (b"[" * 30_000, 400), (b" " * (MAX_BODY_BYTES + 1), 413)]


@pytest.mark.parametrize(("body", "status"), NOT_OBJECTS)
def test_what_is_no_json_object_is_refused_in_a_sentence(body: bytes, status: int, server: LocalServer) -> None:
    found, content, _ = ask(server, "POST", "/echo", body, Content_Type="application/json")
    assert found == status and json.loads(content)["error"]


def test_lines_come_one_after_another_until_the_end(server: LocalServer) -> None:
    status, content, _ = ask(server, "GET", "/lines")
    assert status == 200 and [json.loads(line)["number"] for line in content.splitlines()] == [0, 1, 2]


def test_a_browser_that_goes_away_in_the_middle_is_no_error(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    for sent in (b"GET / HT", b"GET / HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port):
        gone = socket.create_connection(("127.0.0.1", server.port))
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        gone.sendall(sent)
        gone.close()
    assert ask(server, "GET", "/")[0] == 200
    time.sleep(0.1)
    assert "Traceback" not in capsys.readouterr().err, "what a person reads beside the address is no stack of calls"
