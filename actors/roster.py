"""Members of one kind (generators, reward actors): lease one with room, replace the lost, let leavers finish, wait when too few serve."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic

from actors.clock import monotonic
from actors.concurrency import ConcurrencyLimit
from actors.failures import RETRIES, DeadlineExceededError, FailureKind, FleetTooSmallError, classify
from actors.pool_config import FleetTiming
from actors.quarantine import FailureHistory
from actors.seats import M, Place, Rooms, Seat, SeatState

log = logging.getLogger(__name__)

MOVE_SECONDS = 10.0  # before the next try elsewhere: a fault that is everywhere must not race through the cluster


@dataclass(slots=True, eq=False)
class _Waiter(Generic[M]):
    load: int
    avoid: int | None
    place: asyncio.Future[Place[M]]


class Roster(Generic[M]):
    """``bring_up(index, incarnation)`` returns a member that is ready to serve. Incarnations of an index never repeat.

    Consumes:      reports of lost members (``lose``) and of leavers (``drain``); the number wanted (``scale``).
    Waits for:     ``lease``: a serving member with room; a replacement: the end of a quarantine, resources, its actor coming up.
    Unblocked by:  leases that end; ``bring_up`` returning; the clock; a failure that is a bug, or too few members for ``fleet_wait_s``:
                   every later ``lease`` and ``check`` raises it.
    Produces:      leases on the least loaded member with room, in the order in which they were asked for.
    """

    def __init__(
        self,
        kind: str,
        size: int,
        bring_up: Callable[[int, int], Awaitable[M]],
        timing: FleetTiming,
        minimum: int = 1,
        rooms: Rooms | None = None,
        limit: Callable[[], ConcurrencyLimit | None] = lambda: None,
        one_at_a_time: bool = False,
    ) -> None:
        self.kind = kind
        self.minimum = min(minimum, size)
        self.restarts = self.quarantines = self.drains = 0
        self._bring_up, self._timing, self._rooms, self._limit = bring_up, timing, rooms, limit
        self._one_at_a_time = one_at_a_time
        self._incarnations: Counter[int] = Counter()
        self._seats = {index: self._new_seat(index) for index in range(size)}
        self._waiters: list[tuple[bool, int, _Waiter[M]]] = []  # heap: retries first, then in order
        self._numbers = itertools.count()
        self._busy_s = 0.0
        self._changed = asyncio.Event()
        self._started = False
        self._short_since: float | None = None
        self._last_call: asyncio.TimerHandle | None = None  # ends the run when the fleet stays too small
        self._fatal: BaseException | None = None
        self._closed = False

    async def start(self) -> None:
        """Bring all members up in parallel, and go on with those that came up once all attempts have ended: the seats of the others are
        filled in the background, as after a loss. With fewer than the minimum the first lease waits.

        Raises the first failure when it is a bug, or when nobody came up (then it is the configuration); what came up is kept for close.
        """
        seats = list(self._seats.values())
        outcomes = await asyncio.gather(*(self._bring_up(*self._next(seat)) for seat in seats), return_exceptions=True)
        failed: list[tuple[Seat[M], BaseException]] = []
        for seat, outcome in zip(seats, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failed.append((seat, outcome))
            else:
                self._serve(seat, outcome)
        bugs = [error for _, error in failed if classify(error) is not FailureKind.INFRASTRUCTURE]
        if failed and (bugs or len(failed) == len(seats)):
            raise bugs[0] if bugs else failed[0][1]
        self._started = True
        if failed:
            names = ", ".join(self.name(seat) for seat, _ in failed)
            log.warning(
                "the run starts with %d of %d %s actors; it tries to start the others (%s) in the background. The first failed with: %s",
                len(seats) - len(failed), len(seats), self.kind, names, failed[0][1],
            )  # fmt: skip
        for seat, _ in failed:
            seat.state = SeatState.lost
            self._run(seat, self._fill(seat, failures=1), f"start {self.name(seat)} again")
        self._update()

    # who is there

    @property
    def size(self) -> int:
        """Members wanted."""
        return sum(not seat.leaving for seat in self._seats.values())

    def seats(self) -> list[Seat[M]]:
        return list(self._seats.values())

    def serving(self) -> list[Place[M]]:
        """Those that are leased."""
        return [seat.place for seat in self._seats.values() if seat.place is not None and seat.place.serving]

    def supervised(self) -> list[Place[M]]:
        """Those whose health somebody should look at: the serving, and those that wait for weights."""
        behind = [seat.place for seat in self._seats.values() if seat.place is not None and seat.state is SeatState.behind]
        return self.serving() + behind

    def members(self) -> list[M]:
        return [seat.place.member for seat in self._seats.values() if seat.place is not None]

    def name(self, seat: Seat[M]) -> str:
        return f"{self.kind}-{seat.index}"

    def busy_seconds(self) -> float:
        """Seconds that members had work, averaged over the members wanted, since the start."""
        now = monotonic()
        places = [seat.place for seat in self._seats.values() if seat.place is not None]
        return (self._busy_s + sum(now - place.busy_since for place in places if place.load)) / max(1, self.size)

    def queued(self) -> int:
        """Leases that wait for room."""
        return sum(not waiter.place.done() for _, _, waiter in self._waiters)

    def waiting(self) -> str | None:
        """Why nothing is leased at the moment, for people; None while enough members serve."""
        if self._short_since is None:
            return None
        states = Counter(str(seat.state) for seat in self._seats.values())
        present = states.pop(SeatState.serving, 0)
        others = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        field = "pool.min_generators" if self.kind == "generator" else "pool.min_reward_workers"
        return (
            f"{present} of {self.size} {self.kind} actors serve and {field}={self.minimum} ({others or 'none in sight'}); it goes on by "
            f"itself when they are back, and ends {self._timing.fleet_wait_s:.0f} s after it began to wait"
        )

    def check(self) -> None:
        """Raises when a member could not be replaced, the fleet stayed too small for too long, or the roster is closed."""
        if (error := self._ended()) is not None:
            raise error

    # leases

    @asynccontextmanager
    async def lease(self, load: int, avoid: int | None = None, urgent: bool = False) -> AsyncIterator[Place[M]]:
        """Counts ``load`` on the least loaded place with room (another than ``avoid`` if one has room) while the block runs.

        Waits in the order of asking, ``urgent`` ones before all others, while no member has room or fewer than the minimum serve. Raises
        FleetTooSmallError when that lasts too long, or the failure that ended the roster.
        """
        place = await self._take(load, avoid, urgent)
        try:
            yield place
        finally:
            self._give_back(place, load)

    async def _take(self, load: int, avoid: int | None, urgent: bool) -> Place[M]:
        self.check()
        if not self.size or not self._started:
            raise RuntimeError(f"no {self.kind} can be leased: {'they have not been started' if self.size else 'this pool has none'}")
        waiter: _Waiter[M] = _Waiter(load, avoid, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, (not urgent, next(self._numbers), waiter))
        self._grant()
        try:
            return await waiter.place
        except asyncio.CancelledError:
            if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                self._give_back(waiter.place.result(), load)
            waiter.place.cancel()
            self._grant()
            raise

    def _give_back(self, place: Place[M], load: int) -> None:
        place.load -= load
        if place.load == 0:
            self._busy_s += monotonic() - place.busy_since
        self._update()

    def _grant(self) -> None:
        """Gives places to waiters, first come first served: one that finds no room holds up those behind it."""
        ended = self._ended()
        now, serving = monotonic(), self.serving()
        while self._waiters and (ended is not None or self._short_since is None):
            waiter = self._waiters[0][2]
            if not waiter.place.done():
                if ended is not None:
                    waiter.place.set_exception(self._ended() or ended)
                else:
                    free = [place for place in serving if place.has_room(waiter.load)]
                    if not free:
                        break
                    place = min(free, key=lambda place: (place.index == waiter.avoid, place.load, place.index))
                    if place.load == 0:
                        place.busy_since = now
                    place.load += waiter.load
                    waiter.place.set_result(place)
            heapq.heappop(self._waiters)
        held_back = bool(self._waiters) and self._short_since is None
        for place in serving:
            if place.limit is not None:
                place.limit.demand(held_back, now)

    @contextmanager
    def withdrawn(self, place: Place[M]) -> Iterator[M]:
        """Nobody leases, checks or loses the member while the block runs; it serves again afterwards, whatever happened, unless it was
        dismissed meanwhile."""
        place.serving = False
        try:
            yield place.member
        finally:
            seat = self._seats.get(place.index)
            place.serving = not self._closed and seat is not None and seat.place is place and not seat.leaving
            self._update()

    async def idle(self, place: Place[M], timeout_s: float) -> None:
        """Wait until nothing is leased on ``place``. Raises DeadlineExceededError."""
        try:
            async with asyncio.timeout(timeout_s):
                while place.load:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise DeadlineExceededError(f"{place.member.name} still had {place.load} samples in flight after {timeout_s:.0f} s") from error

    # coming and going

    def hold_back(self, place: Place[M], work: Callable[[], Awaitable[None]]) -> None:
        """Lease the member to nobody before ``work`` has given it what it lacks (the newest weights). What it has in flight goes on. When
        ``work`` fails, the member is lost; a failure that is a bug ends the roster."""
        if not place.serving or self._closed:
            return
        seat = self._seats[place.index]
        place.serving, seat.state = False, SeatState.behind

        async def catch_up() -> None:
            try:
                await work()
            except Exception as error:
                if classify(error) is not FailureKind.INFRASTRUCTURE:
                    raise
                self.lose(place, error)
            else:
                place.serving, seat.state = True, SeatState.serving
                self._update()

        self._run(seat, catch_up(), f"{place.member.name} catches up")

    def lose(self, place: Place[M], error: BaseException) -> None:
        """Report that the member at ``place`` failed. The first report of an incarnation kills it and starts its replacement."""
        seat, now = self._seats.get(place.index), monotonic()
        if self._closed or seat is None or not self._is_in_use(seat, place):
            return
        self._end_catching_up(seat)
        place.serving, seat.place, seat.state = False, None, SeatState.lost
        self.restarts += 1
        seat.restarts += 1
        log.warning("%s is replaced: %s", place.member.name, str(error).strip().splitlines()[-1:] or repr(error))
        place.member.kill()
        self._run(seat, self._fill(seat, seat.history.failed(now, now - place.since)), f"replace {place.member.name}")

    @staticmethod
    def _is_in_use(seat: Seat[M], place: Place[M]) -> bool:
        """Not one that drains, is changing its model, or was replaced before."""
        return seat.place is place and (place.serving or (seat.state is SeatState.behind and not seat.leaving))

    @staticmethod
    def _end_catching_up(seat: Seat[M]) -> None:
        if seat.state is SeatState.behind and seat.task is not None and seat.task is not asyncio.current_task():
            seat.task.cancel()

    def drain(self, place: Place[M], why: str) -> None:
        """Let the member finish what it has, for ``drain_s`` at most, then end it and fill its seat again."""
        seat = self._seats.get(place.index)
        if self._closed or seat is None or not self._is_in_use(seat, place):
            return
        log.warning("%s is drained: %s", place.member.name, why)
        self._end_catching_up(seat)
        place.serving = False  # from now on, not from when the task runs

        async def refill() -> None:
            await self._empty(seat, place)
            await self._fill(seat)

        self._run(seat, refill(), f"drain {place.member.name}")

    def scale(self, count: int) -> None:
        """Want ``count`` members. Newcomers come up on their own time; leavers (those not serving first, then the newest seats) drain.

        Raises ValueError when that is below the minimum.
        """
        if count < max(1, self.minimum):
            raise ValueError(f"{count} {self.kind} actors are fewer than the minimum of {max(1, self.minimum)}; a run could not go on")
        self.check()
        for _ in range(self.size - count):
            wanted = [seat for seat in self._seats.values() if not seat.leaving]
            self._dismiss(max(wanted, key=lambda seat: (seat.state is not SeatState.serving, seat.index)))
        for _ in range(count - self.size):
            index = next(number for number in itertools.count() if number not in self._seats)
            seat = self._seats[index] = self._new_seat(index)
            self._run(seat, self._fill(seat), f"add {self.name(seat)}")
        self._update()

    def _dismiss(self, seat: Seat[M]) -> None:
        seat.leaving = True
        before = seat.task
        if seat.place is not None:
            seat.place.serving = False

        async def leave() -> None:
            if before is not None:
                before.cancel()
                await asyncio.gather(before, return_exceptions=True)
            if seat.place is not None:
                await self._empty(seat, seat.place)
            if self._rooms is not None:
                self._rooms.release(self.name(seat))
            del self._seats[seat.index]
            self._update()

        self._run(seat, leave(), f"dismiss {self.name(seat)}")

    async def _empty(self, seat: Seat[M], place: Place[M]) -> None:
        self.drains += 1
        place.serving, seat.state = False, SeatState.draining
        self._update()
        try:
            await self.idle(place, self._timing.drain_s)
        except DeadlineExceededError as error:
            log.warning("%s; they are asked for elsewhere", error)
        await place.member.stop()
        seat.place = None

    async def _fill(self, seat: Seat[M], quarantine_s: float = 0.0, failures: int = 0) -> None:
        """Tries until a member serves in the seat. ``failures``: starts that have failed already.

        A failure that is a bug is raised, and ends the roster; everything else ends when the fleet stays too small.
        """
        if failures:
            quarantine_s = seat.history.failed(monotonic(), served_s=0.0)
            if not quarantine_s:
                await asyncio.sleep(RETRIES[FailureKind.INFRASTRUCTURE].delay_s(failures))
        while True:
            if quarantine_s:
                await self._quarantine(seat, quarantine_s, never_served=failures > 0)
            seat.state = SeatState.starting
            self._update()
            try:
                if self._rooms is not None:
                    await self._rooms.take(self.name(seat))
                member = await self._bring_up(*self._next(seat))
            except Exception as error:
                if classify(error) is not FailureKind.INFRASTRUCTURE:
                    raise
                failures += 1
                quarantine_s = seat.history.failed(monotonic(), served_s=0.0)
                seat.state = SeatState.lost
                log.warning("%s did not come up (try %d): %s", self.name(seat), failures, error)
                if not quarantine_s:
                    await asyncio.sleep(RETRIES[FailureKind.INFRASTRUCTURE].delay_s(failures))
            else:
                self._serve(seat, member)
                return

    async def _quarantine(self, seat: Seat[M], seconds: float, never_served: bool) -> None:
        """Where nobody comes up at all (a broken GPU), other resources are better than another try; without any the seat stays empty."""
        name = self.name(seat)
        if never_served and self._rooms is not None and await self._rooms.elsewhere(name):
            log.warning("%s did not come up where it was, again and again: it moves to other resources of the cluster", name)
            await asyncio.sleep(MOVE_SECONDS)
            return
        self.quarantines += 1
        seat.state = SeatState.quarantined
        self._update()
        serving = sum(other.state is SeatState.serving for other in self._seats.values())
        log.warning(
            "%s failed again and again, and nothing else is free for it: its seat stays empty for %.0f s; %d of %d %s actors serve",
            name, seconds, serving, self.size, self.kind,
        )  # fmt: skip
        await asyncio.sleep(seconds)

    def _serve(self, seat: Seat[M], member: M) -> None:
        now = monotonic()
        incarnation = self._incarnations[seat.index] - 1
        seat.place = Place(
            seat.index, incarnation, member, self._limit(), self._one_at_a_time, serving=True, since=now, heard=now
        )  # fmt: skip
        seat.state = SeatState.serving
        self._update()

    def _new_seat(self, index: int) -> Seat[M]:
        timing = self._timing
        return Seat(index, FailureHistory(timing.quarantine_after, timing.quarantine_window_s, timing.quarantine_s))

    def _next(self, seat: Seat[M]) -> tuple[int, int]:
        incarnation = self._incarnations[seat.index]
        self._incarnations[seat.index] += 1
        return seat.index, incarnation

    def _run(self, seat: Seat[M], work: Coroutine[Any, Any, None], name: str) -> None:
        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._end(error)

        seat.task = asyncio.create_task(work, name=name)
        seat.task.add_done_callback(done)
        self._update()

    # the minimum, and the end

    def _update(self) -> None:
        """Called after every change: below the minimum nothing is leased, and from the moment it is reached everything goes on."""
        self._changed.set()
        present = sum(seat.state is SeatState.serving for seat in self._seats.values())
        if self._started and not self._closed and self._fatal is None:
            if present < self.minimum and self._short_since is None:
                self._short_since = monotonic()
                self._last_call = asyncio.get_running_loop().call_later(self._timing.fleet_wait_s, self._give_up)
                log.warning("the run waits: %s", self.waiting())
            elif present >= self.minimum and self._short_since is not None:
                log.warning("the run goes on: %d %s actors serve again after %.0f s", present, self.kind, monotonic() - self._short_since)
                self._forget_wait()
        self._grant()

    def _give_up(self) -> None:
        self._end(FleetTooSmallError(f"waited {self._timing.fleet_wait_s:.0f} s (pool.timing.fleet_wait_s) in vain: {self.waiting()}"))

    def _forget_wait(self) -> None:
        self._short_since = None
        if self._last_call is not None:
            self._last_call.cancel()
            self._last_call = None

    def _end(self, error: BaseException) -> None:
        self._fatal = self._fatal or error
        self._update()

    def _ended(self) -> Exception | None:
        if isinstance(self._fatal, FleetTooSmallError):
            return FleetTooSmallError(str(self._fatal))
        if self._fatal is not None:
            error = RuntimeError(f"a {self.kind} could not be replaced: {self._fatal}")
            error.__cause__ = self._fatal
            return error
        return RuntimeError(f"the pool of {self.kind}s is closed") if self._closed else None

    async def close(self) -> None:
        """Fail whoever waits, cancel replacements and stop all members in parallel."""
        self._closed = True
        self._forget_wait()
        self._update()
        tasks = [seat.task for seat in self._seats.values() if seat.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(member.stop() for member in self.members()))
        self._seats.clear()
