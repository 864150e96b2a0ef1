"""The tutorials work as written: their edits are applied to a clean copy of the repository, and their programs and commands run there.

A block of code whose first line reads ``# FILE, new`` is a file to be made; ``# FILE, below MARK`` stands above lines that go below the one
line of FILE that holds MARK (a ``$`` at its end: that ends with it). A block may hold several edits. Other Python blocks are run, and so is
every line of a console block.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown_blocks import ROOT, Block, blocks, commands

TUTORIALS = sorted((ROOT / "docs").glob("add-a-*.md"))
LONGEST = 60  # lines
LOADS = """import sys
from omegaconf import OmegaConf
from chemr.config import ChemrConfig
OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ChemrConfig), OmegaConf.create(sys.argv[1])))
"""
_EDIT = re.compile(r"# (?P<file>[\w./-]+), (?:below (?P<mark>.+)|new)")


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture
def checkout(tracked: list[str], tmp_path: Path) -> Path:
    """A copy of what is in the repository, with commands ``chemr`` and ``python`` that use it."""
    folder = tmp_path / "checkout"
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    commands_folder = tmp_path / "bin"
    commands_folder.mkdir()
    for name, module in (("chemr", "-m chemr.cli"), ("python", "")):
        (commands_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        (commands_folder / name).chmod(0o755)
    return folder


def edits(block: Block) -> list[tuple[str, str | None, list[str]]]:
    """File, mark (None: a new file) and lines of every edit of a block; empty when it is no edit."""
    found: list[tuple[str, str | None, list[str]]] = []
    for line in block.text.rstrip("\n").split("\n"):
        match = _EDIT.fullmatch(line)
        if match is not None:
            found.append((match["file"], match["mark"], []))
        elif found:
            found[-1][2].append(line)
    return found if _EDIT.match(block.text) else []


def apply(checkout: Path, block: Block) -> None:
    for name, mark, lines in edits(block):
        path = checkout / name
        if mark is None:
            assert not path.exists(), f"{block.where}: {name} is there already, so it is not new"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            continue
        assert path.is_file(), f"{block.where}: there is no file {name}"
        before = path.read_text(encoding="utf-8").split("\n")
        found = [number for number, line in enumerate(before) if (line.endswith(mark[:-1]) if mark.endswith("$") else mark in line)]
        assert len(found) == 1, f"{block.where}: {len(found)} lines of {name} hold {mark!r}; the page should say where in one way"
        before[found[0] + 1 : found[0] + 1] = lines
        path.write_text("\n".join(before), encoding="utf-8")


def run(checkout: Path, program: list[str], where: str) -> None:
    environment = {
        **os.environ,
        "PATH": f"{checkout.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "XDG_CACHE_HOME": str(checkout.parent / "cache"),
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    result = subprocess.run(program, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, f"{where}: {program} ended with {result.returncode}:\n{result.stdout[-3000:]}{result.stderr[-3000:]}"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_as_written(page: Path, checkout: Path) -> None:
    done = 0
    for block in blocks(page):
        if edits(block):
            apply(checkout, block)
        elif block.language == "python":
            run(checkout, [sys.executable, "-c", block.text], block.where)
        elif block.language == "console":
            for command in commands(block.text):
                run(checkout, ["bash", "-c", command], block.where)
        else:
            assert block.language == "yaml", f"{block.where}: a {block.language or 'plain'} block that nothing tries"
            run(checkout, [sys.executable, "-c", LOADS, block.text], block.where)
        done += 1
    assert done >= 3, f"{page.name} holds hardly anything that could be tried"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_is_short(page: Path) -> None:
    length = len(page.read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST, f"{page.name} has {length} lines; a tutorial that takes more than {LONGEST} asks for a simpler registry"


def test_a_tutorial_that_no_longer_fits_the_code_is_noticed(checkout: Path) -> None:
    block = Block("example.md", 1, "python", '# chemr/tasks.py, below TaskSpec("smiles2poetry"\n    nothing\n')
    with pytest.raises(AssertionError, match=r"0 lines of chemr/tasks\.py"):
        apply(checkout, block)
