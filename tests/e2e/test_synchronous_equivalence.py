"""S = 0 is synchronous training, and a resumed run is the run that was never interrupted. Bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import chemr.train
from chemr.config import Stage
from chemr.training_run import TrainingRun
from tests.e2e.conftest import Smoke
from tests.e2e.synchronous import synchronous_grpo
from tests.patience import WAIT_S

SYNCHRONOUS = ("grpo.off_policy_steps=0", "grpo.steps=5", "foundation.eval_every=0", "run.keep_stage_models=true")
LEARNER_KILL = "grpo 2/5"
# What a run says before its driver is killed: the first two times some steps after a checkpoint; after the third comes the export.
KILLS = (("distill 30/40",), (LEARNER_KILL, "learner lost", "grpo 3/5"), ("grpo held-out",))


def weights(summary: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of the weights at the end of each stage."""
    folders = [*(summary["path"] / "stages").iterdir(), summary["path"] / "model"]
    return {folder.name: hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() for folder in folders}


@pytest.fixture(scope="module")
def asynchronous(smoke: Smoke) -> dict[str, Any]:
    return smoke("s0", *SYNCHRONOUS)


@pytest.fixture(scope="module")
def only_grpo(asynchronous: dict[str, Any]) -> tuple[str, ...]:
    """The last stage of that run alone, from the model that its distillation has left."""
    return (*SYNCHRONOUS, "stages=[grpo]", f"policy.path={asynchronous['path']}/stages/distill")


def test_s0_equals_a_plain_synchronous_loop(
    asynchronous: dict[str, Any], only_grpo: tuple[str, ...], smoke: Smoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers = []

    async def plain(run: TrainingRun) -> None:
        ledgers.append(await synchronous_grpo(run))

    monkeypatch.setitem(chemr.train.DRIVERS, Stage.grpo, plain)
    synchronous = smoke("plain", *only_grpo)
    assert weights(synchronous)["model"] == weights(asynchronous)["model"], (
        "at S = 0 the asynchronous driver must end with the very same weights"
    )
    assert ledgers[0].submitted == asynchronous["grpo"]["ledger"]["submitted"], "and must have asked the very same prompts"
    assert asynchronous["grpo"]["age_max"] == 0


def until_exported(path: Path) -> None:
    """The run has made its last checkpoint and exported, and not summarised: it ends its pool first, which takes seconds."""
    deadline = time.monotonic() + WAIT_S
    while not (path / "model").is_dir():
        assert time.monotonic() < deadline, "the run never exported its model"
        time.sleep(0.05)
    assert not (path / "summary.json").exists(), "the kill would come too late to leave anything to do"


def test_a_run_that_loses_its_driver_and_its_learner_ends_with_the_same_weights_and_ledger(
    asynchronous: dict[str, Any], tmp_path: Path
) -> None:
    """kill -9 of the driver, then the same command with run.resume=auto: in supervised training, in GRPO (where the learner has been
    killed, too, a step before), and before the export."""
    arguments = ["experiment=smoke", f"run.root={tmp_path}", "run.name=killed", "run.resume=auto", *SYNCHRONOUS]
    command = [sys.executable, "-m", "chemr.cli", "train", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    path = tmp_path / "killed"
    for moments in KILLS:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        assert run.stdout is not None
        try:
            for moment in moments:
                assert any(moment in line for line in run.stdout), f"the run never reached {moment}"
                if moment == LEARNER_KILL:
                    (learner,) = (child for child in psutil.Process(run.pid).children(recursive=True) if "LearnerWorker" in child.name())
                    learner.kill()
            if moments == KILLS[-1]:
                until_exported(path)
        finally:
            run.kill()
            run.communicate()
    last = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert last.returncode == 0, last.stdout[-3000:] + last.stderr[-3000:]
    assert "continuing" in last.stdout, "a later start must continue, not begin again"
    resumed = json.loads((path / "summary.json").read_text()) | {"path": path}
    # Of "model", too: killed after its last checkpoint, a run must not export the model that it was continued with.
    assert weights(resumed) == weights(asynchronous), (
        "a killed and resumed S = 0 run must have the very same weights after every stage: what undone weights produced is not trained on"
    )
    assert resumed["grpo"]["ledger"] == asynchronous["grpo"]["ledger"], "and the same account of its prompts"
