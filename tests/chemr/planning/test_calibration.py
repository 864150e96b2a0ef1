"""Round trip: from a run that the simulation made, calibration finds the speeds it was made with and predicts other configurations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chemr.planning.calibration import Calibration, calibrate, evaluation_rate, predict
from chemr.planning.errors import PlanError
from chemr.planning.model_sizes import model_of_scratch
from chemr.planning.run_records import read_config, read_records
from chemr.planning.scenario import Setup, SharedCores
from chemr.planning.simulation import simulate
from chemr.planning.throughput import EngineSpeed, LearnerSpeed, step_flops
from chemr.planning.workload import Lengths, Workload, trivial_share
from learner.config import ModelConfig
from tests.chemr.planning.synthetic_run import configuration, evaluate, record

ENGINE = EngineSpeed(0.0, 0.0, 0.0, 0.003, 0.00007, 0.00002, most_samples=256, update_s=0.04, pull_s=0.05, end_s=0.0003)
WORK = Workload(16, 8, 1, 0.5, Lengths(24.0, 0.35, 64, 0.5), prompt_tokens=15.0, trivial=0.25, reward_s=0.0005)
CORES = SharedCores(2.0, 2, 10, service=0.4)
TRUE = Setup(1, ENGINE, LearnerSpeed(0.15, 0.03, 0.12), WORK, 1, True, overhead_s=0.004, latency_s=0.02, cores=CORES)
OTHERS = {
    "split": ["pool.generators=2", "pool.learners=1"],
    "group": ["grpo.samples_per_group=16"],
    "length": ["grpo.max_new_tokens=20"],
    "sync": ["grpo.off_policy_steps=0"],
    "later": ["grpo.off_policy_steps=3"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "made-up"
    configuration(folder)
    record(folder, TRUE, steps=120, seed=5)
    evaluate(folder, ENGINE, WORK)
    return folder


@pytest.fixture(scope="module")
def calibration(run: Path) -> Calibration:
    return calibrate(run, cores=2.0)


def truth(overrides: list[str], run: Path) -> Setup:
    """What really happens in another configuration, by the speeds the run was made with."""
    config = read_config(run / "config.yaml", overrides)
    work = replace(
        WORK,
        groups_per_step=config.grpo.groups_per_step,
        samples_per_group=config.grpo.samples_per_group,
        off_policy_steps=config.grpo.off_policy_steps,
        lengths=replace(WORK.lengths, cap=config.grpo.max_new_tokens),
        trivial=trivial_share(WORK.trivial, 8, config.grpo.samples_per_group),
    )
    model = model_of_scratch(ModelConfig(), 512)
    growing = 0.12 * step_flops(model, work) / step_flops(model, WORK) * 2 / config.pool.learners
    learner = LearnerSpeed(0.03 + growing, 0.03, growing)
    return replace(TRUE, engines=config.pool.generators, learner=learner, workload=work, cores=replace(CORES, ranks=config.pool.learners))


def test_what_the_run_was_made_with_is_found(calibration: Calibration) -> None:
    work, engine = calibration.workload, calibration.engine
    assert work.lengths.capped_mean == pytest.approx(WORK.lengths.capped_mean, rel=0.03)
    assert work.lengths.sigma == pytest.approx(0.35, abs=0.07)
    assert work.prompt_tokens == pytest.approx(15.0, abs=0.01) and work.reward_s == pytest.approx(0.0005)
    assert work.trivial == pytest.approx(0.25, abs=0.04)
    assert calibration.publish_s == pytest.approx(0.03) and calibration.overhead_s == pytest.approx(0.004)
    assert engine.pull_s == pytest.approx(0.05) and engine.update_s == pytest.approx(0.04)
    for running in (20, 110):
        assert engine.step_s(running) == pytest.approx(ENGINE.step_s(running), rel=0.1), f"pace with {running} samples"
    assert calibration.latency_s == pytest.approx(0.02, abs=0.005) and calibration.service == pytest.approx(0.4, abs=0.1)
    growing = calibration.train_per_flop * step_flops(calibration.model, work) / 2
    assert (calibration.train_fixed_s, growing) == pytest.approx((0.03, 0.12), rel=0.05), "the CPU's seconds, not those that passed"


def test_the_run_itself_is_reproduced(calibration: Calibration) -> None:
    assert calibration.fitted.rollout_s == pytest.approx(calibration.measured.rollout_s, rel=0.03), "fitted"
    assert calibration.fitted.train_s == pytest.approx(calibration.measured.train_s, rel=0.03), "fitted"
    assert calibration.fitted.turnaround_s == pytest.approx(calibration.measured.turnaround_s, rel=0.03), "fitted"
    assert abs(calibration.step_error) < 0.03, f"not fitted, and off by {calibration.step_error:+.1%}"
    assert calibration.fitted.age_mean == pytest.approx(calibration.measured.age_mean, abs=0.15), "not fitted"


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_configurations_are_predicted(calibration: Calibration, run: Path, name: str) -> None:
    predicted = predict(calibration, read_config(run / "config.yaml", OTHERS[name]))
    real = simulate(truth(OTHERS[name], run), steps=100, seed=11)
    assert predicted.step_s == pytest.approx(real.step_s, rel=0.15), f"{name}: {predicted.step_s:.3f} s predicted, {real.step_s:.3f} s"
    assert abs(predicted.age_mean - real.age_mean) < 0.4 and abs(predicted.age_max - real.age_max) <= 1


@pytest.mark.parametrize("name", ["split", "sync", "later"])
def test_a_run_that_waits_for_something_else_says_as_much_of_the_engine(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that wait for the learner are as long with any engine: its pace must come from itself, not from them."""
    monkeypatch.setattr("chemr.planning.calibration.FIT_STEPS", 80)
    setup = truth(OTHERS[name], run)
    configuration(tmp_path, *OTHERS[name])
    record(tmp_path, setup, steps=120, seed=5)
    calibration = calibrate(tmp_path, cores=2.0)
    predicted = predict(calibration, read_config(run / "config.yaml"))
    real = simulate(TRUE, steps=100, seed=11)
    assert predicted.step_s == pytest.approx(real.step_s, rel=0.15), f"from {name}: {predicted.step_s:.3f} s, really {real.step_s:.3f} s"


def test_what_was_not_measured_is_not_predicted(calibration: Calibration, run: Path) -> None:
    with pytest.raises(PlanError, match=r"learner\.threads=2.*had 1"):
        predict(calibration, read_config(run / "config.yaml", ["learner.threads=2"]))
    with pytest.raises(PlanError, match=r"grpo\.nonsense|nonsense"):
        read_config(run / "config.yaml", ["grpo.nonsense=1"])


def test_the_evaluation_after_grpo_is_foretold_though_it_was_not_fitted(calibration: Calibration, tmp_path: Path, run: Path) -> None:
    assert calibration.evaluation is not None
    assert calibration.evaluation.predicted_s(calibration.engine) == pytest.approx(calibration.evaluation.seconds, rel=0.15)
    configuration(tmp_path / "running")
    (tmp_path / "running" / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    running = read_records(tmp_path / "running")
    assert evaluation_rate(running, calibration.workload.lengths, 15.0) is None, "a run that has not ended has no evaluation yet"


def test_folders_that_are_no_run_or_too_short_are_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere.*no metrics\.jsonl"):
        calibrate(tmp_path / "nowhere")
    short = tmp_path / "short"
    configuration(short)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (short / "metrics.jsonl").write_text("\n".join(lines[:10]))
    with pytest.raises(PlanError, match=r"short: 5 GRPO steps.*12 are needed"):
        calibrate(short)
    (short / "metrics.jsonl").write_text("{broken\n" + "\n".join(lines))
    with pytest.raises(PlanError, match="line 1 is not JSON"):
        calibrate(short)
    (short / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 3, "sta')
    assert len(read_records(short).steps) > 50, "the last line of a run that is being written may be cut off"
    (short / "config.yaml").unlink()
    with pytest.raises(PlanError, match=r"config\.yaml is missing"):
        calibrate(short)
    older = tmp_path / "older"
    configuration(older)
    records = [json.loads(line) for line in lines]
    (older / "metrics.jsonl").write_text("\n".join(json.dumps({k: v for k, v in r.items() if k != "async/queue"}) for r in records))
    with pytest.raises(PlanError, match="do not record async/queue"):
        calibrate(older)
