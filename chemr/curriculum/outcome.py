"""What travels between the GRPO stage and the samplers: outcomes of groups one way, what a person should know the other way."""

from __future__ import annotations

from typing import NamedTuple

REPLAYED = "@replay"  # ends the prompt's part of a submission's name when the prompt was drawn because of its earlier groups


class Outcome(NamedTuple):
    """What the samplers are told of a group.

    Attributes:
        uid: of the submission, ``<prompt>#<n>`` or ``<prompt>@replay#<n>``, n the number of submissions before it.
        success: mean reward.
        abs_advantage: mean |advantage|; 0 for a group that is not trained on.
        oldest_version: of the weights that wrote any of its tokens.
        trivial: whether all rewards were equal; None when too few are known to say. Checkpoints from before it was told lack it.
    """

    uid: str
    task: str
    success: float
    abs_advantage: float
    oldest_version: int
    trivial: bool | None = None

    @property
    def number(self) -> int:
        """How many prompts were submitted before this one: outcomes are told in this order."""
        return int(self.uid.rpartition("#")[2])

    @property
    def prompt(self) -> str:
        """The uid of the example that was asked."""
        return prompt_of(self.uid)

    @property
    def replayed(self) -> bool:
        return self.uid.rpartition("#")[0].endswith(REPLAYED)


class Notice(NamedTuple):
    """Something that a person should know. ``kind``: unlocked, stall, regression, oscillation, replay."""

    task: str
    kind: str
    text: str


def prompt_of(submission: str) -> str:
    """The uid of the example that a submission asks."""
    return submission.rpartition("#")[0].removesuffix(REPLAYED)
