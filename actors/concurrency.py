"""How many samples one generator is given at a time: as many as make it faster, and no more than its cache holds. No clock of its own.

An engine that is given more samples than it can compute at once keeps them in a queue of its own, where another generator cannot take them;
one whose key-value cache runs over throws samples out and computes them again. Both look like load to a fleet that only counts. So each
generator has a limit that grows while requests wait for it, as long as growing pays: from one round (as many finished samples as the limit
is wide) to the next it must bring more tokens per second, otherwise latency per token has risen as fast as the number of samples, and the
limit goes back and rests. This is TCP's slow start with the throughput, not a loss, as the usual signal; preemption is the loss.
"""

from __future__ import annotations

FLOOR = 8
MIN_GAIN = 1.05  # in tokens per second over a round that grew the limit; less says stop
REST_ROUNDS = 8  # before growing is tried again
SHRINK = 0.75  # on preemption
FULL_CACHE = 0.9  # share of the key-value cache from which the limit grows no more


class ConcurrencyLimit:
    """Samples in flight of one generator. All times are ``time.monotonic()`` seconds.

    Args:
        start: the first value of ``value``.
        ceiling: what it never exceeds.
    """

    def __init__(self, start: int, ceiling: int) -> None:
        self.ceiling = max(1, ceiling)
        self.value = min(max(start, FLOOR), self.ceiling)
        self._rest = 0  # rounds left without growing
        self._preemptions = 0
        self._cache_full = False
        self._rate: float | None = None  # tokens per second of the round before
        self._began: float | None = None  # of the round; None while nobody waits
        self._from = self.value  # the limit when the round began
        self._samples = self._tokens = 0

    def demand(self, waiting: bool, now: float) -> None:
        """Whether requests are held back for want of room. Only then a round says something about the limit."""
        if not waiting:
            self._began = None
        elif self._began is None:
            self._begin_round(now)

    def finished(self, samples: int, tokens: int, now: float) -> None:
        """A group came back complete."""
        if self._began is None:
            return
        self._samples += samples
        self._tokens += tokens
        if self._rest == 0 and not self._cache_full:
            self.value = min(self.value + samples, self.ceiling)
        if self._samples < self._from or now <= self._began:
            return
        rate = self._tokens / (now - self._began)
        if self._rest:
            self._rest -= 1
        elif self._rate is not None and rate < MIN_GAIN * self._rate:
            self.value, self._rest = self._from, REST_ROUNDS
        self._rate = rate
        self._begin_round(now)

    def engine(self, cache_usage: float, preemptions: int, load: int, now: float) -> None:
        """What the engine says of itself: share of the key-value cache in use, preemptions since its start, with ``load`` samples given to
        it. Preemptions while there are still more samples than an earlier shrinking allows are that one's, and shrink nothing."""
        self._cache_full = cache_usage >= FULL_CACHE
        new, self._preemptions = preemptions - self._preemptions, preemptions
        if new > 0 and load <= self.value:
            self.value = min(max(FLOOR, int(SHRINK * max(load, FLOOR))), self.ceiling)
            self._rest, self._rate = 2 * REST_ROUNDS, None
            if self._began is not None:
                self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._began, self._from, self._samples, self._tokens = now, self.value, 0, 0
