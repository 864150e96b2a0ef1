"""What stops mining with a message for the person who started it."""

from __future__ import annotations

from chemr.run_stopped import RunStopped


class MiningInputError(ValueError):
    """A file, a folder or a setting that cannot be used: which, what was found, what was expected."""


class TeacherStopped(RunStopped):
    """The teacher cannot go on (no money, no access, no answers). What it has answered is kept; the same command continues."""
