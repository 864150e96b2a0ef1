"""kill -9 of a generator, a scoring process, a reward worker and the learner while GRPO runs: the run completes, its books balance."""

from __future__ import annotations

import os
import re
import signal

import pytest

from chemr.training_run import TrainingRun
from tests.e2e.conftest import Smoke


def test_a_run_survives_the_loss_of_each_kind_of_worker(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    killed: list[str] = []
    plan = {2: "reward-0/worker-0", 4: "generator-0/engine", 6: "learner-0", 8: "reward-0", 9: "generator-0"}

    def kill(run: TrainingRun) -> None:
        victim = plan.get(run.state.stage_step) if run.state.stage == "grpo" else None
        if victim is None or victim in killed:
            return
        pids = run.pool.pids()
        assert victim in pids, f"{victim} should be running; there are {sorted(pids)}"
        killed.append(victim)
        os.kill(pids[victim], signal.SIGKILL)

    summary = smoke("kills", "stages=[foundation,grpo]", "grpo.steps=12", "grpo.checkpoint_every=4", on_step=kill)
    assert killed == list(plan.values()), f"every planned kill must have happened: {killed}"
    grpo = summary["grpo"]
    assert grpo["ledger_error"] == 0 and grpo["ledger"]["trained"] == 12 * 4, f"each step trained on four groups exactly once: {grpo}"
    assert grpo["age_max"] <= grpo["age_bound"]
    kept = re.search(r"continuing after step \d+; (\d+) finished groups were kept", capsys.readouterr().out)
    assert kept is not None and int(kept.group(1)) > 0, "the loss of the learner must not cost the groups that are finished"
