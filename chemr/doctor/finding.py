"""What a check found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``detail`` says what was found, ``remedy`` what to do when it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """``ok``: whether all are in order; ``checks``: name, ok, detail and remedy of each, the remedy only where it is needed."""
    found = [asdict(check) | {"remedy": "" if check.ok else check.remedy} for check in checks]
    return {"ok": all(check.ok for check in checks), "checks": found}


def print_checks(checks: Sequence[Check], console: Console | None = None) -> None:
    """Print a table of the findings, with the remedy of each that is not in order."""
    console = console or Console()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(width=2)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        mark = Text("✓", style="green") if check.ok else Text("✗", style="bold red")
        table.add_row(mark, check.name, Text(check.detail))
        if not check.ok and check.remedy:
            table.add_row("", "", Text(f"→ {check.remedy}", style="yellow"))
    console.print(table)
    bad = [check.name for check in checks if not check.ok]
    console.print(f"{len(bad)} of {len(checks)} checks failed: {', '.join(bad)}" if bad else f"all {len(checks)} checks passed")
