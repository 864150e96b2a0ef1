"""A server for the browsers of this machine answers them and nobody else."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from chemr.local_page import MAX_BODY_BYTES, MAX_CONNECTIONS, Exchange, LocalServer, Route


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
    routes: dict[tuple[str, str], Route] = {("GET", "/"): page, ("POST", "/echo"): echo, ("GET", "/lines"): lines}
    started = LocalServer(routes)
    thread = threading.Thread(target=started.serve, daemon=True)
    thread.start()
    yield started
    started.close()
    thread.join(5.0)


def ask(server: LocalServer, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    try:
        connection.request(
            method,
            urlsplit(server.address).path + path.lstrip("/"),
            body,
            {name.replace("_", "-"): value for name, value in headers.items()},
        )
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
    for sent in (b"GET / HT", b"GET %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n" % (urlsplit(server.address).path.encode(), server.port)):
        gone = socket.create_connection(("127.0.0.1", server.port))
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        gone.sendall(sent)
        gone.close()
    assert ask(server, "GET", "/")[0] == 200
    time.sleep(0.1)
    assert "Traceback" not in capsys.readouterr().err, "what a person reads beside the address is no stack of calls"


@pytest.mark.parametrize(
    "path",
    ["/", "", "//", "/now", "/x/", "/%ff%fe/", "/\xff/", "/" + "a" * 5000 + "/", "*", "http://127.0.0.1/", "/..;/", "/TOKE/", "/TOKEN"],
)
def test_an_address_without_the_token_shows_nothing(path: str, server: LocalServer, capfd: pytest.CaptureFixture[str]) -> None:
    token = urlsplit(server.address).path.strip("/")
    assert len(token) >= 20
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        typed = path.replace("TOKEN", token).replace("TOKE", token[:-1])
        raw.sendall(b"GET %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n" % (typed.encode("latin-1") or b"/", server.port))
        answer = raw.makefile("rb").read()
    assert answer.split(b" ")[1] in (b"403", b"404") and b"page" not in answer.partition(b"\r\n\r\n")[2].replace(b"page is served", b"")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 4301, "-1", "1e3", "٣", "0x10", ""])
def test_a_length_that_is_none_is_an_answer(length: str, server: LocalServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        path = urlsplit(server.address).path.encode() + b"echo"
        head = b"POST %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n" % (path, server.port)
        raw.sendall(head + b"Content-Length: " + length.encode() + b"\r\n\r\n{}")
        status = raw.makefile("rb").readline().split(b" ")[1]
    assert status in (b"411", b"413") and "Traceback" not in capfd.readouterr().err


def test_more_connections_than_there_are_places_for_are_told_so_and_the_next_is_served(server: LocalServer) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(MAX_CONNECTIONS + 4)]
    try:
        answers = [one.makefile("rb").readline() for one in held[-4:]]
        assert all(b" 503 " in answer for answer in answers), answers
    finally:
        for one in held:
            one.close()
    for _ in range(100):  # the places are given back when the threads see that nobody is there
        if ask(server, "GET", "/")[0] == 200:
            return
        time.sleep(0.1)
    raise AssertionError("nobody is served any more")


def test_a_request_that_comes_in_drops_loses_its_place(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chemr.local_page.HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(b"GET / HT")
        answer = slow.makefile("rb").read()  # to the end, which only the server can bring about
    assert b"page" not in answer
