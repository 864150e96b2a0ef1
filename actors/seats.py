"""What a roster is made of: seats, the members in them, and where newcomers find resources. No behaviour of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from actors.concurrency import ConcurrencyLimit
from actors.handles import Member
from actors.quarantine import FailureHistory

M = TypeVar("M", bound=Member)


class SeatState(StrEnum):
    """``starting`` includes waiting for the cluster to have room; ``behind`` is a member that could not get the newest weights yet and
    takes no groups until it has them; ``lost`` is the pause before the next try."""

    starting = "starting"
    serving = "serving"
    behind = "behind"
    draining = "draining"
    quarantined = "quarantined"
    lost = "lost"


class Rooms(Protocol):
    """Where actors that were not part of the pool from its start find their resources."""

    async def take(self, name: str) -> None:
        """Returns once the cluster holds what the actor of this name needs, however long that takes; at once for one that had it."""

    def release(self, name: str) -> None:
        """It will not come back."""

    async def elsewhere(self, name: str) -> bool:
        """Its members fail where it is: find it other resources. False when the cluster has none to spare now; then it keeps its own."""

    async def for_another_generator(self) -> bool:
        """Whether one more would find its resources now."""

    def require(self, kind: str, count: int) -> None:
        """Raises ValueError when the cluster can never hold ``count`` actors of this kind."""


@dataclass(slots=True, eq=False)
class Place(Generic[M]):
    """A member in its seat. A replaced member leaves its place for good; the newcomer gets a new one with the same index.

    ``one_at_a_time``: it does one thing after another. What it were given beside that would wait in the member's own queue, on the clock of
    a call, so it waits for the lease instead.
    """

    index: int
    incarnation: int
    member: M
    limit: ConcurrencyLimit | None = None
    one_at_a_time: bool = False
    load: int = 0
    serving: bool = False
    since: float = 0.0  # when it began to serve
    busy_since: float = 0.0  # meaningful while load > 0
    heard: float = 0.0  # when it was last known to answer

    def has_room(self, load: int) -> bool:
        """A group that is larger than the limit has room where nothing else is."""
        if self.load == 0:
            return True
        return not self.one_at_a_time and (self.limit is None or self.load + load <= self.limit.value)


@dataclass(slots=True, eq=False)
class Seat(Generic[M]):
    """What stays when members come and go."""

    index: int
    history: FailureHistory
    state: SeatState = SeatState.starting
    place: Place[M] | None = None
    task: asyncio.Task[None] | None = None  # that fills, drains or removes it
    restarts: int = 0
    leaving: bool = False  # it is given up once its member has drained
