"""The reward service as a process: scoring lanes, gRPC with health and reflection, metrics, and a drain that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rewards.confinement import PluginAccess
from rewards.errors import ScorerPoolError
from rewards.isolation import ScorerPool
from rewards.service.admission import HEALTH, WATCH, Admission, Callers
from rewards.service.certificates import ReloadingCertificates, TlsFiles
from rewards.service.job_queue import JobQueue
from rewards.service.lane import Lane
from rewards.service.metrics import Metrics, Snapshot
from rewards.service.servicer import CallLimits, RewardServicer
from rewards.service.v1 import reward_pb2, reward_pb2_grpc

logger = logging.getLogger(__name__)

SERVICE_NAME = reward_pb2.DESCRIPTOR.services_by_name["RewardService"].full_name

_HEALTH_CHECK_S = 0.25  # how often the health service is told whether any lane can work
_LAST_CALLS_S = 1.0  # for the answers that are still being written when everything else is done
_CACHED_VERDICTS = 65_536  # of the whole server
_SIDE_CALLS = 64  # at a time, of health and of reflection, beside those that score
_WATCHES = 512  # open health streams: clients that balance over servers hold one for each


class ServiceStartError(RuntimeError):
    """The service cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What the operator chooses.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        workers: scoring processes, one core each.
        queue_jobs: jobs that may wait for a worker; more are refused with RESOURCE_EXHAUSTED.
        limits: of calls.
        answer_s, memory_bytes, plugins, plugin_access: of ScorerPool.
        drain_s: how long calls under way may take after SIGTERM.
        tls: without it, plain text.
        metrics_port: ``None`` for no metrics; 0 takes a free one.
        health_port: on it, health alone is served in plain text, for probes that cannot show a certificate; ``None`` = not.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    workers: int = 1
    queue_jobs: int = 8192
    limits: CallLimits = field(default_factory=CallLimits)
    answer_s: float = 2.0
    memory_bytes: int = 3 << 30
    plugins: tuple[str, ...] = ()
    plugin_access: PluginAccess = field(default_factory=PluginAccess)
    drain_s: float = 30.0
    tls: TlsFiles | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    health_port: int | None = None

    def __post_init__(self) -> None:
        if self.limits.jobs > self.queue_jobs:
            raise ServiceStartError(
                f"a call may have {self.limits.jobs} jobs but the queue holds {self.queue_jobs}: such a call would be refused for ever. "
                "Make the queue larger or the calls smaller"
            )


class RewardServer:
    """``await start()``, then ``await stop()`` once. In one event loop.

    After the start, ``port``, ``metrics_port`` and ``health_port`` are those really used.
    """

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options
        self._queue = JobQueue(options.queue_jobs)
        self._lanes: list[Lane] = []
        self._servicer: RewardServicer | None = None
        self._server: grpc.aio.Server | None = None
        self._health_server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self._health_watch: asyncio.Task[None] | None = None
        self._certificates: ReloadingCertificates | None = None
        self._close_metrics: Callable[[], None] | None = None
        self.port = options.port
        self.metrics_port = options.metrics_port
        self.health_port = options.health_port

    async def start(self) -> None:
        """Starts the workers, then listens. Raises ServiceStartError or CertificateError, with nothing left behind."""
        try:
            await self._start()
        except BaseException:
            await self.stop(drain_s=0.0)
            raise

    async def _start(self) -> None:
        options = self._options
        if options.tls is not None:
            self._certificates = ReloadingCertificates(options.tls)
        self._lanes, tasks = await self._open_lanes()
        metrics = Metrics(self._snapshot)
        self._servicer = RewardServicer(self._queue, self._lanes, tasks, options.limits, metrics)
        self._server = self._grpc_server(self._servicer, metrics)
        self._listen(self._server)
        if options.metrics_port is not None:
            self._serve_metrics(metrics, options.metrics_port)
        if options.health_port is not None:
            self._health_server = self._health_listener(options.health_port)
        for lane in self._lanes:
            lane.start()
        await self._server.start()
        if self._health_server is not None:
            await self._health_server.start()
        await self._tell_health(True)
        self._health_watch = asyncio.create_task(self._watch_lanes())

    async def stop(self, drain_s: float | None = None) -> None:
        """Health goes to NOT_SERVING, new calls are refused, those under way have ``drain_s`` seconds, then everything ends."""
        if self._health_watch is not None:
            self._health_watch.cancel()
        if self._server is not None and self._servicer is not None:
            await self._health.enter_graceful_shutdown()
            if not await self._servicer.drain(self._options.drain_s if drain_s is None else drain_s):
                logger.warning("calls were still open at the end of the grace period and are cancelled")
            await self._server.stop(_LAST_CALLS_S)
        if self._health_server is not None:
            await self._health_server.stop(0.0)
        self._queue.close()
        await asyncio.gather(*(asyncio.to_thread(lane.close) for lane in self._lanes))
        if self._close_metrics is not None:
            await asyncio.to_thread(self._close_metrics)

    async def serve_until_signalled(self, started: Callable[[RewardServer], None]) -> None:
        """Runs until SIGTERM or SIGINT, then drains; a second signal ends the drain at once."""
        loop, stopping, hurrying = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (hurrying if stopping.is_set() else stopping).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await self.start()
        started(self)
        await stopping.wait()
        logger.info("draining: calls under way have %g s", self._options.drain_s)
        if self._servicer is not None and self._server is not None:
            await self._health.enter_graceful_shutdown()
            drain, hurry = asyncio.ensure_future(self._servicer.drain(self._options.drain_s)), asyncio.ensure_future(hurrying.wait())
            await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
            drain.cancel()
            hurry.cancel()
        await self.stop(drain_s=0.0)

    def worker_pids(self) -> list[int]:
        """Of the scoring processes."""
        return [pid for lane in self._lanes for pid in lane.pids()]

    # -- parts ----------------------------------------------------------------------------------------------------------------------

    async def _open_lanes(self) -> tuple[list[Lane], tuple[str, ...]]:
        """All lanes, and the tasks they can score."""
        options = self._options
        open_pool = partial(
            ScorerPool,
            workers=1,
            deadline_s=options.answer_s,
            memory_bytes=options.memory_bytes,
            cache_size=_CACHED_VERDICTS // options.workers,
            plugins=options.plugins,
            plugin_access=options.plugin_access,
        )
        made = await asyncio.gather(
            *(asyncio.to_thread(Lane, self._queue, open_pool) for _ in range(options.workers)), return_exceptions=True
        )
        lanes = [lane for lane in made if isinstance(lane, Lane)]
        for problem in made:
            if isinstance(problem, BaseException):
                await asyncio.gather(*(asyncio.to_thread(lane.close) for lane in lanes))
                if isinstance(problem, (ScorerPoolError, ValueError)):
                    raise ServiceStartError(str(problem)) from problem
                raise problem
        return lanes, lanes[0].tasks

    def _grpc_server(self, servicer: RewardServicer, metrics: Metrics) -> grpc.aio.Server:
        limits, tls = self._options.limits, self._options.tls

        def refused(method: str, code: grpc.StatusCode) -> None:
            service, _, name = method.strip("/").partition("/")
            if service == SERVICE_NAME:
                metrics.calls.labels(name, code.name).inc()

        callers = Callers(None, tls.client_names if tls is not None else (), open_to_all=(HEALTH,))
        kinds = {"/": _SIDE_CALLS, f"/{SERVICE_NAME}/": limits.calls, WATCH: _WATCHES}
        server = grpc.aio.server(
            interceptors=[Admission(callers, kinds, refused)],
            options=[
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share of the calls
                ("grpc.keepalive_time_ms", 60_000),  # clients that vanished without a word
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        reward_pb2_grpc.add_RewardServiceServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _listen(self, server: grpc.aio.Server) -> None:
        address = _address(self._options.host, self._options.port)
        try:
            if self._certificates is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._certificates.credentials)
        except RuntimeError as error:
            raise ServiceStartError(f"cannot listen on {address}: {error}. Is the port taken, or the host not of this machine?") from error

    def _health_listener(self, port: int) -> grpc.aio.Server:
        limits = {"/": _SIDE_CALLS, WATCH: _WATCHES}
        server = grpc.aio.server(interceptors=[Admission(Callers(None), limits)], options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = _address(self._options.host, port)
        try:
            self.health_port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise ServiceStartError(f"cannot serve health on {address}: {error}. Is the port taken?") from error
        return server

    def _serve_metrics(self, metrics: Metrics, port: int) -> None:
        host = self._options.metrics_host
        try:
            httpd, thread = metrics.serve(host, port)
        except OSError as error:
            raise ServiceStartError(f"cannot serve metrics on {_address(host, port)}: {error}") from error
        self.metrics_port = httpd.server_port

        def close() -> None:
            httpd.shutdown()
            httpd.server_close()
            thread.join()

        self._close_metrics = close

    async def _watch_lanes(self) -> None:
        serving = True
        while True:
            await asyncio.sleep(_HEALTH_CHECK_S)
            if (ready := any(lane.ready for lane in self._lanes)) != serving:
                serving = ready
                await self._tell_health(serving)

    async def _tell_health(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE_NAME):
            await self._health.set(service, status)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            queued=len(self._queue),
            queue_limit=self._queue.limit,
            lanes_busy=sum(lane.busy for lane in self._lanes),
            lanes_ready=sum(lane.ready for lane in self._lanes),
            events=self._servicer.events() if self._servicer is not None else {},
            tls_reloads=self._certificates.reloads if self._certificates is not None else 0,
            tls_failed_reloads=self._certificates.failed_reloads if self._certificates is not None else 0,
        )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
