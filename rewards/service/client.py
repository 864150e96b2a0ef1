"""A client of the reward service that retries what may be retried and never makes up a verdict.

Needs grpcio and protobuf; neither RDKit nor any other part of the server.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc

from rewards.job import ScoreJob
from rewards.service.v1 import reward_pb2, reward_pb2_grpc
from rewards.service.wire import job_to_message, verdict_from_message
from rewards.verdict import Verdict

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_FOR_EVER_TOO_LARGE = "larger than max"  # gRPC says this with RESOURCE_EXHAUSTED as well
_MESSAGE_OVERHEAD = 16

_T = TypeVar("_T")


class RewardServiceError(RuntimeError):
    """A call failed for good. ``code`` is the last gRPC status; ``attempts`` counts the calls that were made."""

    def __init__(self, code: grpc.StatusCode, message: str, attempts: int) -> None:
        super().__init__(message)
        self.code, self.attempts = code, attempts


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files: the CA that signed the server (``None``: the system's) and, for mTLS, this client's own certificate and key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What a server can score, and the limits of one call."""

    tasks: tuple[str, ...]
    scorer_version: str
    max_jobs: int
    max_message_bytes: int


class RewardClient:
    """Scores jobs on a server; may be used from several threads and after a fork.

    Args:
        target: ``host:port`` or any gRPC target (``dns:///rewards:50051``).
        tls: ``None`` for plain text.
        timeout_s: of one :meth:`score`, retries included.
        parallel_calls: a large batch is sent as so many calls at a time, of at most ``max_jobs`` jobs and ``max_bytes`` bytes each.
        server_name: if the server's certificate is for another name than that of the target.

    A verdict depends on the job alone, so a call that was cut off may be repeated; of every job exactly one verdict is returned.
    """

    def __init__(
        self,
        target: str,
        tls: ClientTls | None = None,
        timeout_s: float = 120.0,
        parallel_calls: int = 4,
        max_jobs: int = 256,
        max_bytes: int = 3 << 20,
        server_name: str | None = None,
    ) -> None:
        if timeout_s <= 0 or parallel_calls < 1 or max_jobs < 1 or max_bytes < 1:
            raise ValueError("RewardClient: timeout_s, parallel_calls, max_jobs and max_bytes should be positive")
        self._target, self._tls, self._timeout_s, self._server_name = target, tls, timeout_s, server_name
        self._parallel_calls, self._max_jobs, self._max_bytes = parallel_calls, max_jobs, max_bytes
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._channel_pid = 0
        self.retries = 0
        """How many calls were repeated so far."""

    def score(self, jobs: Sequence[ScoreJob], timeout_s: float | None = None) -> list[Verdict]:
        """The verdicts on ``jobs``, in their order; as those of ScorerPool.score.

        Raises:
            RewardServiceError: refused (unknown task: INVALID_ARGUMENT), or no answer within the time despite retries.
            InvalidJobError: inputs or a reference that are not JSON objects.
        """
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        batches = list(self._batches([job_to_message(job) for job in jobs]))
        if len(batches) < 2:
            return [verdict for batch in batches for verdict in self._score_batch(batch, deadline)]
        with ThreadPoolExecutor(min(self._parallel_calls, len(batches)), "reward-client") as threads:
            parts = threads.map(lambda batch: self._score_batch(batch, deadline), batches)
            return [verdict for part in parts for verdict in part]

    def score_stream(self, jobs: Iterable[ScoreJob], timeout_s: float | None = None) -> Iterator[tuple[int, Verdict]]:
        """``(place, verdict)`` as verdicts become known, each place once; ``jobs`` is read as fast as the server can score.

        When the stream breaks, the jobs without a verdict are sent again on a new one. Raises as :meth:`score`.
        """
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        source = enumerate(jobs)
        unanswered: dict[int, reward_pb2.Job] = {}
        attempts, wait_s = 0, FIRST_WAIT_S
        while True:
            attempts += 1
            feed = _Feed(unanswered, source)
            stream = self._stub().ScoreStream(feed, timeout=max(0.001, deadline - time.monotonic()))
            try:
                for response in stream:
                    if unanswered.pop(response.id, None) is not None:
                        attempts, wait_s = 1, FIRST_WAIT_S
                        yield response.id, verdict_from_message(response.verdict)
                if feed.error is not None:
                    raise feed.error
                if not unanswered and feed.exhausted:
                    return
                raise RewardServiceError(grpc.StatusCode.INTERNAL, f"{self._target} ended the stream early", attempts)
            except grpc.RpcError as error:
                if feed.error is not None:
                    raise feed.error from error
                wait_s = self._wait_or_raise(error, attempts, wait_s, deadline)
            finally:
                stream.cancel()
                feed.close()

    def info(self, timeout_s: float = 10.0) -> ServiceInfo:
        """Asks the server what it can score. Raises RewardServiceError."""
        stub, deadline = self._stub(), time.monotonic() + timeout_s
        found = self._retrying(lambda remaining: stub.ListTasks(reward_pb2.ListTasksRequest(), timeout=remaining), deadline)
        return ServiceInfo(tuple(found.tasks), found.scorer_version, found.max_jobs, found.max_message_bytes)

    def close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
            if channel is not None and self._channel_pid == os.getpid():
                channel.close()

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- calls ----------------------------------------------------------------------------------------------------------------------

    def _score_batch(self, batch: list[reward_pb2.Job], deadline: float) -> list[Verdict]:
        stub, request = self._stub(), reward_pb2.ScoreRequest(jobs=batch)
        response = self._retrying(lambda remaining: stub.Score(request, timeout=remaining), deadline)
        if len(response.verdicts) != len(batch):
            found = f"{self._target} gave {len(response.verdicts)} verdicts on {len(batch)} jobs"
            raise RewardServiceError(grpc.StatusCode.INTERNAL, found, 1)
        return [verdict_from_message(verdict) for verdict in response.verdicts]

    def _retrying(self, call: Callable[[float], _T], deadline: float) -> _T:
        attempts, wait_s = 0, FIRST_WAIT_S
        while True:
            attempts += 1
            try:
                return call(max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                wait_s = self._wait_or_raise(error, attempts, wait_s, deadline)

    def _wait_or_raise(self, error: grpc.RpcError, attempts: int, wait_s: float, deadline: float) -> float:
        """Sleeps before the next try and returns the pause after that; or raises what is final."""
        code, details = error.code(), error.details() or ""
        final = code not in _RETRIED or _FOR_EVER_TOO_LARGE in details
        pause = wait_s * random.uniform(0.5, 1.0)  # so that clients refused together do not come back together
        if final or time.monotonic() + pause >= deadline:
            after = "" if final else f"; gave up after {attempts} calls, at the deadline"
            raise RewardServiceError(code, f"reward service {self._target}: {code.name}: {details}{after}", attempts) from error
        self.retries += 1
        time.sleep(pause)
        return min(2 * wait_s, LONGEST_WAIT_S)

    def _batches(self, messages: list[reward_pb2.Job]) -> Iterator[list[reward_pb2.Job]]:
        batch: list[reward_pb2.Job] = []
        size = 0
        for message in messages:
            more = message.ByteSize() + _MESSAGE_OVERHEAD
            if batch and (len(batch) == self._max_jobs or size + more > self._max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(message)
            size += more
        if batch:
            yield batch

    def _stub(self) -> reward_pb2_grpc.RewardServiceStub:
        with self._lock:
            if self._channel is None or self._channel_pid != os.getpid():  # a channel does not survive a fork
                self._channel, self._channel_pid = self._open_channel(), os.getpid()
            return reward_pb2_grpc.RewardServiceStub(self._channel)

    def _open_channel(self) -> grpc.Channel:
        options: list[tuple[str, str | int]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_retries", 0),  # the retries here know the deadline and are counted
        ]
        if self._server_name is not None:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        if self._tls is None:
            return grpc.insecure_channel(self._target, options)
        files = (self._tls.ca, self._tls.key, self._tls.certificate)
        return grpc.secure_channel(self._target, grpc.ssl_channel_credentials(*(f.read_bytes() if f else None for f in files)), options)


class _Feed:
    """The requests of one stream: first again what the last stream left unanswered, then new jobs.

    gRPC reads it in a thread of its own and keeps at most one message ahead of the connection.
    """

    def __init__(self, unanswered: dict[int, reward_pb2.Job], source: Iterator[tuple[int, ScoreJob]]) -> None:
        self._again = deque(sorted(unanswered.items()))
        self._unanswered, self._source = unanswered, source
        self._lock = threading.Lock()
        self._closed = False
        self.exhausted = False
        self.error: Exception | None = None
        """What the jobs' own iterator raised."""

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> reward_pb2.ScoreStreamRequest:
        with self._lock:
            if self._closed:
                raise StopIteration
            if self._again:
                place, message = self._again.popleft()
            else:
                place, message = self._new()
            return reward_pb2.ScoreStreamRequest(id=place, job=message)

    def close(self) -> None:
        """Nothing is taken from the source any more; what was taken is in ``unanswered``."""
        with self._lock:
            self._closed = True

    def _new(self) -> tuple[int, reward_pb2.Job]:
        try:
            place, job = next(self._source)
            message = job_to_message(job)
        except StopIteration:
            self.exhausted = True
            raise
        except Exception as error:  # the caller's own, raised to them by score_stream
            self.error = error
            raise StopIteration from error
        self._unanswered[place] = message
        return place, message
