"""A page for the browsers of this machine: Python's own HTTP server on 127.0.0.1, and who may ask it.

Any web page that a browser shows can send requests to 127.0.0.1, and a name of its own can be made to point there (DNS rebinding). So a
request is answered only when its ``Host`` is this server, and one that does something (POST) only when it is JSON and its ``Origin``, if
the browser says one, is this server, too. Such a POST of a foreign page would need permission beforehand, which is never given.

Other accounts of this machine can reach 127.0.0.1, too: the address holds a token that only whoever started the server has been told.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
MAX_BODY_BYTES = 64 * 1024
MAX_CONNECTIONS = 32  # at once, each in a thread; a page and its questions need two or three
HEAD_SECONDS = 10.0  # in which a request has to arrive
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class RefusedError(Exception):
    """A request that is not answered; the message is a sentence for people."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Exchange:
    """One request and its answer, as routes see it."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent. Raises RefusedError."""
        headers = self._handler.headers
        if headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a JSON object was expected")
        length = headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
        if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_BODY_BYTES:,} bytes")
        try:
            content = json.loads(self._handler.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request is not JSON") from None
        if not isinstance(content, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "a JSON object was expected")
        return content

    def send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._begin(status, kind, len(content))
        if self._handler.command != "HEAD":
            self._handler.wfile.write(content)

    def send_json(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send(json.dumps(content, ensure_ascii=False).encode("utf-8", errors="backslashreplace"), "application/json", status)

    def begin_lines(self) -> Callable[[Any], None]:
        """Begins an answer of JSON values, one a line; returns what sends a line, which raises OSError when nobody listens."""
        self._begin(HTTPStatus.OK, "application/x-ndjson", None)

        def line(content: Any) -> None:
            self._handler.wfile.write(json.dumps(content, ensure_ascii=False).encode("utf-8", errors="backslashreplace") + b"\n")
            self._handler.wfile.flush()

        return line

    def _begin(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", f"{kind}; charset=utf-8")
        if length is not None:
            self._handler.send_header("Content-Length", str(length))
        for name, value in HEADERS.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()


Route = Callable[[Exchange], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, while there is a place for one; else the connection is closed with an answer that says so."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        try:
            request.settimeout(1.0)
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            pass  # it has gone already
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no error; anything else is shown, as Python does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class LocalServer:
    """Serves ``routes``, by method and path, e.g. ``("GET", "/")``. Each request runs in a thread of its own.

    Raises:
        OSError: the port is taken, or may not be used.
    """

    def __init__(self, routes: dict[tuple[str, str], Route], port: int = 0) -> None:
        self._routes = routes
        self._token = secrets.token_urlsafe(16)
        self._server = _Server((HOST, port), self._handler())
        self.port: int = self._server.server_address[1]

    @property
    def address(self) -> str:
        """What a person opens: with the token, and without the server is silent about what it has."""
        return f"http://{HOST}:{self.port}/{self._token}/"

    def serve(self) -> None:
        """Until :meth:`close`, or an interrupt."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()

    def close(self) -> None:
        """Ends :meth:`serve` of another thread."""
        self._server.shutdown()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # a connection for each request: none outlives the server
            server_version, sys_version = "chemr", ""
            timeout = 60  # seconds that a connection may be silent

            def setup(self) -> None:
                super().setup()
                # A request that came in drops would keep its place for ever: nothing is read any more when the time for it is over.
                self._late = threading.Timer(HEAD_SECONDS, self._read_no_more)
                self._late.daemon = True
                self._late.start()

            def finish(self) -> None:
                self._late.cancel()
                super().finish()

            def _read_no_more(self) -> None:
                with contextlib.suppress(OSError):  # closed already
                    self.connection.shutdown(socket.SHUT_RD)

            def do_GET(self) -> None:
                self._answer("GET")

            def do_HEAD(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def _answer(self, method: str) -> None:
                exchange = Exchange(self)
                try:
                    server.admit(self.headers.get_all("Host") or [], self.headers.get("Origin"))
                    route = server.route(method, self.path.partition("?")[0])
                    route(exchange)
                except RefusedError as refusal:
                    exchange.send_json({"error": str(refusal)}, refusal.status)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass  # one line a request would hide what the command says

        return Handler

    def admit(self, hosts: list[str], origin: str | None) -> None:
        """Raises RefusedError for a request that was not meant for this server."""
        names = (f"{HOST}:{self.port}", f"localhost:{self.port}")
        if len(hosts) != 1 or hosts[0] not in names:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this page is served by {HOST}:{self.port} and under no other name")
        if origin is not None and origin not in tuple(f"http://{name}" for name in names):
            raise RefusedError(HTTPStatus.FORBIDDEN, "another page asks, and only this one may")

    def route(self, method: str, path: str) -> Route:
        """Raises RefusedError when there is none, or the path does not begin with the token."""
        _, token, *rest = path.encode(errors="replace").split(b"/", 2) if path.startswith("/") else (b"", b"")
        if not hmac.compare_digest(token, self._token.encode()):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this address lacks the token; open the one that the command has printed")
        found = self._routes.get((method, f"/{rest[0].decode(errors='replace')}")) if rest else None
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        return found


def say_address(server: LocalServer, what: str) -> None:
    """One line for the person who started it."""
    print(f"{what}: {server.address} (only from this machine; Ctrl-C ends it)", flush=True)
