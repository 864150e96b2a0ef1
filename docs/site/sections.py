"""The sections of docs/index.md, read from it, so that one list serves the git host, the site's navigation and the tests.

A section is a heading of the second level with links below it. A page that no section names is in the site all the same, in the last group.
"""

from __future__ import annotations

import re
from pathlib import Path

OTHERS = "More pages"
_LINK = re.compile(r"\]\(([\w-]+)\.md\)")


def sections(index: str) -> dict[str, list[str]]:
    """Page names by section, in the order of the index."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in index.split("\n"):
        if line.startswith("## "):
            current = found.setdefault(line[3:].strip(), [])
        elif current is not None:
            current += [name for name in _LINK.findall(line) if name not in current]
    return {title: names for title, names in found.items() if names}


def navigation(index: str, pages: list[str]) -> dict[str, list[str]]:
    """The sections, and behind them what none of them names. ``pages``: all but the index."""
    named = sections(index)
    others = sorted(set(pages) - {name for names in named.values() for name in names})
    return named | ({OTHERS: others} if others else {})


def with_navigation(index: str, folder: Path) -> str:
    """The text of the index with a hidden table of contents for each section, and visible links to pages that it does not name."""
    pages = [path.stem for path in sorted(folder.glob("*.md")) if path.stem != "index"]
    parts = [index]
    for title, names in navigation(index, pages).items():
        hidden = [] if title == OTHERS else [":hidden:"]
        heading = [f"## {title}", ""] if title == OTHERS else []
        parts.append("\n".join([*heading, "```{toctree}", f":caption: {title}", *hidden, "", *names, "```"]))
    return "\n\n".join(parts) + "\n"
