"""Members of one kind (generators, reward actors): choose the least loaded, replace the dead, wait when none serves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from actors.failures import RETRIES, DeadlineExceededError, FailureKind, classify
from actors.handles import Member

M = TypeVar("M", bound=Member)
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Place(Generic[M]):
    """One seat of the roster. A replaced member leaves its place for good; the newcomer gets a new one with the same index."""

    index: int
    incarnation: int
    member: M
    load: int = 0
    serving: bool = False
    busy_since: float = 0.0  # meaningful while load > 0


class Roster(Generic[M]):
    """``bring_up(index, incarnation)`` returns a member that is ready to serve; it is tried 5 times, with back-off, for a lost one.

    Consumes:      reports of lost members (``lose``).
    Waits for:     ``lease``: a serving member; a replacement: its actor coming up.
    Unblocked by:  ``bring_up`` returning; its last failure, which every later ``lease`` and ``check`` raises.
    Produces:      leases on the least loaded member.
    """

    def __init__(self, kind: str, size: int, bring_up: Callable[[int, int], Awaitable[M]]) -> None:
        self.kind = kind
        self.size = size
        self.restarts = 0
        self._busy_s = 0.0
        self._bring_up = bring_up
        self._places: dict[int, Place[M]] = {}
        self._replacing: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._fatal: BaseException | None = None
        self._closed = False

    async def start(self) -> None:
        """Bring all members up in parallel. The first failure is raised once all attempts have ended, with what came up kept for close."""
        outcomes = await asyncio.gather(*(self._bring_up(index, 0) for index in range(self.size)), return_exceptions=True)
        for index, outcome in enumerate(outcomes):
            if not isinstance(outcome, BaseException):
                self._serve(Place(index, 0, outcome))
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def serving(self) -> list[Place[M]]:
        return [place for place in self._places.values() if place.serving]

    def members(self) -> list[M]:
        return [place.member for place in self._places.values()]

    @contextmanager
    def leased(self, place: Place[M], load: int) -> Iterator[M]:
        """Counts ``load`` on the place while the block runs."""
        if place.load == 0:
            place.busy_since = time.monotonic()
        place.load += load
        try:
            yield place.member
        finally:
            place.load -= load
            if place.load == 0:
                self._busy_s += time.monotonic() - place.busy_since
            self._changed.set()

    def busy_seconds(self) -> float:
        """Seconds that members had work, averaged over the roster's size, since the start."""
        now = time.monotonic()
        running = sum(now - place.busy_since for place in self._places.values() if place.load)
        return (self._busy_s + running) / max(1, self.size)

    async def pick(self, timeout_s: float, avoid: int | None = None) -> Place[M]:
        """The least loaded serving place (the lowest index of equals), another than ``avoid`` if there is one.

        Raises DeadlineExceededError when none serves in time, or the failure that ended the last attempt to replace one.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self.check()
                    candidates = self.serving()
                    if candidates:
                        return min(candidates, key=lambda place: (place.index == avoid, place.load, place.index))
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise DeadlineExceededError(f"no {self.kind} of {self.size} served within {timeout_s:.0f} s") from error

    @contextmanager
    def withdrawn(self, place: Place[M]) -> Iterator[M]:
        """Nobody picks, checks or loses the member while the block runs; it serves again afterwards, whatever happened."""
        place.serving = False
        try:
            yield place.member
        finally:
            place.serving = not self._closed
            self._changed.set()

    async def idle(self, place: Place[M], timeout_s: float) -> None:
        """Wait until nothing is leased on ``place``. Raises DeadlineExceededError."""
        try:
            async with asyncio.timeout(timeout_s):
                while place.load:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise DeadlineExceededError(f"{place.member.name} still had {place.load} samples in flight after {timeout_s:.0f} s") from error

    def lose(self, place: Place[M], error: BaseException) -> None:
        """Report that the member at ``place`` failed. The first report of an incarnation kills it and starts its replacement."""
        if not place.serving or self._closed:
            return
        place.serving = False
        self.restarts += 1
        log.warning("%s is replaced: %s", place.member.name, str(error).strip().splitlines()[-1:] or repr(error))
        place.member.kill()
        self._replacing[place.index] = asyncio.create_task(self._replace(place), name=f"replace {place.member.name}")

    def check(self) -> None:
        """Raises when a member could not be replaced, or the roster is closed."""
        if self._fatal is not None:
            raise RuntimeError(f"a {self.kind} could not be replaced: {self._fatal}") from self._fatal
        if self._closed:
            raise RuntimeError(f"the pool of {self.kind}s is closed")

    async def close(self) -> None:
        """Cancel replacements and stop all members in parallel."""
        self._closed = True
        self._changed.set()
        for task in self._replacing.values():
            task.cancel()
        await asyncio.gather(*self._replacing.values(), return_exceptions=True)
        await asyncio.gather(*(place.member.stop() for place in self._places.values()))
        self._places.clear()

    def _serve(self, place: Place[M]) -> None:
        place.serving = True
        self._places[place.index] = place
        self._changed.set()

    async def _replace(self, lost: Place[M]) -> None:
        policy = RETRIES[FailureKind.INFRASTRUCTURE]
        for failures in range(1, policy.tries + 1):
            incarnation = lost.incarnation + failures
            try:
                member = await self._bring_up(lost.index, incarnation)
            except Exception as error:  # noqa: BLE001  # sorted by classify below: a bug ends the roster, nothing is swallowed
                if failures == policy.tries or classify(error) is not FailureKind.INFRASTRUCTURE:
                    self._fatal = error
                    self._changed.set()
                    return
                log.warning("%s-%d did not come up (try %d): %s", self.kind, lost.index, failures, error)
                await asyncio.sleep(policy.delay_s(failures))
            else:
                self._serve(Place(lost.index, incarnation, member))
                return
