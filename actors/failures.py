"""What to do when something fails, and how long to wait before calling it a failure (DESIGN §3.7).

Three kinds: *infrastructure* (a process, node or network died or hung: try elsewhere, 5 tries, back-off), *data* (this prompt cannot
be worked on: 2 tries, then drop it with a reason) and *bug* (anything unexpected: stop the run loudly).
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from actors.failure_signs import FailureKind as FailureKind
from actors.failure_signs import class_names, is_mute, judge, kinds_told

T = TypeVar("T")


class ActorFailure(RuntimeError):
    """Base of the failures this package raises on purpose; ``kind`` says how they are treated."""

    kind: ClassVar[FailureKind] = FailureKind.INFRASTRUCTURE


class DeadlineExceededError(ActorFailure):
    """Something did not answer in time."""


class WorkerLostError(ActorFailure):
    """An actor or one of its processes is gone."""


class LearnerLost(ActorFailure):
    """The learner group cannot go on: a rank died or hung. Rebuild it with ``LearnerGroup.restart(checkpoint_dir)``."""


class GroupsLost(ActorFailure):
    """The tokens of groups that were to be trained on are gone, with the node that held them; nothing was trained, and the learner is well.

    ``indices``: of these groups in the step, ascending.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__(f"the tokens of {len(indices)} finished groups were lost with their node")
        self.indices = tuple(indices)


class FleetTooSmallError(ActorFailure):
    """Fewer members than the minimum served for longer than the run is willing to wait: it ends."""

    kind: ClassVar[FailureKind] = FailureKind.BUG


class EnginesDisagreeError(ActorFailure):
    """Engines do not compute what the learner computes, whichever runs: the run ends, since replacing them would go on for ever."""

    kind: ClassVar[FailureKind] = FailureKind.BUG


class GroupDropped(ActorFailure):
    """A group was given up after its tries; ``reason`` is the ledger's drop reason (``straggler``, ``data``, ``infrastructure``)."""

    kind: ClassVar[FailureKind] = FailureKind.DATA

    def __init__(self, uid: str, reason: str, detail: str) -> None:
        super().__init__(f"group {uid} dropped ({reason}): {detail}")
        self.uid = uid
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``tries`` in all; before try n+1 wait ``backoff_s * 2**(n-1)``, at most ``backoff_max_s``."""

    tries: int
    backoff_s: float
    backoff_max_s: float = 10.0

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th failure (1, 2, ...)."""
        return min(self.backoff_s * 2.0 ** (failures - 1), self.backoff_max_s)


RETRIES = {
    FailureKind.INFRASTRUCTURE: RetryPolicy(tries=5, backoff_s=0.25),
    FailureKind.DATA: RetryPolicy(tries=2, backoff_s=0.0),
    FailureKind.BUG: RetryPolicy(tries=1, backoff_s=0.0),
}


def classify(error: BaseException) -> FailureKind:
    """The kind of a failure, seen through Ray's wrapping of an exception raised inside an actor.

    Exceptions of this package say it themselves (``kind``). Others are judged by class, errno and text (:mod:`actors.failure_signs`), and
    where these say nothing, or blame a value, by what they were raised from. A group is as bad as its worst: one bug in it is a bug. What
    nothing is known of is a bug.
    """
    return _kind(error, ()) or FailureKind.BUG


def _kind(error: BaseException, seen: tuple[BaseException, ...]) -> FailureKind | None:
    """None: nothing is known of it."""
    if any(error is one for one in seen):  # a chain of causes that bites its tail
        return None
    seen = (*seen, error)
    if isinstance(error, BaseExceptionGroup):
        kinds = {_kind(member, seen) or FailureKind.BUG for member in error.exceptions}
        return next(kind for kind in (FailureKind.BUG, FailureKind.INFRASTRUCTURE, FailureKind.DATA) if kind in kinds)
    names = class_names(type(error))
    wrapped = getattr(error, "cause", None)  # of a RayTaskError: what the actor raised
    if "ray.RayTaskError" in names and isinstance(wrapped, BaseException):
        # Ray pickles the exception without its __cause__ and __context__: only the text of its traceback has them still.
        found = _kind(wrapped, seen)
        return found if _declared(wrapped) else _with_causes(found, kinds_told(str(error), class_names(type(wrapped))))
    if (declared := _declared(error)) is not None:
        return declared
    if isinstance(error, subprocess.CalledProcessError) and not 0 <= error.returncode <= 128:  # a signal ended it, perhaps out of memory
        return FailureKind.INFRASTRUCTURE
    text = " ".join(part for part in error.args if isinstance(part, str))
    found = judge(names, text, error.errno if isinstance(error, OSError) else None)
    cause = error.__cause__ or (error.__context__ if is_mute(names) and not error.__suppress_context__ else None)
    return _with_causes(found, () if cause is None else (_kind(cause, seen),))


def _declared(error: BaseException) -> FailureKind | None:
    kind = getattr(error, "kind", None)
    return kind if isinstance(kind, FailureKind) else None


def _with_causes(found: FailureKind | None, causes: Iterable[FailureKind | None]) -> FailureKind | None:
    """A ValueError about what could not be read is the disk's fault, and no value's; an error of which nothing is known is its cause's."""
    if found not in (None, FailureKind.DATA):
        return found
    told = next((kind for kind in causes if kind is not None), None)
    return told if found is None or told is FailureKind.INFRASTRUCTURE else found


def cause_of(error: BaseException) -> BaseException:
    """What an actor raised, out of Ray's wrapping, whose text quotes a traceback."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


async def await_ref(ref: Awaitable[T], timeout_s: float, what: str) -> T:
    """Await an object reference (or any awaitable) for at most ``timeout_s`` seconds.

    Raises DeadlineExceededError naming ``what``; otherwise whatever the remote call raised.
    """
    try:
        async with asyncio.timeout(timeout_s) as scope:
            return await ref
    except TimeoutError as error:
        if not scope.expired():
            raise  # a time-out of the remote code, not ours
        raise DeadlineExceededError(f"{what} did not answer within {timeout_s:.1f} s") from error


class StragglerDeadline:
    """A deadline for a group: ``multiple`` times the p99 of recent group durations, between ``floor_s`` and ``ceiling_s``.

    Until ``minimum`` durations are known it is ``ceiling_s``. O(window) per recorded group at most once per ``window // 16`` records.
    """

    def __init__(self, multiple: float, floor_s: float, ceiling_s: float, window: int = 512, minimum: int = 16) -> None:
        if multiple <= 1.0:
            raise ValueError(f"straggler_multiple is {multiple}: it multiplies the p99 of group durations, so it must be above 1")
        if not 0.0 < floor_s <= ceiling_s:
            raise ValueError(f"straggler_floor_s is {floor_s} and the ceiling {ceiling_s}: expected 0 < floor <= ceiling")
        self._multiple, self._floor_s, self._ceiling_s, self._minimum = multiple, floor_s, ceiling_s, minimum
        self._durations: deque[float] = deque(maxlen=window)
        self._every = max(1, window // 16)
        self._recorded = 0
        self._p99 = 0.0

    def record(self, seconds: float) -> None:
        self._durations.append(seconds)
        self._recorded += 1
        if self._recorded % self._every == 0 or self._recorded <= self._minimum:
            ranked = sorted(self._durations)
            self._p99 = ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]

    def seconds(self) -> float:
        """The deadline for a group submitted now."""
        if self._recorded < self._minimum:
            return self._ceiling_s
        return min(max(self._multiple * self._p99, self._floor_s), self._ceiling_s)
