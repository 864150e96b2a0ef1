"""A short chaos run in `make test`: six faults of different kinds in one real run. `make chaos` has all kinds and many runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import KINDS, ROLES, Action, Kind, Role, deal, schedule
from tests.chaos.harness import ChaosRun
from tests.chaos.verify import check_history

SEED = 1  # with this one the corrupt checkpoint is met by a learner; a new driver would take twenty seconds more
# An engine that is killed is what tests/actors/test_pool.py kills; here it goes with its generator.
SIX = (
    Kind(Action.kill, Role.worker),
    Kind(Action.full_disk),
    Kind(Action.clock),
    Kind(Action.corrupt),
    Kind(Action.kill, Role.reward),
    Kind(Action.kill, Role.generator),
)


@pytest.mark.timeout(2400)
def test_a_run_keeps_every_promise_through_six_faults(tmp_path: Path) -> None:
    outcome = ChaosRun(tmp_path / "chaos", schedule(SIX, seed=SEED), model=None).run()
    assert not outcome.problems, f"{outcome.problems}; strikes: {outcome.strikes}"
    assert len(outcome.strikes) == len(SIX)
    for strike in outcome.strikes:
        assert strike.skipped or strike.recovery_s is not None, f"no step was trained after {strike}"


def test_faults_are_dealt_by_the_seed_and_cover_every_kind_before_any_repeats() -> None:
    plans = deal(runs=6, per_run=5, seed=7)
    assert plans == deal(runs=6, per_run=5, seed=7), "the same seed must give the same faults"
    assert plans != deal(runs=6, per_run=5, seed=8)
    dealt = [fault.kind for plan in plans for fault in plan.faults]
    assert set(dealt) == set(KINDS), f"30 faults cover all {len(KINDS)} kinds"
    for plan in plans:
        steps = [fault.step for fault in plan.faults]
        assert steps == sorted(set(steps)) and steps[-1] < plan.steps, "each fault has its own step, before the last"


def test_roles_are_told_apart_by_the_names_that_pids_uses() -> None:
    names = {
        "generator-0": Role.generator, "generator-0/engine": Role.engine, "reward-1": Role.reward, "reward-0/zygote": Role.zygote,
        "reward-0/worker-0": Role.worker, "learner-1": Role.learner,
    }  # fmt: skip
    for name, role in names.items():
        assert [each for each in ROLES if each.of(name)] == [role], f"{name} is a {role} and nothing else"


def test_a_group_that_went_into_the_weights_twice_is_found_under_any_name() -> None:
    assert check_history([["a#0", "d0"], ["b#1", "d1"]], trained=2) == []
    assert "trained twice" in check_history([["a#0", "d0"], ["a#0", "d1"]], trained=2)[0]
    assert "trained twice" in check_history([["a#0", "d0"], ["b#1", "d0"]], trained=2)[0]
    assert "the ledger says 3" in check_history([["a#0", "d0"]], trained=3)[0]
