"""The few shapes that the pictures are made of: SVG that stands alone (no scripts, no fonts or files from elsewhere)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, FAINT, GRID, PAPER = "#1F2933", "#667380", "#E3E8ED", "#FFFFFF"
FONT = "font-family='Helvetica,Arial,sans-serif'"


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A picture with its own background, so that it reads the same on light and dark pages."""
    size = f"viewBox='0 0 {width:g} {height:g}' width='{width:g}' height='{height:g}'"
    head = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' {FONT}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{width:g}' height='{height:g}' rx='8' fill='{PAPER}'/>",
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def nice(step: float) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that is at least ``step``."""
    magnitude = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(factor * magnitude for factor in (1.0, 2.0, 5.0, 10.0) if factor * magnitude >= step * (1 - 1e-9))


def rect(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1.0) -> str:
    return f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{fill}' fill-opacity='{opacity:g}'/>"


def dot(x: float, y: float, radius: float, fill: str) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:g}' fill='{fill}'/>"


def stroke(places: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width:g}' stroke-linejoin='round'/>"


def label(x: float, y: float, text: str, *, size: int, colour: str = INK, weight: str = "normal", anchor: str = "start") -> str:
    look = f"font-size='{size}' fill='{colour}' font-weight='{weight}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {look}>{escape(text)}</text>"
