"""A sink behind a thread and a bounded queue, so that whatever it does the run neither stops nor waits.

Only :meth:`Mirror.finish` waits, for a bounded time. What does not fit into the queue is dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from chemr.tracking.sink import Sink

log = logging.getLogger(__name__)
Call = Callable[[Sink], None]

FINISH_S = 60.0  # for the rest of a queue, an upload's end included


class Mirror:
    """Hands calls to a sink, in their order. The first failure is one warning, after which the sink is left alone.

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
        self._thread = threading.Thread(target=self._work, args=(start,), name=f"tracking-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Calls that never reached the sink because it was too slow or has failed; 0 for one that could not start."""
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
        sink = start()
        self._unused = sink is None
        failed = False
        while True:
            call = self._queue.get()
            try:
                if call is None:
                    break
                if sink is None or failed:
                    self._lost += 1
                    continue
                call(sink)
            except sink.failures as error:  # type: ignore[union-attr]  # raised by a sink
                self._lost += 1
                failed = True
                self._warn(error)
            finally:
                self._queue.task_done()
        if sink is None:
            return
        if failed:
            sink.abandon()
            return
        try:
            sink.finish(self._exit_code)
        except sink.failures as error:
            self._warn(error)
            sink.abandon()

    def _warn(self, error: Exception) -> None:
        log.warning("%s failed and is not used any more in this run (metrics.jsonl goes on): %s", self.name, one_line(error))


def one_line(error: BaseException) -> str:
    """Type and message of an error, for a warning."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
