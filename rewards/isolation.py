"""Scores answers in processes that may hang, crash or eat memory without hurting anybody else.

RDKit holds the GIL, runs exponential algorithms on short strings and can overflow the stack, so only killing a process stops it
(REWARDS §4.3, §5). The calling process never imports RDKit. It sends persistent workers several jobs at a time and can tell which one a
worker is at: a worker that misses that job's deadline or dies is replaced, its other jobs go elsewhere, and the one to blame gets one more
try alone in a fresh worker, after which the verdict is a failure (``None``), not a zero.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rewards.confinement import NOTHING, PluginAccess
from rewards.errors import ScorerPoolError
from rewards.job import ScoreJob
from rewards.manifest import manifest
from rewards.name_reading import NAME_TASKS, NameReading
from rewards.opsin import OpsinMode
from rewards.preparation import Preparation
from rewards.registry import require_known
from rewards.verdict import FAILURES, Reason, Verdict
from rewards.worker import MAX_MESSAGE_BYTES, Reply, WorkerLimits, encode_job, encode_row
from rewards.worker_link import MAX_CHUNK_JOBS, Pending, WorkerLink
from rewards.zygote_client import Zygote, ZygoteLostError

logger = logging.getLogger(__name__)

MAX_TRIES = 2
MAX_ZYGOTE_STARTS = 5  # within one call of score()
START_DEADLINE_S = 30.0  # of the first answer ever, which shows whether scoring works at all, on however busy a machine
PATIENCE_S = 0.05  # what waits behind a job that takes longer is given to other workers too

_RETRIED = frozenset({Reason.TIMEOUT, Reason.CRASH, Reason.MEMORY})


@dataclass(slots=True)
class _Batch:
    """The state of one call of score()."""

    queue: deque[Pending] = field(default_factory=deque)
    zygote_starts: int = 0


class ScorerPool:
    """A fixed number of scoring workers behind one blocking call.

    Args:
        workers: jobs scored at the same time; each worker is a process that uses one core.
        deadline_s: wall seconds that one answer may take (honest ones take milliseconds); its name in OPSIN as many again.
        memory_bytes: address space of a worker.
        recycle_jobs, recycle_rss_bytes: a worker is replaced after so many jobs, or when its peak RSS has passed this.
        cache_size: verdicts remembered by (task, answer, inputs, reference); failures are not.
        opsin: ``auto``, ``always`` or ``never``: whether names are also judged by what OPSIN reads (:class:`rewards.opsin.OpsinMode`).
        grounding: weight in [0, 1] of the grounded term (:mod:`rewards.grounding`); 0 takes nothing away.
        claims: say in a verdict's parts what share of the claims is fabricated, also with ``grounding`` 0.
        plugins: modules that register more scorers with ``@scorer``; imported in the scoring processes only.
        plugin_access: what these processes keep for them of the environment and the network; by default nothing
            (:mod:`rewards.confinement`).

    Raises:
        ValueError: a limit that is not positive, a weight outside [0, 1], an unknown mode.
        ScorerPoolError: the scoring processes cannot be started; OPSIN is insisted on and missing.

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
        opsin: str = OpsinMode.AUTO,
        grounding: float = 0.0,
        claims: bool = False,
        plugins: Sequence[str] = (),
        plugin_access: PluginAccess = NOTHING,
    ) -> None:
        limits = {"workers": workers, "deadline_s": deadline_s, "memory_bytes": memory_bytes}
        limits |= {"recycle_jobs": recycle_jobs, "recycle_rss_bytes": recycle_rss_bytes}
        for name, number in limits.items():
            if not number > 0:
                raise ValueError(f"ScorerPool: {name} should be positive, found {number!r}")
        if not 0.0 <= grounding <= 1.0:
            raise ValueError(f"ScorerPool: grounding should be a weight in [0, 1], found {grounding!r}")
        self._deadline_s = deadline_s
        self._grounding = grounding
        self._names = NameReading(OpsinMode(opsin), deadline_s, workers)
        self._limits = WorkerLimits(memory_bytes, recycle_rss_bytes, recycle_jobs)
        self._plugins, self._access = tuple(plugins), plugin_access
        self._counts: Counter[str] = Counter()
        self._preparation = Preparation(cache_size, grounding, self._counts, claims)
        self._lock = threading.Lock()
        self._zygote: Zygote | None = Zygote(self._limits, self._plugins, self._access)
        self._tasks = frozenset(self._zygote.tasks)
        self._workers: list[WorkerLink | None] = [None] * workers
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
            jobs = list(jobs)  # keeps the rows alive, whose identities are compared
            verdicts, pending = self._preparation.prepare(jobs)
            batch = _Batch()
            self._read_names(batch, pending)
            batch.queue.extend(item for item in pending if item.verdict is None)
            self._run(batch)
            for item in pending:
                for place in item.places:
                    verdicts[place] = item.verdict
            scored = [verdict for verdict in verdicts if verdict is not None]
            if len(scored) != len(jobs):
                raise ScorerPoolError(f"{len(jobs) - len(scored)} of {len(jobs)} jobs have no verdict; this is a bug of ScorerPool")
            self._counts["jobs"] += len(jobs)
            for verdict in scored:
                if verdict.value is None:
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
        names: tuple[str, ...] = ("jobs", "cache_hits", "duplicates", "unformatted", "in_caller", "spawned", "retried", "recycled")
        names += ("names_read", "opsin_starts", "zygote_restarts", *FAILURES)
        return {str(name): self._counts[name] for name in names}

    def manifest(self) -> dict[str, Any]:
        """What verdicts depend on besides the jobs (:func:`rewards.manifest.manifest`). Raises ScorerPoolError after close()."""
        return manifest(self._require_open().chemistry, self._names.description, self._grounding)

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
        probe = Pending(b"probe", encode_job("iupac2smiles", "OCC", encode_row({}, {"answer": "CCO"})), "iupac2smiles", [])
        start.queue.append(probe)
        deadline_s, self._deadline_s = self._deadline_s, max(self._deadline_s, START_DEADLINE_S)
        self._run(start)
        self._deadline_s = deadline_s
        if probe.verdict is None or probe.verdict.value != 1.0:
            limits = f"deadline {self._deadline_s:g} s, {self._limits.memory_bytes / 2**20:.0f} MiB of address space"
            raise ScorerPoolError(f"the workers cannot score even ethanol ({probe.verdict}); limits: {limits}. RDKit needs about 1 GiB")
        self._preparation.forget()
        self._names.require(self._require_open())

    # -- one batch ------------------------------------------------------------------------------------------------------------------

    def _read_names(self, batch: _Batch, pending: Sequence[Pending]) -> None:
        """Adds to the jobs that ask for a name what OPSIN reads in it; a name that OPSIN fails on gets its failure here."""
        named = [item for item in pending if item.task in NAME_TASKS]
        while named:
            try:
                self._names.read(named, self._require_open(), self._counts)
                return
            except ZygoteLostError as error:
                self._lose_zygote(batch, error)

    def _run(self, batch: _Batch) -> None:
        """Consumes the queue; waits for replies, deaths and deadlines; unblocked by any of them; produces a verdict for every item."""
        try:
            while batch.queue or any(worker and worker.is_needed for worker in self._workers):
                if batch.queue:
                    self._fill_idle_slots(batch)
                    self._send_jobs(batch)
                self._collect(batch)
        finally:
            # After an interrupt, a reply still under way must not be taken for the answer to the next batch's job; and a worker may
            # still be at jobs that others have answered meanwhile.
            for slot, worker in enumerate(self._workers):
                if worker is not None and worker.jobs:
                    self._end_worker(slot)

    def _send_jobs(self, batch: _Batch) -> None:
        while batch.queue and batch.queue[0].verdict is not None:
            batch.queue.popleft()
        size = min(MAX_CHUNK_JOBS, 1 + len(batch.queue) // (2 * len(self._workers)))
        for slot, worker in enumerate(self._workers):
            while worker is not None and worker.has_room and batch.queue:
                if batch.queue[0].tries:  # a second try is made alone, and must not suffer from what an earlier job left behind
                    if worker.jobs:
                        break
                    if not worker.fresh:
                        self._end_worker(slot)
                        break
                chunk = self._take_chunk(batch, size)
                if not chunk:
                    break
                try:
                    worker.send(chunk)
                except BlockingIOError:
                    self._requeue(batch, chunk)
                    break
                except OSError as error:
                    if worker.jobs:  # its last words, which may be a leave, are still to be read
                        self._requeue(batch, chunk)
                    else:  # it died while idle
                        self._end_worker(slot)
                        self._requeue(batch, chunk[1:])
                        self._fail(batch, chunk[0], Reason.CRASH, f"the worker was already gone: {error}")
                    break
                if chunk[0].tries:
                    break

    def _take_chunk(self, batch: _Batch, size: int) -> list[Pending]:
        """The next jobs for one worker: at most ``size`` and as many as fit a datagram; a job that was tried before comes alone."""
        chunk: list[Pending] = []
        room = MAX_MESSAGE_BYTES
        while batch.queue and len(chunk) < size:
            item = batch.queue[0]
            if item.verdict is not None:
                batch.queue.popleft()
                continue
            if chunk and (item.tries or len(item.message) + 1 > room):
                break
            room -= len(item.message) + 1
            item.queued = False
            chunk.append(batch.queue.popleft())
            if item.tries:
                break
        return chunk

    def _collect(self, batch: _Batch) -> None:
        """Waits for the first reply, death, deadline or loss of patience, and deals with all that have come."""
        busy = {worker.connection.fileno(): slot for slot, worker in enumerate(self._workers) if worker and worker.jobs}
        if not busy:
            return
        waiting = select.poll()
        for descriptor in busy:
            waiting.register(descriptor, select.POLLIN)
        first_deadline = min(w.busy_since() for w in self._workers if w and w.jobs) + self._deadline_s
        wait_s = min(PATIENCE_S, max(0.0, first_deadline - time.monotonic()) + 0.001)
        for descriptor, _ in waiting.poll(wait_s * 1000.0):
            self._read_replies(batch, busy.pop(descriptor))
        now = time.monotonic()
        for slot in busy.values():
            worker = self._workers[slot]
            if worker is None or not worker.jobs:
                continue
            silence = now - worker.busy_since()
            if silence >= self._deadline_s:
                self._lose_worker(batch, slot, Reason.TIMEOUT, f"no reply within {self._deadline_s:g} s")
            elif silence >= PATIENCE_S and len(self._workers) > 1:
                self._requeue(batch, list(worker.jobs)[max(1, worker.begun()) :])

    def _read_replies(self, batch: _Batch, slot: int) -> None:
        worker = self._workers[slot]
        if worker is None:
            raise ScorerPoolError(f"slot {slot} has a reply but no worker; this is a bug of ScorerPool")
        answers = worker.receive()
        if not answers:
            self._lose_worker(batch, slot, Reason.CRASH, "the worker ended")
            return
        for item, reply in answers:
            if reply.leaving:
                self._counts["recycled"] += 1
                self._requeue(batch, list(worker.jobs))
                self._end_worker(slot)
            if item.verdict is None:  # else another worker was faster
                self._accept(batch, item, reply)

    def _accept(self, batch: _Batch, item: Pending, reply: Reply) -> None:
        if reply.verdict.reason in _RETRIED:
            self._fail(batch, item, reply.verdict.reason, reply.note)
            return
        if reply.verdict.failed:
            logger.warning("%s for task %s: %s", reply.verdict.reason, item.task, reply.note)
        else:
            self._preparation.remember(item.key, reply.verdict)
        item.verdict = reply.verdict

    def _lose_worker(self, batch: _Batch, slot: int, reason: Reason, note: str) -> None:
        """Ends a worker that hangs or is dead, charges the job it was at and puts the others back."""
        worker = self._workers[slot]
        if worker is None:
            return
        guilty, others = worker.take_jobs()
        status = self._end_worker(slot)
        self._requeue(batch, others)
        if guilty is not None and guilty.verdict is None:
            self._fail(batch, guilty, reason, f"{note} (wait status {status})")

    def _requeue(self, batch: _Batch, items: Sequence[Pending]) -> None:
        """Puts jobs back in front, in their order, unless they are there already or have been answered by another worker."""
        for item in reversed(items):
            if item.verdict is None and not item.queued:
                item.queued = True
                batch.queue.appendleft(item)

    def _fail(self, batch: _Batch, item: Pending, reason: Reason, note: str) -> None:
        """Gives a job that cost its worker one more try in a fresh worker; then its verdict is a failure."""
        item.tries += 1
        if item.tries < MAX_TRIES:
            self._counts["retried"] += 1
            if not item.queued:
                item.queued = True
                batch.queue.append(item)  # behind its neighbours, which may well be honest
            return
        logger.warning("%s for task %s after %d tries: %s; job: %.300r", reason, item.task, item.tries, note, item.message)
        item.verdict = Verdict(None, reason, seconds=self._deadline_s if reason is Reason.TIMEOUT else 0.0)

    # -- processes ------------------------------------------------------------------------------------------------------------------

    def _fill_idle_slots(self, batch: _Batch) -> None:
        """Puts a living worker into every empty slot; restarts the zygote when it turns out to be gone."""
        slot = 0
        while slot < len(self._workers):
            if self._workers[slot] is None:
                try:
                    self._workers[slot] = WorkerLink.connect(*self._require_open().spawn())
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
            if worker is not None:
                self._requeue(batch, list(worker.jobs))
        self._drop_connections()
        self._counts["zygote_restarts"] += 1
        self._zygote = Zygote(self._limits, self._plugins, self._access)

    def _end_worker(self, slot: int) -> int | None:
        """Kills the worker of a slot and empties it. Returns the wait status; None when the zygote is gone (the next spawn finds out)."""
        worker, self._workers[slot] = self._workers[slot], None
        if worker is None or self._zygote is None:
            return None
        worker.close()
        try:
            return self._zygote.end(worker.pid)
        except ZygoteLostError:
            return None

    def _drop_connections(self) -> None:
        for slot, worker in enumerate(self._workers):
            if worker is not None:
                worker.close()
                self._workers[slot] = None
        self._names.drop()
