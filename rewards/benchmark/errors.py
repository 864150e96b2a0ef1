"""What can go wrong before a figure exists."""

from __future__ import annotations


class BenchmarkInputError(ValueError):
    """Rows, predictions or settings that cannot be evaluated; the message says which and why."""


class BenchmarkChildError(RuntimeError):
    """The evaluating child process cannot be started or kept alive; an installation's fault, not a prediction's."""
