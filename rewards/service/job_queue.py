"""The bounded queue between calls and scoring lanes: the calls take turns, job by job, and a cancelled call leaves at once."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rewards.job import ScoreJob
from rewards.verdict import Verdict

Outcome = Verdict | Exception


class QueueFullError(Exception):
    """There is no room for these jobs now."""


@dataclass(eq=False, slots=True)
class Call:
    """One RPC's claim on the lanes. ``deliver(place, outcome)`` runs in ``loop``, once per job, unless the call was dropped."""

    loop: asyncio.AbstractEventLoop
    deliver: Callable[[int, Outcome], None]
    waiting: deque[tuple[int, ScoreJob]] = field(default_factory=deque)
    dropped: bool = False

    def answer(self, place: int, outcome: Outcome) -> None:
        """Hands over a verdict; from any thread."""
        self.loop.call_soon_threadsafe(self._deliver, place, outcome)

    def _deliver(self, place: int, outcome: Outcome) -> None:
        if not self.dropped:
            self.deliver(place, outcome)


@dataclass(frozen=True, slots=True)
class Task:
    """A job that a lane is to score, and whom to tell."""

    call: Call
    place: int
    job: ScoreJob


class JobQueue:
    """At most ``limit`` waiting jobs (those being scored do not count). Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._changed = threading.Condition()
        self._rotation: deque[Call] = deque()  # each call with waiting jobs, once; the next to be served first
        self._size = 0
        self._closed = False

    def __len__(self) -> int:
        return self._size

    def add(self, call: Call, jobs: Sequence[tuple[int, ScoreJob]]) -> None:
        """All of them or, with QueueFullError, none."""
        with self._changed:
            if self._size + len(jobs) > self.limit:
                raise QueueFullError(f"the queue holds {self._size} of {self.limit} jobs and has no room for {len(jobs)} more")
            if jobs and not call.waiting:
                self._rotation.append(call)
            call.waiting.extend(jobs)
            self._size += len(jobs)
            self._changed.notify(len(jobs))

    def take(self) -> Task | None:
        """The next job, of the call whose turn it is; waits for one. ``None`` once the queue is closed."""
        with self._changed:
            while not self._rotation and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            call = self._rotation.popleft()
            place, job = call.waiting.popleft()
            if call.waiting:
                self._rotation.append(call)
            self._size -= 1
            return Task(call, place, job)

    def drop(self, call: Call) -> int:
        """Forgets a call; nothing more is delivered to it. Returns how many of its jobs were waiting."""
        with self._changed:
            call.dropped = True
            waiting = len(call.waiting)
            if waiting:
                self._rotation.remove(call)
                call.waiting.clear()
                self._size -= waiting
            return waiting

    def close(self) -> None:
        """Lets every lane go; what waits is not served any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
