"""Reasons of the run's own to stop: not a bug, not a lost machine, but something that its owner has to decide about."""

from __future__ import annotations


class RunStopped(RuntimeError):
    """The message says what was found and what to do; the command line prints it as one line and ends with status 1."""
