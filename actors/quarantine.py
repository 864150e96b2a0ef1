"""How long a seat stays empty whose members keep failing: pure arithmetic over the times of failures."""

from __future__ import annotations

from collections import deque

GROWTH = 2.0
LONGEST = 16.0  # times the first quarantine


class FailureHistory:
    """Of one seat. ``after`` failures within ``window_s`` seconds put it into quarantine for ``first_s`` seconds.

    Every further failure doubles the quarantine (at most 16 × ``first_s``), until a member has served for ``window_s`` without failing.
    """

    def __init__(self, after: int, window_s: float, first_s: float) -> None:
        self._after, self._window_s, self._first_s = after, window_s, first_s
        self._times: deque[float] = deque(maxlen=after)
        self._quarantines = 0

    def failed(self, now: float, served_s: float) -> float:
        """Records a failure at ``now`` (seconds, monotonic) of a member that had served for ``served_s``; returns the seconds that the
        seat is to stay empty, 0 = fill it again."""
        if served_s >= self._window_s:
            self._times.clear()
            self._quarantines = 0
        self._times.append(now)
        recent = sum(now - time <= self._window_s for time in self._times)
        if self._quarantines == 0 and recent < self._after:
            return 0.0
        self._quarantines += 1
        return self._first_s * min(GROWTH ** (self._quarantines - 1), LONGEST)
