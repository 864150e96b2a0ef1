"""Spans of time as a person says them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """``3 d 4 h``, ``1 h 5 min``, ``12 min 51 s``."""
    left = round(seconds)
    days, left = divmod(left, 86_400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
