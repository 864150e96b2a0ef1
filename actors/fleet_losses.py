"""What a fleet can lose beside its members: the tokens of a group, and the hope that an answer can be scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.failures import ActorFailure, FailureKind
from actors.trajectory import GroupRequest


class TokensLost(ActorFailure):
    """The tokens of a group were lost on their way from the generator: generate it again."""


class RewardBug(ActorFailure):
    """Scoring failed in a way that is not one answer's: every answer's own failure is a verdict, so this stops the run."""

    kind = FailureKind.BUG


@contextmanager
def losing_tokens(request: GroupRequest) -> Iterator[None]:
    """What the block does with the tokens of ``request`` raises TokensLost when they are gone."""
    from ray.exceptions import ObjectLostError

    try:
        yield
    except ObjectLostError as error:
        raise TokensLost(f"the tokens of {request.uid} were lost with their node: {error}") from error
