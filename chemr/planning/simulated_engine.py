"""One engine in simulated time: samples that run together advance together, a token each per decoding step.

Processor sharing in virtual time: a sample of L tokens that starts when the engine has done V steps ends when it has done V + L, however
many others come and go; only the steps' pace depends on how many run. So an engine costs one heap entry a sample, not one a token.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from actors.concurrency import ConcurrencyLimit
from chemr.planning.throughput import EngineSpeed


class SimulatedEngine:
    """Times are seconds since the beginning.

    Args:
        context_tokens: what a running sample has on average, its prompt included.

    Attributes:
        share: the part of its core it gets (1 on a GPU). Whoever changes it, or looks at anything, calls ``advance`` first.
    """

    def __init__(self, index: int, speed: EngineSpeed, prompt_tokens: float, context_tokens: float, keep_cache: bool) -> None:
        self.index = index
        self.speed = speed
        self.version = 0
        self.share = 1.0
        self.up = True
        self.load = 0  # samples leased, running or queued
        self.limit = ConcurrencyLimit(max(1, speed.most_samples // 4), speed.most_samples + speed.most_samples // 4)
        self.busy_s = 0.0
        self.tokens = 0.0
        self.stamp = 0  # of the newest event planned for it
        self._prompt_tokens = prompt_tokens
        self._context_tokens = context_tokens
        self._keep_cache = keep_cache
        self._pace = [speed.step_s(running) for running in range(speed.most_samples + 1)]
        self._now = 0.0
        self._steps = 0.0
        self._debt = 0.0  # seconds of prompts and updates that come before the next decoding step
        self._running: list[tuple[float, int, int]] = []  # heap of (steps at which it ends, group, attempt)
        self._started: dict[tuple[int, int], int] = {}  # running samples by (group, attempt)
        self._queue: deque[tuple[int, int, int]] = deque()  # (length, group, attempt)
        self._count = 0  # running

    @property
    def running(self) -> int:
        return self._count

    @property
    def computing(self) -> bool:
        return self.up and (self._count > 0 or self._debt > 0.0)

    def advance(self, now: float) -> None:
        """Do what was possible since the last call."""
        passed, self._now = now - self._now, now
        if self.load:
            self.busy_s += passed
        if not self.up:
            return
        work = passed * self.share
        paid = min(self._debt, work)
        self._debt -= paid
        if self._debt < 1e-12:
            self._debt = 0.0
        if self._count and work > paid:
            steps = (work - paid) / self._pace[self._count]
            self._steps += steps
            self.tokens += steps * self._count

    def start_group(self, group: int, attempt: int, lengths: Sequence[int]) -> None:
        """Samples of ``lengths``; what does not fit runs later, first come first served."""
        self._queue.extend((length, group, attempt) for length in lengths)
        self._admit()

    def end_of_samples(self) -> list[tuple[int, int]]:
        """The (group, attempt) of every sample that has ended by now, with repetitions."""
        ended: list[tuple[int, int]] = []
        while self._running and self._running[0][0] <= self._steps + 1e-9:
            _, group, attempt = heapq.heappop(self._running)
            left = self._started.get((group, attempt))
            if left is None:
                continue  # of a group that was withdrawn
            self._count -= 1
            if left == 1:
                del self._started[group, attempt]
            else:
                self._started[group, attempt] = left - 1
            ended.append((group, attempt))
        if ended:
            self._debt += len(ended) * self.speed.end_s
            self._admit()
        return ended

    def withdraw(self, group: int, attempt: int) -> int:
        """Forget a group's samples; returns how many had not ended."""
        running = self._started.pop((group, attempt), 0)
        self._count -= running
        queued = sum(entry[1:] == (group, attempt) for entry in self._queue)
        if queued:
            self._queue = deque(entry for entry in self._queue if entry[1:] != (group, attempt))
        self._admit()
        return running + queued

    def fail(self) -> None:
        """Everything in it is lost."""
        self._running.clear()
        self._started.clear()
        self._queue.clear()
        self._count, self._debt, self.load, self.up = 0, 0.0, 0, False

    def update(self, version: int) -> None:
        """New weights: the engine stands still, and without keep_cache computes anew what its running samples have."""
        self.version = version
        self._debt += self.speed.update_s
        if not self._keep_cache:
            self._debt += self._count * self._context_tokens * self.speed.prefill_s

    def next_event(self) -> float | None:
        """Seconds from now until the next sample ends at the present pace; None when nothing will."""
        if not self.up or self.share <= 0.0:
            return None
        while self._running and (self._running[0][1], self._running[0][2]) not in self._started:
            heapq.heappop(self._running)
        if self._running:
            steps = max(0.0, self._running[0][0] - self._steps)
            return (self._debt + steps * self._pace[self._count]) / self.share
        return self._debt / self.share if self._debt > 0.0 else None

    def _admit(self) -> None:
        while self._queue and self._count < self.speed.most_samples:
            length, group, attempt = self._queue.popleft()
            heapq.heappush(self._running, (self._steps + length, group, attempt))
            self._started[group, attempt] = self._started.get((group, attempt), 0) + 1
            self._count += 1
            self._debt += self._prompt_tokens * self.speed.prefill_s
