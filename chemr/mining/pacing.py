"""Keeping to limits per minute, and to a budget. Plain arithmetic over given times, without clocks of its own."""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0
CHARS_PER_TOKEN = 3.0  # chemistry: SMILES and names take more tokens than prose


class MinuteWindow:
    """At most ``limit`` of something in any 60 seconds; 0 = no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[list[float]] = deque()  # [time, amount]
        self._sum = 0.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; 0 = now. An amount above the limit has to wait for an empty window, not for ever."""
        if not self._limit:
            return 0.0
        self._forget(now)
        over = self._sum + min(amount, self._limit) - self._limit
        if over <= 0:
            return 0.0
        for time, taken in self._taken:
            over -= taken
            if over <= 0:
                return max(0.0, time + MINUTE_S - now)
        return MINUTE_S

    def take(self, amount: float, now: float) -> list[float]:
        """Book ``amount``; the booking may be corrected with :meth:`correct`."""
        booking = [now, amount]
        self._taken.append(booking)
        self._sum += amount
        return booking

    def correct(self, booking: list[float], amount: float) -> None:
        """What a booking turned out to be."""
        if any(one is booking for one in self._taken):
            self._sum += amount - booking[1]
            booking[1] = amount

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - MINUTE_S:
            self._sum -= self._taken.popleft()[1]


def estimated_tokens(text_chars: int) -> int:
    """Tokens of a prompt before the server has counted them; rather too many than too few."""
    return int(text_chars / CHARS_PER_TOKEN) + 16


class Budget:
    """Money, in the currency of the prices. What is in flight counts with the most that it can cost.

    Args:
        limit: None = no limit.
        price_in, price_out: per million tokens; None = cost is not counted.
        spent: by earlier starts.
    """

    def __init__(self, limit: float | None, price_in: float | None, price_out: float | None, spent: float = 0.0) -> None:
        self.limit = limit
        self._price_in = price_in or 0.0
        self._price_out = price_out or 0.0
        self.spent = spent
        self.reserved = 0.0
        self.in_flight = 0

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self._price_in + completion_tokens * self._price_out) / 1e6

    def reserve(self, amount: float) -> None:
        self.reserved += amount
        self.in_flight += 1

    def release(self, amount: float) -> None:
        self.in_flight -= 1
        self.reserved = self.reserved - amount if self.in_flight else 0.0  # rounding must not keep anybody waiting

    def allows(self, amount: float) -> bool:
        return self.limit is None or self.spent + self.reserved + amount <= self.limit
