"""S = 0 is synchronous training, and a resumed run is the run that was never interrupted. Bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chemr.train
from chemr.config import Stage
from chemr.training_run import TrainingRun
from tests.e2e.conftest import Smoke
from tests.e2e.synchronous import synchronous_grpo

SYNCHRONOUS = ("stages=[foundation,grpo]", "grpo.off_policy_steps=0", "grpo.steps=5", "foundation.eval_every=0")


def weights(summary: dict[str, Any]) -> str:
    return hashlib.sha256((summary["path"] / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def asynchronous(smoke: Smoke) -> dict[str, Any]:
    return smoke("s0", *SYNCHRONOUS)


def test_s0_equals_a_plain_synchronous_loop(asynchronous: dict[str, Any], smoke: Smoke, monkeypatch: pytest.MonkeyPatch) -> None:
    ledgers = []

    async def plain(run: TrainingRun) -> None:
        ledgers.append(await synchronous_grpo(run))

    monkeypatch.setitem(chemr.train.DRIVERS, Stage.grpo, plain)
    synchronous = smoke("plain", *SYNCHRONOUS)
    assert weights(synchronous) == weights(asynchronous), "at S = 0 the asynchronous driver must end with the very same weights"
    assert ledgers[0].submitted == asynchronous["grpo"]["ledger"]["submitted"], "and must have asked the very same prompts"
    assert asynchronous["grpo"]["age_max"] == 0


def test_a_killed_driver_resumes_to_the_same_weights_and_ledger(asynchronous: dict[str, Any], tmp_path: Path) -> None:
    """kill -9 of the driver during GRPO, then the same command with run.resume=auto."""
    command = [
        sys.executable,
        "-m",
        "chemr.cli",
        "train",
        "experiment=smoke",
        f"run.root={tmp_path}",
        "run.name=killed",
        "run.resume=auto",
        *SYNCHRONOUS,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert first.stdout is not None
    for line in first.stdout:
        if "grpo 3/5" in line:
            break
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=240, check=False)
    assert second.returncode == 0, second.stdout[-3000:]
    assert "continuing" in second.stdout, "the second start must continue, not begin again"
    path = tmp_path / "killed"
    resumed = json.loads((path / "summary.json").read_text()) | {"path": path}
    assert weights(resumed) == weights(asynchronous), "a killed and resumed S = 0 run must end with the very same weights"
    assert resumed["grpo"]["ledger"] == asynchronous["grpo"]["ledger"], "and with the same account of its prompts"
