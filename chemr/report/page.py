"""The page: one HTML file with its style, its script and its data in it. Nothing is fetched, and its policy forbids to."""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from chemr.report.charts import curriculum, histograms, learning_curves, lines, reasons, timeline
from chemr.report.gallery import gallery
from chemr.report.overview import run_entry, task_table
from chemr.report.run_data import RunData

# What pages are made of: scripts in this order, in one closed scope.
SCRIPTS = ("dom.js", "plots.js", "heatmaps.js", "molecules.js", "gallery.js", "page.js")
LIVE = (*SCRIPTS, "live.js")  # of a local server only: it asks for news
WAITING = ("dom.js", "waiting.js", "live.js")
ASSETS = files("chemr.report") / "assets"


def page(runs: Sequence[RunData], samples: int) -> bytes:
    """The whole file, UTF-8. ``samples``: at most so many answers are in its gallery."""
    return render(report_data(runs, samples))


def report_data(runs: Sequence[RunData], samples: int) -> dict[str, Any]:
    """Everything the page shows, as JSON-like data."""
    return {
        "made": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "version": _version(),
        "runs": [run_entry(run) | {"name": name} for run, name in zip(runs, _names(runs), strict=True)],
        "table": task_table(runs),
        "curves": learning_curves(runs),
        "lines": lines(runs),
        "curriculum": curriculum(runs),
        "reasons": reasons(runs),
        "timeline": timeline(runs),
        "histograms": histograms(runs),
        "gallery": gallery(runs, samples),
    }


def render(data: Mapping[str, Any], scripts: Sequence[str] = SCRIPTS, title: str | None = None) -> bytes:
    """The template with style, script and data put in. A file fetches nothing; a page with ``data["live"]`` may ask its own server."""
    style = "\n".join(_asset(name) for name in ("page.css", *(("live.css",) if "live" in data else ())))
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in scripts) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if "live" in data else "")
    )
    title = title or "chemr report: " + ", ".join(run["name"] for run in data["runs"])
    content = _asset("template.html")
    # One after another, from the page's own parts to foreign text, so that no text is searched for a later mark.
    for mark, text in (("POLICY", policy), ("STYLE", style), ("SCRIPT", script), ("TITLE", html.escape(title))):
        content = content.replace(f"<!--{mark}-->", text, 1)
    before, after = content.split("<!--DATA-->")
    return (before + json_for_html(data) + after).encode("utf-8", errors="backslashreplace")


def json_for_html(data: Any) -> str:
    r"""JSON that a script element can hold: ``<``, ``>`` and ``&`` are written as ``\u003c`` and so on, so no text can end the element.

    Lone surrogates stay in the text, for an encoder that writes them as ``\udXXX``, which JSON reads.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(text: str) -> str:
    """What a content security policy calls an inline element by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _version() -> str:
    try:
        return version("chemr")
    except PackageNotFoundError:
        return "unknown"


def _names(runs: Sequence[RunData]) -> list[str]:
    """What the runs are called on the page: by folder where two have one name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.directory) for run in runs]
