"""The known name that a misspelt one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar of ``known``; None when none is as similar as ``cutoff`` in [0, 1] (difflib's ratio)."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message: ``; did you mean 'X'?`` for the nearest known name, or nothing."""
    near = nearest_name(name, known, cutoff)
    return f"; did you mean {near!r}?" if near is not None else ""
