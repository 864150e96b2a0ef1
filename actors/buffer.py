"""The trajectory buffer: a fixed number of slots, given out in order within a window, so that staleness is bounded without dropping.

No Ray and no payload in here: an item is whatever the caller wants to find again (a ScoredGroup with references).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from actors.staleness import age_in_steps, max_age, slot_count, window_size

T = TypeVar("T")
R = TypeVar("R")


class BufferClosedError(RuntimeError):
    """The buffer was closed while, or before, somebody waited on it."""


class BufferStalledError(TimeoutError):
    """A wait on the buffer passed its deadline. The message says what every slot was doing."""


class StalenessError(AssertionError):
    """A group older than the proven bound was about to be trained on: a bug in whoever frees slots or stamps versions."""


class SlotState(Enum):
    """The life of a slot: GENERATING -> READY -> TAKEN -> (freed), or GENERATING/READY -> (released), or TAKEN -> READY (undone, given
    back), or READY -> LOST -> GENERATING (made again)."""

    GENERATING = auto()  # acquired: its group is being generated or scored
    READY = auto()  # completed: waits to be taken by a step
    LOST = auto()  # what it held is gone: waits to be acquired once more
    TAKEN = auto()  # being trained on, or trained on while the new weights are not yet pulled; READY again when the learner is lost


UNFINISHED = (SlotState.GENERATING, SlotState.LOST)


@dataclass(slots=True)
class _Slot(Generic[T]):
    seq: int
    state: SlotState = SlotState.GENERATING
    item: T | None = None
    oldest_version: int = 0
    overtaken: int = 0  # younger groups that were taken before this one


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A group handed to the learner. ``seq`` frees its slot later; ``age`` is in learner versions, at most the buffer's ``max_age``."""

    seq: int
    item: T
    age: int


class WindowedBuffer(Generic[T]):
    """B = (S+1)·P slots between the submission loop and the learner loop (both in one asyncio thread).

    Consumes:      completed groups (``complete``) and groups that left without training (``release``).
    Waits for:     ``acquire``: a slot not occupied by a group in generation, ready, or taken; ``take_step``: P ready groups of which
                   none would overtake an unfinished older group more than W-1 times.
    Unblocked by:  ``release`` and ``free`` (acquire); ``complete`` and ``release`` (take_step); ``close`` (both, with an error).
    Produces:      consecutive sequence numbers (those of lost groups once more), and steps of P groups in submission order whose age is at
                   most ``max_age``.

    State: an insertion-ordered map seq -> slot holds every occupied slot, so its order is submission order. Nothing else is needed:
    capacity is the map's length, the window is each unfinished slot's ``overtaken`` count. ``free`` must only be called once the weights
    that came out of the step have been pulled by every generator that serves: the proof in ``actors.staleness`` rests on it.

    A learner that is lost goes back to a checkpoint: ``undo`` then makes its groups available again, and the versions that no longer count
    are left out of every age (``actors.staleness`` says why the bound survives that).

    A group whose tokens are gone before they were trained on is made again in its own slot (``lose``): it keeps its place in the order and
    what of its window is used up, and its new tokens are of weights that are no older, so that the bound's proof holds as it stands.

    With S = 0 everything is independent of the order in which groups complete: the groups of a step are the first P that were not
    released, in submission order, and exactly those were submitted.
    """

    def __init__(self, groups_per_step: int, off_policy_steps: int, window_fraction: float = 0.5) -> None:
        self.groups_per_step = groups_per_step
        self.capacity = slot_count(groups_per_step, off_policy_steps)
        self.window = window_size(groups_per_step, off_policy_steps, window_fraction)
        self.max_age = max_age(groups_per_step, off_policy_steps, window_fraction)
        self.oldest_age_seen = 0
        # (after, up to): versions whose training was lost, and that of the restored weights; versions that were published once more
        self._undone: list[tuple[int, int]] = []
        self._slots: dict[int, _Slot[T]] = {}
        self._next_seq = 0
        self._changed = asyncio.Event()
        self._closed = False

    # submission side

    def try_acquire(self) -> int | None:
        """The number of a slot to fill: of the oldest whose group was lost, else the next in sequence; None while all are occupied."""
        self._check_open()
        for slot in self._slots.values():
            if slot.state is SlotState.LOST:
                slot.state = SlotState.GENERATING
                return slot.seq
        if len(self._slots) >= self.capacity:
            return None
        seq = self._next_seq
        self._next_seq += 1
        self._slots[seq] = _Slot(seq)
        return seq

    async def acquire(self, timeout_s: float | None = None) -> int:
        """Wait for a slot and return its sequence number (0, 1, 2, ..., or that of a lost group). Raises BufferStalledError,
        BufferClosedError."""
        return await self._until(self.try_acquire, timeout_s, "a free slot")

    def complete(self, seq: int, item: T, oldest_version: int) -> None:
        """Group ``seq`` is generated and scored; ``oldest_version`` is the oldest weight version among its tokens."""
        slot = self._slot(seq, SlotState.GENERATING)
        slot.state, slot.item, slot.oldest_version = SlotState.READY, item, oldest_version
        self._changed.set()

    def release(self, seq: int) -> None:
        """Group ``seq`` will not be trained on (trivial, failed): its slot is free at once."""
        slot = self._slot(seq, SlotState.GENERATING, SlotState.READY, SlotState.LOST)
        del self._slots[slot.seq]
        self._changed.set()

    def lose(self, seq: int) -> None:
        """What group ``seq`` held is gone: its slot is acquired next, to be filled again."""
        slot = self._slot(seq, SlotState.READY)
        slot.state, slot.item = SlotState.LOST, None
        self._changed.set()

    # learner side

    def try_take_step(self, learner_version: int) -> list[Taken[T]] | None:
        """P groups in submission order for the step that starts at ``learner_version``, or None while they are not there yet."""
        self._check_open()
        picked = self._pick()
        if picked is None:
            return None
        step = [self._take(slot, learner_version) for slot in picked]
        self._count_overtaking(step, 1)
        return step

    async def take_step(self, learner_version: int, timeout_s: float | None = None) -> list[Taken[T]]:
        """Wait for the next P groups. Raises BufferStalledError, BufferClosedError, StalenessError."""
        return await self._until(lambda: self.try_take_step(learner_version), timeout_s, f"{self.groups_per_step} groups to train on")

    def give_back(self, step: Sequence[Taken[T]]) -> None:
        """The newest step is not trained on after all: its groups are ready as before, and nobody was overtaken by them."""
        self._count_overtaking(step, -1)
        for taken in step:
            self._slot(taken.seq, SlotState.TAKEN).state = SlotState.READY
        self._changed.set()

    def free(self, step: Iterable[Taken[T]]) -> None:
        """Give the slots of a trained step back. Call it after every serving generator has pulled the weights this step produced."""
        for taken in step:
            del self._slots[self._slot(taken.seq, SlotState.TAKEN).seq]
        self._changed.set()

    def undo(self, kept_version: int, restored_version: int) -> list[T]:
        """The learner is back at the weights of ``kept_version``, published again as ``restored_version``.

        Every group that was taken for a step after ``kept_version`` and whose slot is not free yet becomes ready again; they are returned.
        """
        if restored_version <= kept_version:
            raise ValueError(
                f"the weights of version {kept_version} are restored as {restored_version}: a version names one set of weights"
            )
        self._undone.append((kept_version, restored_version))
        back = [slot for slot in self._slots.values() if slot.state is SlotState.TAKEN]
        for slot in back:
            slot.state = SlotState.READY
        self._changed.set()
        return [slot.item for slot in back if slot.item is not None]

    def republished(self, version: int) -> None:
        """``version`` is not a step's: it is published because the bytes of the one before were lost. No age counts it."""
        self._undone.append((version - 1, version))

    # everybody

    def counts(self) -> dict[str, int]:
        """Occupied slots by state, in lower case (``lost`` only where there are any), and ``free``."""
        by_state = Counter(slot.state for slot in self._slots.values())
        named = {state.name.lower(): by_state[state] for state in SlotState if by_state[state] or state is not SlotState.LOST}
        return named | {"free": self.capacity - len(self._slots)}

    def close(self) -> None:
        """Wake everybody who waits with BufferClosedError. Slots still occupied are the caller's to account for."""
        self._closed = True
        self._changed.set()

    def _pick(self) -> list[_Slot[T]] | None:
        picked: list[_Slot[T]] = []
        unfinished = False
        overtakes_left = self.capacity  # how many more groups may pass all unfinished ones that are older
        for slot in self._slots.values():
            if slot.state is SlotState.TAKEN:
                continue
            if slot.state in UNFINISHED:
                # Not always the oldest one has been overtaken most: a lost group begins anew.
                overtakes_left, unfinished = min(overtakes_left, self.window - 1 - slot.overtaken), True
                continue
            if unfinished:
                if overtakes_left == 0:
                    return None
                overtakes_left -= 1
            picked.append(slot)
            if len(picked) == self.groups_per_step:
                return picked
        return None

    def _count_overtaking(self, step: Sequence[Taken[T]], times: int) -> None:
        for slot in self._slots.values():
            if slot.seq >= step[-1].seq:
                break
            if slot.state in UNFINISHED:
                slot.overtaken += times * sum(taken.seq > slot.seq for taken in step)

    def _take(self, slot: _Slot[T], learner_version: int) -> Taken[T]:
        age = age_in_steps(slot.oldest_version, learner_version, self._undone)
        if age > self.max_age:
            raise StalenessError(
                f"group {slot.seq} is {age} versions old (learner {learner_version}, oldest token {slot.oldest_version}) but at most "
                f"{self.max_age} are possible with {self.capacity} slots, window {self.window}, {self.groups_per_step} groups per step: "
                "were slots freed before the new weights had been pulled everywhere?"
            )
        self.oldest_age_seen = max(self.oldest_age_seen, age)
        item = slot.item
        assert item is not None, f"slot {slot.seq} is READY without an item"
        slot.state = SlotState.TAKEN
        return Taken(slot.seq, item, age)

    def _slot(self, seq: int, *allowed: SlotState) -> _Slot[T]:
        slot = self._slots.get(seq)
        if slot is None or slot.state not in allowed:
            found = "not occupied" if slot is None else slot.state.name
            wanted = " or ".join(state.name for state in allowed)
            raise RuntimeError(f"slot {seq} is {found}, expected {wanted}: a group was completed, released or freed twice")
        return slot

    def _check_open(self) -> None:
        if self._closed:
            raise BufferClosedError("the trajectory buffer is closed: the stage is ending")

    async def _until(self, attempt: Callable[[], R | None], timeout_s: float | None, what: str) -> R:
        try:
            async with asyncio.timeout(timeout_s):
                while (result := attempt()) is None:
                    self._changed.clear()  # no await between the attempt and the wait: a change cannot slip through
                    await self._changed.wait()
        except TimeoutError:
            raise BufferStalledError(f"waited {timeout_s:.0f} s for {what}; {self._describe()}") from None
        return result

    def _describe(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.counts().items())
        oldest = next((slot.seq for slot in self._slots.values() if slot.state in UNFINISHED), None)
        return f"slots: {counts}; oldest unfinished group: {oldest}; window {self.window}"
