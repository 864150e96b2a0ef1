"""A sink behind a thread and a bounded queue, so that whatever it does the run neither stops nor waits.

Only :meth:`Mirror.finish` waits, for a bounded time. What does not fit into the queue is dropped and counted.

No exception of a sink ends its thread: what it did not take is counted, a person is told once of each kind of failure, and the next call
goes on. A disk may have room again, a library that cannot be loaded is needed for pictures only. A sink that the outside world fails
:data:`GIVE_UP` times in a row (a server that is gone) is left alone for the rest of the run.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

from chemr.tracking.sink import Sink

log = logging.getLogger(__name__)
Call = Callable[[Sink], None]

FINISH_S = 60.0  # for the rest of a queue, an upload's end included
GIVE_UP = 10  # failures of Sink.failures in a row


class Mirror:
    """Hands calls to a sink, in their order.

    Args:
        name: of the sink, for people and for ``tracking/dropped/<name>``.
        start: makes the sink, in the mirror's thread; None, after a warning that says why, when it cannot be used here.
        size: calls that may wait.
    """

    def __init__(self, name: str, start: Callable[[], Sink | None], size: int) -> None:
        self.name = name
        self._queue: queue.Queue[Call | None] = queue.Queue(size)
        self._refused = 0  # written by the run's thread
        self._lost = 0  # written by the mirror's
        self._unused = False
        self._exit_code = 0
        self._told: set[str] = set()  # kinds of failures
        self._thread = threading.Thread(target=self._work, args=(start,), name=f"tracking-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Calls that the sink did not take because it was too slow or failed; 0 for one that cannot be used here and has said so."""
        return 0 if self._unused else self._refused + self._lost

    def send(self, call: Call) -> None:
        """Never waits, never raises."""
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._refused += 1

    def flush(self, timeout_s: float) -> bool:
        """Wait until the sink has seen all that was sent; whether it did within the time."""
        with self._queue.all_tasks_done:
            return self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, timeout_s)

    def finish(self, exit_code: int, timeout_s: float = FINISH_S) -> None:
        """Let the sink have the rest and end; after ``timeout_s`` go on without it."""
        self._exit_code = exit_code
        deadline = time.monotonic() + timeout_s
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._queue.put(None, timeout=0.1)  # may be full
            except queue.Full:
                continue
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.warning("%s did not end within %g s and is left behind with %d records", self.name, timeout_s, self._queue.qsize())
        if self.dropped:
            log.warning("%s lacks %d records of this run (tracking/dropped/%s); metrics.jsonl has all", self.name, self.dropped, self.name)

    def _work(self, start: Callable[[], Sink | None]) -> None:
        sink: Sink | None = None
        with self._told_of("could not start"):
            sink = start()
            self._unused = sink is None  # and it has said why
        in_a_row = 0
        while (call := self._queue.get()) is not None:
            if sink is None or in_a_row >= GIVE_UP:
                self._lost += not self._unused
            else:
                with self._told_of("failed, and lacks what it was given; the next record goes on") as calling:
                    call(sink)
                self._lost += calling.error is not None
                in_a_row = in_a_row + 1 if isinstance(calling.error, sink.failures) else 0
                if in_a_row == GIVE_UP:
                    log.warning(
                        "%s failed %d times in a row and is not used any more in this run; metrics.jsonl goes on", self.name, GIVE_UP
                    )
            self._queue.task_done()
        if sink is not None:
            with self._told_of("did not end in order") as ending:
                if in_a_row < GIVE_UP:
                    sink.finish(self._exit_code)
            if ending.error is not None or in_a_row >= GIVE_UP:
                with self._told_of("could not be left in order"):
                    sink.abandon()
        self._queue.task_done()

    def _told_of(self, what: str) -> _ToldOnce:
        return _ToldOnce(self.name, what, self._told)


class _ToldOnce:
    """A context whose exceptions end here: the first of each kind is a warning, and ``error`` is what was raised, if anything was."""

    def __init__(self, name: str, what: str, told: set[str]) -> None:
        self._name = name
        self._what = what
        self._told = told
        self.error: Exception | None = None

    def __enter__(self) -> _ToldOnce:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return error is None
        self.error = error
        kind_of_failure = type(error).__name__
        if kind_of_failure not in self._told:
            self._told.add(kind_of_failure)
            log.warning("%s %s: %s", self._name, self._what, one_line(error))
        return True


def one_line(error: BaseException) -> str:
    """Type and message of an error, for a warning."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
