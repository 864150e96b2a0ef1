"""The three methods of RewardService: admits calls, waits for the lanes, and lets go of what a cancelled call had asked for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from rewards.job import ScoreJob
from rewards.registry import SCORER_VERSION
from rewards.service.job_queue import Call, JobQueue, Outcome, QueueFullError
from rewards.service.lane import Lane, LaneBrokenError
from rewards.service.metrics import Metrics
from rewards.service.v1 import reward_pb2, reward_pb2_grpc
from rewards.service.wire import InvalidJobError, job_from_message, verdict_to_message
from rewards.verdict import Verdict

KILL_AFTER_S = 0.02  # a job of a cancelled call may end by itself: honest ones take a millisecond, a new worker ten
_KILL_AGAIN_S = 0.005  # the pool gives a killed job one more try
_FULL_QUEUE_WAIT_S = 0.01  # how often a stream looks for room
_STOPPING = "this server is shutting down; another one may take the call"

Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one caller may ask for.

    Attributes:
        jobs: in one Score call.
        message_bytes: of one request.
        calls: scored at the same time.
        stream_window: jobs of one stream without a verdict yet.
        seconds: of a call whose client set no deadline, or a later one.
    """

    jobs: int = 1024
    message_bytes: int = 4 << 20
    calls: int = 256
    stream_window: int = 64
    seconds: float = 600.0


class _RefusedError(Exception):
    """Ends a call with this status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class RewardServicer(reward_pb2_grpc.RewardServiceServicer):
    """Serves calls from ``lanes`` through ``queue``. One event loop."""

    def __init__(self, queue: JobQueue, lanes: Sequence[Lane], tasks: Sequence[str], limits: CallLimits, metrics: Metrics) -> None:
        self._queue, self._lanes, self._limits, self._metrics = queue, lanes, limits, metrics
        self._tasks = frozenset(tasks)
        self._open_calls = 0
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._killers: set[asyncio.Task[None]] = set()

    async def drain(self, seconds: float) -> bool:
        """Refuses new calls and waits for those under way. ``False`` if some were still open after ``seconds``."""
        self._draining.set()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return self._idle.is_set()
        return True

    async def Score(self, request: reward_pb2.ScoreRequest, context: Context) -> reward_pb2.ScoreResponse:
        async with self._measured("Score", context):
            if len(request.jobs) > self._limits.jobs:
                found = f"{len(request.jobs)} jobs in one call; at most {self._limits.jobs} are accepted here, so send several calls"
                raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, found)
            jobs = [self._job(f"job {place}", message) for place, message in enumerate(request.jobs)]
            verdicts = await self._score(jobs)
            for job, verdict in zip(jobs, verdicts, strict=True):
                self._metrics.count_verdict(job.task, verdict)
            return reward_pb2.ScoreResponse(verdicts=map(verdict_to_message, verdicts), scorer_version=SCORER_VERSION)

    async def ScoreStream(self, requests: AsyncIterator[reward_pb2.ScoreStreamRequest], context: Context) -> None:
        async with self._measured("ScoreStream", context):
            answered: asyncio.Queue[tuple[int, Outcome] | None] = asyncio.Queue()
            window = asyncio.Semaphore(self._limits.stream_window)
            tasks_of: dict[int, str] = {}  # of the jobs without a verdict
            with self._call(lambda place, outcome: answered.put_nowait((place, outcome))) as call:
                reading = asyncio.ensure_future(self._read(requests, call, window, tasks_of))
                reading.add_done_callback(lambda _: answered.put_nowait(None))
                try:
                    while not (reading.done() and not tasks_of):
                        item = await answered.get()
                        if item is None:
                            reading.result()  # raises what the reading ended with
                            continue
                        place, outcome = item
                        verdict, task = _verdict(outcome), tasks_of.pop(place)
                        window.release()
                        await context.write(reward_pb2.ScoreStreamResponse(id=place, verdict=verdict_to_message(verdict)))
                        self._metrics.count_verdict(task, verdict)
                    if reading.result():
                        raise _RefusedError(grpc.StatusCode.UNAVAILABLE, _STOPPING)
                finally:
                    reading.cancel()

    async def ListTasks(self, request: reward_pb2.ListTasksRequest, context: Context) -> reward_pb2.ListTasksResponse:
        limits = self._limits
        return reward_pb2.ListTasksResponse(
            tasks=sorted(self._tasks), scorer_version=SCORER_VERSION, max_jobs=limits.jobs, max_message_bytes=limits.message_bytes
        )

    # -- jobs -----------------------------------------------------------------------------------------------------------------------

    def _job(self, where: str, message: reward_pb2.Job) -> ScoreJob:
        try:
            return job_from_message(message, self._tasks)
        except InvalidJobError as error:
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"{where}: {error}") from error

    async def _score(self, jobs: list[ScoreJob]) -> list[Verdict]:
        outcomes: dict[int, Outcome] = {}
        finished = asyncio.Event()

        def deliver(place: int, outcome: Outcome) -> None:
            outcomes[place] = outcome
            if len(outcomes) == len(jobs) or isinstance(outcome, Exception):
                finished.set()

        if not jobs:
            return []
        with self._call(deliver) as call:
            try:
                self._queue.add(call, list(enumerate(jobs)))
            except QueueFullError as error:
                raise _RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{error}; try again later") from error
            await finished.wait()
        for outcome in outcomes.values():
            _verdict(outcome)  # one that failed fails the call
        return [_verdict(outcomes[place]) for place in range(len(jobs))]

    async def _read(
        self, requests: AsyncIterator[reward_pb2.ScoreStreamRequest], call: Call, window: asyncio.Semaphore, tasks_of: dict[int, str]
    ) -> bool:
        """Queues a stream's jobs as room permits. Returns at its end whether it ended because the server is stopping."""
        stopping = asyncio.ensure_future(self._draining.wait())
        following: asyncio.Future[reward_pb2.ScoreStreamRequest] | None = None
        try:
            while True:
                await window.acquire()
                following = asyncio.ensure_future(anext(requests))
                await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    return True
                try:
                    request = following.result()
                except StopAsyncIteration:
                    return False
                if request.id in tasks_of:
                    raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"id {request.id} is that of a job still without a verdict")
                job = self._job(f"job with id {request.id}", request.job)
                tasks_of[request.id] = job.task
                while not self._queued(call, request.id, job):
                    await asyncio.sleep(_FULL_QUEUE_WAIT_S)
        finally:
            stopping.cancel()
            if following is not None:
                following.cancel()

    def _queued(self, call: Call, place: int, job: ScoreJob) -> bool:
        try:
            self._queue.add(call, [(place, job)])
        except QueueFullError:
            return False
        return True

    @contextmanager
    def _call(self, deliver: Callable[[int, Outcome], None]) -> Iterator[Call]:
        """A claim on the lanes that ends with the block: what it has waiting is forgotten, what it has running is killed."""
        call = Call(asyncio.get_running_loop(), deliver)
        try:
            yield call
        finally:
            waiting = self._queue.drop(call)
            if waiting:
                self._metrics.cancelled.labels("waiting").inc(waiting)
            if any(lane.is_at(call) for lane in self._lanes):
                killer = asyncio.ensure_future(self._kill_workers_of(call))
                self._killers.add(killer)
                killer.add_done_callback(self._killers.discard)

    async def _kill_workers_of(self, call: Call) -> None:
        await asyncio.sleep(KILL_AFTER_S)
        held = [lane for lane in self._lanes if lane.kill_worker_of(call)]
        self._metrics.cancelled.labels("running").inc(len(held))
        while held:
            await asyncio.sleep(_KILL_AGAIN_S)
            held = [lane for lane in held if lane.kill_worker_of(call)]

    # -- calls ----------------------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _measured(self, method: str, context: Context) -> AsyncIterator[None]:
        """Bounds the time of a call that was admitted (:mod:`rewards.service.admission`), turns a refusal into its status, counts it."""
        started, code = time.monotonic(), grpc.StatusCode.OK
        self._open_calls += 1
        self._idle.clear()
        try:
            if self._draining.is_set():
                raise _RefusedError(grpc.StatusCode.UNAVAILABLE, _STOPPING)
            async with asyncio.timeout(self._limits.seconds):
                yield
        except _RefusedError as error:
            code = error.code
            await context.abort(error.code, error.message)
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            await context.abort(code, f"a call may take {self._limits.seconds:g} s here")
        except asyncio.CancelledError:
            remaining = context.time_remaining()
            code = grpc.StatusCode.CANCELLED if remaining is None or remaining > 0 else grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        except BaseException:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            self._open_calls -= 1
            if not self._open_calls:
                self._idle.set()
            self._metrics.calls.labels(method, code.name).inc()
            if method == "Score":
                self._metrics.call_seconds.observe(time.monotonic() - started)

    def events(self) -> dict[str, int]:
        """ScorerPool.stats() over all lanes."""
        total: Counter[str] = Counter()
        for lane in self._lanes:
            total.update(lane.stats())
        return dict(total)


def _verdict(outcome: Outcome) -> Verdict:
    if isinstance(outcome, LaneBrokenError):
        raise _RefusedError(grpc.StatusCode.UNAVAILABLE, f"the scoring processes are failing: {outcome}")
    if isinstance(outcome, Exception):
        raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(outcome)) from outcome
    return outcome
