"""What the tests of the documentation share: the pages, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md")

_FENCE = re.compile(r" *(`{3,})\s*([\w{}-]*)[^`]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced or indented block. ``language``: "" where none is said, "indented" behind four blanks; ``line``: where it begins."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").split("\n")
    number = 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        start = number + 1
        if fence is not None:
            number = start
            while number < len(lines) and lines[number].strip() != fence[1]:
                number += 1
            assert number < len(lines), f"{page.name}:{start}: a block is opened and never closed"
            found.append(Block(page.name, start + 1, fence[2], textwrap.dedent("\n".join(lines[start:number])) + "\n"))
        elif lines[number].startswith("    ") and not lines[number - 1].strip() and _is_code(lines, number):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            found.append(Block(page.name, start, "indented", textwrap.dedent("\n".join(lines[start - 1 : number])) + "\n"))
        number += 1
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"(?ms)^ *(`{3,})[^\n]*\n.*?^ *\1 *$", "", text)


def _is_code(lines: list[str], number: int) -> bool:
    """An indented block is code unless it goes on with an item of a list."""
    before = [line for line in lines[:number] if line.strip()]
    return not before or not (re.match(r"\s*([*-]|\d+\.)\s", before[-1]) or before[-1].startswith("  "))


def commands(text: str) -> list[str]:
    """What is typed in a console block (behind ``$``); a line that ends with a backslash or inside of quotes goes on in the next one."""
    typed: list[str] = []
    goes_on = False
    for line in re.sub(r"\\\n\s*", " ", text).split("\n"):
        if goes_on:
            typed[-1] += "\n" + line
        elif line.startswith("$ "):
            typed.append(line[2:].strip())
        else:
            continue
        goes_on = typed[-1].split(" #")[0].count("'") % 2 == 1
    return typed
