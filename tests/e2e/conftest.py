"""Real runs on real components, small enough for a laptop: every test here starts vLLM, DeepSpeed, Ray and RDKit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chemr.config import load
from chemr.train import train
from chemr.training_run import TrainingRun

Smoke = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """``smoke("name", "grpo.steps=4", on_step=...)`` trains the smoke experiment and returns its summary with ``path`` added."""
    root = tmp_path_factory.mktemp("runs")

    def run(name: str, *overrides: str, on_step: Callable[[TrainingRun], None] | None = None) -> dict[str, Any]:
        config, resolved = load(["experiment=smoke", f"run.root={root}", f"run.name={name}", *overrides])
        summary = asyncio.run(train(config, resolved, on_step))
        return summary | {"path": Path(root) / name}

    return run
