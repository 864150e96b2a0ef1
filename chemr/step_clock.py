"""Where a step's wall time went: named shares that sum to 1 with ``unaccounted``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepClock:
    """Shares are measured on the driver's own path through a step and do not overlap: one within another is taken out of it."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []  # names of the shares around the one in progress

    @contextmanager
    def share(self, name: str) -> Iterator[None]:
        """Charge the time of the block to ``name``."""
        started = time.perf_counter()
        self._open.append(name)
        try:
            yield
        finally:
            self._open.pop()
            spent = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent
            if self._open:
                self._seconds[self._open[-1]] = self._seconds.get(self._open[-1], 0.0) - spent

    def finish_step(self) -> dict[str, float]:
        """``time/step_s`` (seconds) and ``time/<share>`` of the step that ends now; starts the next one."""
        now = time.perf_counter()
        wall, self._started = max(now - self._started, 1e-9), now
        seconds, self._seconds = self._seconds, {}
        shares = {f"time/{name}": spent / wall for name, spent in sorted(seconds.items())}
        return shares | {"time/unaccounted": max(0.0, 1.0 - sum(shares.values())), "time/step_s": wall}
