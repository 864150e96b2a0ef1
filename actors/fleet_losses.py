"""What a fleet can lose beside its members: the tokens of a group, the end of an answer, and the hope that one can be scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from actors.clock import monotonic
from actors.failures import RETRIES, ActorFailure, DeadlineExceededError, FailureKind
from actors.trajectory import GroupMeta, GroupRequest
from rewards.verdict import Reason, Verdict


class TokensLost(ActorFailure):
    """The tokens of a group were lost on their way from the generator: generate it again."""


class TransferLate(ActorFailure):
    """What a worker was to work on did not reach it in time. Nobody failed: the call is made again, and costs nobody their life."""


class RewardBug(ActorFailure):
    """Scoring failed in a way that is not one answer's: every answer's own failure is a verdict, so this stops the run."""

    kind = FailureKind.BUG


def out_of_reach(error: BaseException) -> bool:
    """Whether the error says only that a member did not answer (too busy, a network that is down for a moment), not that it failed. Who
    stays silent is found by the health checks, who has failed says so."""
    from ray.exceptions import ActorUnavailableError

    return isinstance(error, DeadlineExceededError | TransferLate | ActorUnavailableError)


class Outage:
    """Of one piece of work: members that it was given to cannot be reached.

    A network that is cut fails every call at once, so that all tries would be used up in seconds. For ``patience_s`` seconds they are not
    counted: by then the cut has ended, or the health checks have replaced who was silent for so long.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self._tries = 0

    def pause_s(self, error: BaseException) -> float | None:
        """Seconds to wait before the next try, which costs none. None: the error is a failure that counts."""
        from ray.exceptions import ActorUnavailableError

        if not isinstance(error, ActorUnavailableError):
            return None
        now = monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._patience_s:
            return None
        self._tries += 1
        return RETRIES[FailureKind.INFRASTRUCTURE].delay_s(self._tries)


def is_lost(error: BaseException) -> bool:
    """Whether the object store has lost an object for good: its node or its owner died. A fetch that took too long is no loss."""
    from ray.exceptions import ObjectFetchTimedOutError, ObjectLostError

    return isinstance(error, ObjectLostError) and not isinstance(error, ObjectFetchTimedOutError)


@contextmanager
def losing_tokens(request: GroupRequest) -> Iterator[None]:
    """What the block does with the tokens of ``request`` raises TokensLost when they are gone."""
    from ray.exceptions import ObjectLostError

    try:
        yield
    except ObjectLostError as error:
        raise TokensLost(f"the tokens of {request.uid} were lost with their node: {error}") from error


def unknown_where_cut(verdicts: Sequence[Verdict], meta: GroupMeta) -> list[Verdict]:
    """The verdicts, but of a sample that the rollout deadline cut nobody knows what its whole answer would have been worth: a failure, and
    not 0."""
    cut = set(meta.cut_samples)
    return [Verdict(None, Reason.CUT, seconds=verdict.seconds) if n in cut else verdict for n, verdict in enumerate(verdicts)]
