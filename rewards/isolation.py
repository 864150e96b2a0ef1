"""Scores answers in processes that may hang, crash or eat memory without hurting anybody else.

RDKit holds the GIL, runs exponential algorithms on short strings and can overflow the stack, so only killing a process stops it
(REWARDS §4.3, §5). The calling process never imports RDKit. It talks to persistent workers, one job in flight each; a worker that misses
the deadline or dies is replaced and its job gets one more try in a fresh one, after which the verdict is a failure (``None``), not a zero.
"""

from __future__ import annotations

import hashlib
import logging
import select
import socket
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rewards.answer import extract
from rewards.errors import ScorerPoolError
from rewards.job import ScoreJob
from rewards.registry import require_known
from rewards.verdict import FAILURES, Reason, Verdict
from rewards.worker import MAX_MESSAGE_BYTES, Reply, WorkerLimits, encode_job
from rewards.zygote_client import Zygote, ZygoteLostError

logger = logging.getLogger(__name__)

MAX_TRIES = 2
MAX_ZYGOTE_STARTS = 5  # within one call of score()

_RETRIED = frozenset({Reason.TIMEOUT, Reason.CRASH, Reason.MEMORY})


@dataclass(slots=True, eq=False)
class _Pending:
    """One distinct answer of a batch and the places in the batch that wait for its verdict."""

    key: bytes
    message: bytes
    task: str
    places: list[int]
    tries: int = 0
    sent_at: float = 0.0
    verdict: Verdict | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    pid: int
    connection: socket.socket
    pending: _Pending | None = None
    fresh: bool = True  # has not been sent a job yet


@dataclass(slots=True)
class _Batch:
    """The state of one call of score()."""

    queue: deque[_Pending] = field(default_factory=deque)
    zygote_starts: int = 0


class ScorerPool:
    """A fixed number of scoring workers behind one blocking call.

    Args:
        workers: jobs scored at the same time; each worker is a process that uses one core.
        deadline_s: wall seconds that one answer may take (honest ones take milliseconds).
        memory_bytes: address space of a worker.
        recycle_jobs, recycle_rss_bytes: a worker is replaced after so many jobs, or when its peak RSS has passed this.
        cache_size: verdicts remembered by (task, answer, inputs, reference); failures are not.
        plugins: modules that register more scorers with ``@scorer``; imported in the scoring processes only.

    Raises:
        ValueError: a limit that is not positive.
        ScorerPoolError: the scoring processes cannot be started.

    The pool may be used from several threads; calls of :meth:`score` then take turns.
    """

    def __init__(
        self,
        workers: int = 1,
        deadline_s: float = 2.0,
        memory_bytes: int = 3 << 30,
        recycle_jobs: int = 20_000,
        recycle_rss_bytes: int = 1 << 30,
        cache_size: int = 65_536,
        plugins: Sequence[str] = (),
    ) -> None:
        limits = {"workers": workers, "deadline_s": deadline_s, "memory_bytes": memory_bytes}
        limits |= {"recycle_jobs": recycle_jobs, "recycle_rss_bytes": recycle_rss_bytes}
        for name, number in limits.items():
            if not number > 0:
                raise ValueError(f"ScorerPool: {name} should be positive, found {number!r}")
        self._deadline_s = deadline_s
        self._limits = WorkerLimits(memory_bytes, recycle_rss_bytes, recycle_jobs)
        self._plugins = tuple(plugins)
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, Verdict] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._zygote: Zygote | None = Zygote(self._limits, self._plugins)
        self._tasks = frozenset(self._zygote.tasks)
        self._workers: list[_Worker | None] = [None] * workers
        try:
            self._check_that_scoring_works()
        except BaseException:
            self.close()
            raise

    def score(self, jobs: Sequence[ScoreJob]) -> list[Verdict]:
        """The verdicts on ``jobs``, in their order. Takes at most about 2 · deadline_s · len(jobs) / workers seconds.

        Raises, before anything is scored:
            UnknownTaskError: a task without a scorer.
            TypeError: inputs or reference that are not JSON.
            ValueError: a job of more than 128 kB.
            ScorerPoolError: the pool is closed; or, later, the zygote cannot be kept alive.
        """
        with self._lock:
            self._require_open()
            require_known((job.task for job in jobs), self._tasks)
            verdicts: list[Verdict | None] = [None] * len(jobs)
            pending = self._prepare(jobs, verdicts)
            self._run(_Batch(deque(pending)))
            for item in pending:
                for place in item.places:
                    verdicts[place] = item.verdict
            scored = [verdict for verdict in verdicts if verdict is not None]
            if len(scored) != len(jobs):
                raise ScorerPoolError(f"{len(jobs) - len(scored)} of {len(jobs)} jobs have no verdict; this is a bug of ScorerPool")
            self._counts["jobs"] += len(jobs)
            for verdict in scored:
                if verdict.reason in FAILURES:
                    self._counts[verdict.reason] += 1
            return scored

    @property
    def tasks(self) -> frozenset[str]:
        """What can be scored, plugins included."""
        return self._tasks

    def pids(self) -> list[int]:
        """Process ids of the living workers (not of the zygote)."""
        return [worker.pid for worker in self._workers if worker is not None]

    @property
    def zygote_pid(self) -> int:
        """Process id of the parent of all workers. Raises ScorerPoolError after close()."""
        return self._require_open().pid

    def stats(self) -> dict[str, int]:
        """Counts since the start: what became of the jobs, of the processes, and failures by reason."""
        names = ("jobs", "cache_hits", "duplicates", "unformatted", "spawned", "retried", "recycled", "zygote_restarts", *FAILURES)
        return {str(name): self._counts[name] for name in names}

    def close(self) -> None:
        """Ends all processes and waits for them. May be called again."""
        with self._lock:
            zygote, self._zygote = self._zygote, None
            if zygote is not None:
                self._drop_connections()
                zygote.close()

    def __enter__(self) -> ScorerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_that_scoring_works(self) -> None:
        """Starts all workers and scores one known answer, so that impossible limits show here and not as a run full of crashes."""
        start = _Batch()
        self._fill_idle_slots(start)
        probe = _Pending(b"probe", encode_job("iupac2smiles", "OCC", {}, {"answer": "CCO"}), "iupac2smiles", [])
        start.queue.append(probe)
        self._run(start)
        if probe.verdict is None or probe.verdict.value != 1.0:
            limits = f"deadline {self._deadline_s:g} s, {self._limits.memory_bytes / 2**20:.0f} MiB of address space"
            raise ScorerPoolError(f"the workers cannot score even ethanol ({probe.verdict}); limits: {limits}. RDKit needs about 1 GiB")
        self._cache.clear()

    # -- one batch ------------------------------------------------------------------------------------------------------------------

    def _prepare(self, jobs: Sequence[ScoreJob], verdicts: list[Verdict | None]) -> list[_Pending]:
        """Fills in what needs no worker (format errors, remembered verdicts) and returns the distinct rest."""
        distinct: dict[bytes, _Pending] = {}
        for place, job in enumerate(jobs):
            answer = extract(job.completion)
            if isinstance(answer, Verdict):
                verdicts[place] = answer
                self._counts["unformatted"] += 1
                continue
            message = encode_job(job.task, answer.text, job.inputs, job.reference)
            if len(message) > MAX_MESSAGE_BYTES:
                raise ValueError(f"job {place} ({job.task}): answer, inputs and reference take {len(message)} bytes of {MAX_MESSAGE_BYTES}")
            key = hashlib.blake2b(message, digest_size=16).digest()
            remembered = self._cache.get(key)
            if remembered is not None:
                self._cache.move_to_end(key)
                verdicts[place] = remembered
                self._counts["cache_hits"] += 1
            elif key in distinct:
                distinct[key].places.append(place)
                self._counts["duplicates"] += 1
            else:
                distinct[key] = _Pending(key, message, job.task, [place])
        return list(distinct.values())

    def _run(self, batch: _Batch) -> None:
        """Consumes the queue; waits for replies, deaths and deadlines; unblocked by any of them; produces a verdict for every item."""
        try:
            while batch.queue or any(worker and worker.pending for worker in self._workers):
                if batch.queue:
                    self._fill_idle_slots(batch)
                    self._send_jobs(batch)
                self._collect(batch)
        finally:
            # Only after an interrupt: a reply still under way must not be taken for the answer to the next batch's job.
            for slot, worker in enumerate(self._workers):
                if worker is not None and worker.pending is not None:
                    self._end_worker(slot)

    def _send_jobs(self, batch: _Batch) -> None:
        for slot, worker in enumerate(self._workers):
            if worker is None or worker.pending is not None or not batch.queue:
                continue
            if batch.queue[0].tries and not worker.fresh:  # a second try must not suffer from what an earlier job left behind
                self._end_worker(slot)
                continue
            item = batch.queue.popleft()
            item.tries += 1
            item.sent_at = time.monotonic()
            try:
                worker.connection.send(item.message)
            except OSError as error:  # it died while idle
                self._end_worker(slot)
                self._fail(batch, item, Reason.CRASH, f"the worker was already gone: {error}")
            else:
                worker.pending, worker.fresh = item, False

    def _collect(self, batch: _Batch) -> None:
        """Waits for the first reply, death or deadline and deals with all that have come."""
        busy = {worker.connection.fileno(): slot for slot, worker in enumerate(self._workers) if worker and worker.pending}
        if not busy:
            return
        waiting = select.poll()
        for descriptor in busy:
            waiting.register(descriptor, select.POLLIN)
        first_deadline = min(w.pending.sent_at for w in self._workers if w and w.pending) + self._deadline_s
        ready = waiting.poll(max(0.0, first_deadline - time.monotonic()) * 1000.0 + 1.0)
        for descriptor, _ in ready:
            self._read_reply(batch, busy.pop(descriptor))
        now = time.monotonic()
        for slot in busy.values():
            worker = self._workers[slot]
            if worker and worker.pending and now - worker.pending.sent_at >= self._deadline_s:
                self._fail(batch, worker.pending, Reason.TIMEOUT, f"no reply within {self._deadline_s:g} s")
                worker.pending = None
                self._end_worker(slot)

    def _read_reply(self, batch: _Batch, slot: int) -> None:
        worker = self._workers[slot]
        if worker is None or worker.pending is None:
            raise ScorerPoolError(f"slot {slot} has a reply but no job; this is a bug of ScorerPool")
        item, worker.pending = worker.pending, None
        try:
            message = worker.connection.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            message = b""
        if not message:
            status = self._end_worker(slot)
            self._fail(batch, item, Reason.CRASH, f"the worker ended with wait status {status}")
            return
        reply = Reply.decode(message)
        if reply.leaving:
            self._counts["recycled"] += 1
            self._end_worker(slot)
        if reply.verdict.reason in _RETRIED:
            self._fail(batch, item, reply.verdict.reason, reply.note)
            return
        if reply.verdict.failed:
            logger.warning("%s for task %s: %s", reply.verdict.reason, item.task, reply.note)
        else:
            self._remember(item.key, reply.verdict)
        item.verdict = reply.verdict

    def _fail(self, batch: _Batch, item: _Pending, reason: Reason, note: str) -> None:
        """Gives a job that cost its worker one more try in a fresh worker; then its verdict is a failure."""
        if item.tries < MAX_TRIES:
            self._counts["retried"] += 1
            batch.queue.append(item)  # behind its neighbours, which may well be honest
            return
        logger.warning("%s for task %s after %d tries: %s; job: %.300r", reason, item.task, item.tries, note, item.message)
        item.verdict = Verdict(None, reason, seconds=time.monotonic() - item.sent_at)

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        if self._cache_size <= 0:
            return
        self._cache[key] = Verdict(verdict.value, verdict.reason, verdict.parts)  # a hit costs no seconds
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    # -- processes ------------------------------------------------------------------------------------------------------------------

    def _fill_idle_slots(self, batch: _Batch) -> None:
        """Puts a living worker into every empty slot; restarts the zygote when it turns out to be gone."""
        slot = 0
        while slot < len(self._workers):
            if self._workers[slot] is None:
                try:
                    self._workers[slot] = _Worker(*self._require_open().spawn())
                except ZygoteLostError as error:
                    self._lose_zygote(batch, error)
                    slot = 0
                    continue
                self._counts["spawned"] += 1
            slot += 1

    def _require_open(self) -> Zygote:
        if self._zygote is None:
            raise ScorerPoolError("this ScorerPool is closed")
        return self._zygote

    def _lose_zygote(self, batch: _Batch, error: ZygoteLostError) -> None:
        """Replaces the zygote. All workers died with it; what they had in flight goes back to the queue, its try not counted."""
        batch.zygote_starts += 1
        if batch.zygote_starts > MAX_ZYGOTE_STARTS:
            raise ScorerPoolError(f"the scoring zygote died {batch.zygote_starts} times within one batch, last because {error}") from error
        logger.warning("the scoring zygote is lost (%s); starting another one", error)
        if self._zygote is not None:
            self._zygote.kill()
        for worker in self._workers:
            if worker is not None and worker.pending is not None:
                worker.pending.tries -= 1
                batch.queue.appendleft(worker.pending)
                worker.pending = None
        self._drop_connections()
        self._counts["zygote_restarts"] += 1
        self._zygote = Zygote(self._limits, self._plugins)

    def _end_worker(self, slot: int) -> int | None:
        """Kills the worker of a slot and empties it. Returns the wait status; None when the zygote is gone (the next spawn finds out)."""
        worker, self._workers[slot] = self._workers[slot], None
        if worker is None or self._zygote is None:
            return None
        worker.connection.close()
        try:
            return self._zygote.end(worker.pid)
        except ZygoteLostError:
            return None

    def _drop_connections(self) -> None:
        for slot, worker in enumerate(self._workers):
            if worker is not None:
                worker.connection.close()
                self._workers[slot] = None
