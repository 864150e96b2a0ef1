"""What a plan can fail with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PlanError(ValueError):
    """A plan that cannot be made; the message names the argument or file, what was found, what was expected and the remedy."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean X? `` for the known name that is nearest, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""
