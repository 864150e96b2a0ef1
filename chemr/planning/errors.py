"""What a plan can fail with."""

from __future__ import annotations


class PlanError(ValueError):
    """A plan that cannot be made; the message names the argument or file, what was found, what was expected and the remedy."""
