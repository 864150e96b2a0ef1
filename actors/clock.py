"""The driver's clock: what its deadlines are measured with, so that a jump of the machine's clock or a freeze of the driver ends none.

A deadline is there to notice that *somebody else* stopped. When the driver itself did not run for a while (SIGSTOP, a paused virtual
machine, a hypervisor that sets the clock), the answers of that time are waiting for it, and no deadline should strike before they have
been read. So of every stretch in which the clock was not looked at, at most :data:`LONGEST_GAP_S` counts. An event loop of
:func:`run` looks at it at least every :data:`BEAT_S`, and measures every ``asyncio.timeout``, ``sleep`` and ``wait`` with it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BEAT_S = 1.0
LONGEST_GAP_S = 5.0  # a busy machine delays the driver by less


class Clock:
    """Two clocks over two sources of seconds, which tests replace.

    Args:
        monotonic: like time.monotonic, but it may jump either way.
        wall: like time.time.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._source = monotonic
        self._wall = wall
        self._lock = threading.Lock()
        self._seen = self._now = monotonic()

    def monotonic(self) -> float:
        """Seconds that count towards deadlines. Never goes back, and forward by at most LONGEST_GAP_S between two looks."""
        with self._lock:
            seen = self._source()
            self._now += min(max(seen - self._seen, 0.0), LONGEST_GAP_S)
            self._seen = seen
            return self._now

    def wall(self) -> float:
        """Seconds since the epoch, for records that people read; nothing is ever decided by it."""
        return self._wall()


_current = Clock()


def monotonic() -> float:
    """:meth:`Clock.monotonic` of the clock in use."""
    return _current.monotonic()


def wall() -> float:
    """:meth:`Clock.wall` of the clock in use."""
    return _current.wall()


def use(clock: Clock) -> Clock:
    """Measure with ``clock`` from now on; returns the one before. Call it before :func:`run`: a running loop keeps its timers."""
    global _current
    before, _current = _current, clock
    return before


class ClockedLoop(asyncio.SelectorEventLoop):
    """An event loop that measures its timers with the clock in use."""

    def __init__(self) -> None:
        super().__init__()
        self._beat()

    def time(self) -> float:
        return _current.monotonic()

    def _beat(self) -> None:
        """An idle loop must look at the clock, or the time it slept would pass for a freeze."""
        self.call_later(BEAT_S, self._beat)


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on a :class:`ClockedLoop`."""
    with asyncio.Runner(loop_factory=ClockedLoop) as runner:
        return runner.run(main)
