"""One scoring worker and the thread that feeds it, job by job.

A lane has a ScorerPool of one worker for itself. A hanging answer therefore occupies one lane and nobody else's, a lost zygote interrupts
one lane, and the worker of a cancelled call can be killed knowing that it scores nothing but that call's job.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable

from rewards.errors import ScorerPoolError, UnknownTaskError
from rewards.isolation import ScorerPool
from rewards.service.job_queue import Call, JobQueue, Outcome, Task

logger = logging.getLogger(__name__)

FIRST_RESTART_WAIT_S, LONGEST_RESTART_WAIT_S = 1.0, 30.0


class LaneBrokenError(Exception):
    """The lane's scoring processes cannot be kept alive; the job was not scored."""


class Lane:
    """Serves ``queue`` from a thread until the queue is closed.

    Args:
        open_pool: makes the lane's ScorerPool, of one worker; called again, with growing pauses, when a pool is lost.

    ``tasks`` are the names that can be scored.

    Raises:
        ScorerPoolError: the first pool cannot be opened.
    """

    def __init__(self, queue: JobQueue, open_pool: Callable[[], ScorerPool]) -> None:
        self._queue, self._open_pool = queue, open_pool
        first = open_pool()
        self._pool: ScorerPool | None = first
        self.tasks = tuple(sorted(first.tasks))
        self._lost: Counter[str] = Counter()  # the counts of pools that were lost
        self._lost_pool = False
        self._task: Task | None = None
        self._lock = threading.Lock()  # holds the lane at its present job
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scoring-lane", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it has scoring processes, and its thread runs."""
        return self._pool is not None and self._thread.is_alive()

    @property
    def busy(self) -> bool:
        return self._task is not None

    def is_at(self, call: Call) -> bool:
        """Whether it scores a job of this call now."""
        task = self._task
        return task is not None and task.call is call

    def pids(self) -> list[int]:
        """Of the worker; for tests and logs."""
        pool = self._pool
        return pool.pids() if pool is not None else []

    def stats(self) -> Counter[str]:
        """ScorerPool.stats() since the lane was started."""
        pool, total = self._pool, Counter(self._lost)
        total.update(pool.stats() if pool is not None else {})
        return total

    def kill_worker_of(self, call: Call) -> bool:
        """Kills the worker if it is at a job of this call. ``False`` when the lane has nothing (more) to do with the call.

        The pool gives a killed job one more try, so this is to be repeated until it returns ``False``.
        """
        with self._lock:
            if self._task is None or self._task.call is not call:
                return False
            for pid in self.pids():
                self._kill(pid)
            return True

    def close(self) -> None:
        """Ends the thread and all processes; the queue must be closed. A job under way is given up."""
        self._stopping.set()
        while self._thread.is_alive():
            task = self._task
            if task is not None:
                self.kill_worker_of(task.call)
            self._thread.join(0.01)
        if self._pool is not None:
            self._pool.close()

    def _kill(self, pid: int) -> None:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # Still the pool's after the descriptor was opened: then the descriptor is of that worker, not of a later process.
            if pid in self.pids():
                signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            os.close(process)

    def _run(self) -> None:
        while (task := self._queue.take()) is not None:
            with self._lock:
                self._task = task
            outcome: Outcome = LaneBrokenError("the scoring lane ended unexpectedly; see the server's log")
            try:
                # Looked at after the task was made known: whoever drops the call later finds it here and kills the worker.
                if not task.call.dropped:
                    outcome = self._score(self._pool, task)
            finally:
                with self._lock:
                    self._task = None
                task.call.answer(task.place, outcome)
            if self._lost_pool:
                self._restart()

    def _score(self, pool: ScorerPool | None, task: Task) -> Outcome:
        if pool is None:
            return LaneBrokenError("the scoring processes are being restarted")
        try:
            [verdict] = pool.score([task.job])
        except ScorerPoolError as error:
            logger.error("a scoring lane lost its processes: %s", error)
            self._lost_pool = True
            return LaneBrokenError(str(error))
        except (UnknownTaskError, TypeError, ValueError) as error:
            return error
        return verdict

    def _restart(self) -> None:
        """A new pool in place of a lost one; tries until it works or the lane is closed."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._lost.update(pool.stats())
            pool.close()
        wait_s = FIRST_RESTART_WAIT_S
        while not self._stopping.is_set():
            try:
                self._pool = self._open_pool()
            except ScorerPoolError as error:
                logger.error("the scoring processes do not start; next try in %.0f s: %s", wait_s, error)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_RESTART_WAIT_S)
            else:
                self._lost_pool = False
                return
