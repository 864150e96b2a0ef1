"""Which code a run was made with: chemr's version, and in a checkout its commit."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GIT_S = 5.0  # deadline: a repository on a slow disk must not hold a run
CHECKOUT = Path(__file__).resolve().parents[1]


def code_version(checkout: Path = CHECKOUT) -> dict[str, str | bool]:
    """``chemr``: the version; in a git checkout also ``commit`` and ``modified``, whether its tracked files differ from the commit."""
    found: dict[str, str | bool] = {}
    try:
        found["chemr"] = version("chemr")
    except PackageNotFoundError:
        found["chemr"] = "not installed"
    if (checkout / ".git").exists():
        commit = _git(checkout, "rev-parse", "HEAD")
        changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
        if commit:
            found["commit"] = commit
        if commit and changes is not None:
            found["modified"] = bool(changes)
    return found


def _git(checkout: Path, *words: str) -> str | None:
    """Output of a git command, None when it fails."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(checkout), *words], capture_output=True, text=True, timeout=GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
