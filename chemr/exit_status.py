"""What a command ends with, and what it ends with that was typed wrong."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1  # the command was understood, and did not succeed
EXIT_USAGE = 2  # what was typed, or the configuration, cannot be
EXIT_AGAIN = 75  # the process was told to go, not the run to end: start it again (EX_TEMPFAIL of sysexits.h)


class UsageError(ValueError):
    """Arguments that cannot be, or do not go together; the message says what is expected or what to change."""
