"""Who may call a gRPC service, and how many calls of a kind are served at a time. Both are settled before a message is read.

gRPC's own limit (``maximum_concurrent_rpcs``) counts all calls alike: whoever may open health streams, which need no token, can take every
place. And a call that only reaches its method after its message was read and parsed has cost what the limit should save. So every call is
taken here as a stream: who it is, whether there is room, and only then its message, for which the caller has :data:`MESSAGE_S` seconds.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health

Context: TypeAlias = grpc.aio.ServicerContext

MESSAGE_S = 60.0
WATCH = f"/{health.SERVICE_NAME}/Watch"
HEALTH = f"/{health.SERVICE_NAME}/"


class Callers:
    """Whoever shows what is asked for: all that is given here.

    Args:
        token: bearer token; None = none is asked for.
        names: common names or subject alternative names of client certificates, of which the caller's has to have one; empty = any.
        open_to_all: prefixes of methods for which nothing is asked, since probes cannot keep a secret.
        token_hint: where an honest caller finds the token.
    """

    def __init__(self, token: str | None, names: tuple[str, ...] = (), open_to_all: tuple[str, ...] = (), token_hint: str = "") -> None:
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._names = frozenset(names)
        self._open = open_to_all
        self._hint = token_hint

    def refusal(self, method: str, context: Context) -> tuple[grpc.StatusCode, str] | None:
        """Why this caller may not, or None."""
        if self._open and method.startswith(self._open):
            return None
        if self._expected is not None:
            shown = next((value for name, value in context.invocation_metadata() or () if name == "authorization"), "")
            if not hmac.compare_digest(shown.encode() if isinstance(shown, str) else shown, self._expected):
                return grpc.StatusCode.UNAUTHENTICATED, f"the call lacks this service's token{self._hint}"
        if self._names and not (found := certificate_names(context)) & self._names:
            text = f"the client certificate is that of {', '.join(sorted(found)) or 'nobody'}, who is not among those who may call"
            return grpc.StatusCode.PERMISSION_DENIED, text
        return None


def certificate_names(context: Context) -> set[str]:
    """Common name and subject alternative names of the client's certificate; empty without one."""
    shown = context.auth_context() or {}
    values = [*shown.get("x509_common_name", ()), *shown.get("x509_subject_alternative_name", ())]
    return {value.decode(errors="replace") for value in values}


class Admission(grpc.aio.ServerInterceptor):
    """Refuses strangers, and calls above their kind's limit, before anything of their message is read.

    Args:
        callers: who may.
        limits: calls at a time by prefix of the method's path (``/package.Service/Method``); the longest prefix counts, and each counts
            for itself.
        refused: told the path and the code of every refused call.
    """

    def __init__(
        self, callers: Callers, limits: Mapping[str, int], refused: Callable[[str, grpc.StatusCode], None] = lambda method, code: None
    ) -> None:
        self._callers = callers
        self._limits = dict(sorted(limits.items(), key=lambda item: -len(item[0])))
        self._open: Counter[str] = Counter()
        self._refused = refused

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # UNIMPLEMENTED
        method = handler_call_details.method
        kind = next(prefix for prefix in self._limits if method.startswith(prefix))

        async def call(requests: AsyncIterator[Any], context: Context) -> None:
            if (refusal := self._callers.refusal(method, context)) is not None:
                await self._refuse(method, context, *refusal)
            if self._open[kind] >= self._limits[kind]:
                text = f"{self._limits[kind]} calls are being served already; try again later"
                await self._refuse(method, context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            self._open[kind] += 1
            try:
                await _pass_on(handler, requests, context)
            finally:
                self._open[kind] -= 1

        return grpc.stream_stream_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    async def _refuse(self, method: str, context: Context, code: grpc.StatusCode, text: str) -> None:
        self._refused(method, code)
        await context.abort(code, text)


async def _pass_on(handler: Any, requests: AsyncIterator[Any], context: Context) -> None:
    """One call of a method, whatever its kind, as if gRPC had called it."""
    given: Any = requests
    if not handler.request_streaming:
        try:
            async with asyncio.timeout(MESSAGE_S):
                given = await anext(requests)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came within {MESSAGE_S:g} s")
        except StopAsyncIteration:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a message")
    method = next(
        method for method in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream) if method is not None
    )
    answer = method(given, context)
    if hasattr(answer, "__aiter__"):
        async for message in answer:
            await context.write(message)
        return
    message = await answer
    if not handler.response_streaming:
        await context.write(message)
