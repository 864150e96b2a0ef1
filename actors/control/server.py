"""The control service of one run, in the driver's event loop. Nothing that happens in it reaches the run's own loops."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from actors.control.run_status import Controllable
from actors.control.servicer import ControlServicer
from actors.control.v1 import control_pb2, control_pb2_grpc
from rewards.service.admission import HEALTH, WATCH, Admission, Callers
from rewards.service.certificates import CertificateError, ReloadingCertificates, TlsFiles

log = logging.getLogger(__name__)

SERVICE_NAME = control_pb2.DESCRIPTOR.services_by_name["ControlService"].full_name
HEALTH_PERIOD_S = 0.25
LAST_ANSWERS_S = 1.0  # for those that are being written when the run ends
# Calls at a time by kind; more are refused, so that nobody can keep the driver busy. Health needs no token, so it has places of its own.
LIMITS = {"/": 64, HEALTH: 64, WATCH: 16}


class ControlStartError(RuntimeError):
    """The service cannot listen; the message says why."""


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """``address``: ``host:port`` (0: a free one) or ``unix:PATH``. ``token``: None only where ``tls`` names the clients that may call."""

    address: str
    token: str | None
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        if self.token is None and (self.tls is None or not self.tls.client_names):
            raise ValueError("without a token anybody could control the run: give a token, or a client CA and the names that may")


class ControlServer:
    """``await start()``, then ``await stop()``. After the start, ``address`` is the one really used."""

    def __init__(self, run: Controllable, options: ControlOptions) -> None:
        self._run = run
        self._options = options
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self._telling: asyncio.Task[None] | None = None
        self.address = options.address

    async def start(self) -> None:
        """Raises ControlStartError, with nothing left behind."""
        options = self._options
        self._server = grpc.aio.server(
            interceptors=[Admission(_callers(options), LIMITS)],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1 << 16)],
        )
        control_pb2_grpc.add_ControlServiceServicer_to_server(ControlServicer(self._run), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._listen(self._server)
            await self._server.start()
        except (CertificateError, RuntimeError) as error:
            await self._server.stop(None)
            raise ControlStartError(f"cannot listen on {options.address}: {error}") from error
        self._telling = asyncio.create_task(self._tell_health(), name="control health")

    async def stop(self) -> None:
        """Answers that are being written are still written. Idempotent."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
            self._telling = None
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(LAST_ANSWERS_S)
            self._server = None

    def _listen(self, server: grpc.aio.Server) -> None:
        options = self._options
        if options.tls is not None:
            port = server.add_secure_port(options.address, ReloadingCertificates(options.tls).credentials)
        else:
            port = server.add_insecure_port(options.address)
        if options.address.startswith("unix:"):
            Path(options.address.removeprefix("unix:")).chmod(0o600)
        else:
            self.address = f"{options.address.rpartition(':')[0]}:{port}"

    async def _tell_health(self) -> None:
        """Consumes: the run's phase. Waits for: its period. Unblocked by: the clock. Produces: SERVING while the run makes progress,
        NOT_SERVING while it is paused, waiting, draining or over."""
        while True:
            status = health_pb2.HealthCheckResponse.SERVING if self._run.healthy() else health_pb2.HealthCheckResponse.NOT_SERVING
            for service in ("", SERVICE_NAME):
                await self._health.set(service, status)
            await asyncio.sleep(HEALTH_PERIOD_S)


def _callers(options: ControlOptions) -> Callers:
    names = options.tls.client_names if options.tls is not None else ()
    return Callers(options.token, names, open_to_all=(HEALTH,), token_hint="; it is in control.json of the run's folder")
