"""``chemr plan`` as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chemr.cli import main
from chemr.planning import calibration
from chemr.planning.scenario import Setup, SharedCores
from chemr.planning.throughput import EngineSpeed, LearnerSpeed
from chemr.planning.workload import Lengths, Workload
from tests.chemr.planning.synthetic_run import configuration, record

ASK = ["plan", "--model", "llama-3.2-1b", "--gpu", "h100", "--gpus", "4", "--prompt-tokens", "200", "--mean-tokens", "300"]
SIZES = ["grpo.max_new_tokens=1000", "grpo.samples_per_group=4", "grpo.groups_per_step=8"]


def test_a_plan_is_printed_written_as_json_and_as_an_experiment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, figures = tmp_path / "experiment" / "planned.yaml", tmp_path / "plan.json"
    assert main([*ASK, *SIZES, "--price", "2", "--out", str(out), "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    for expected in (
        "nothing of this was measured",
        "cost/day",
        "KV cache",
        "1 + ρ(φ − 1)",
        "tail 1.5",
        "failures × 100",
        "an engine lost every 10 steps",
        "mfu 0.35",
        "experiment=planned",
    ):
        assert expected in said, f"{expected!r} is missing in:\n{said}"
    plan = json.loads(figures.read_text())
    best = plan["alternatives"][0]
    assert best["cost_per_day"] == 2 * 4 * 24 and best["prediction"]["age_max"] <= best["prediction"]["age_bound"]
    assert f"generators: {best['generators']}" in out.read_text()


def test_without_a_price_no_cost_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, *SIZES]) == 0
    assert "cost" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan"], "--model, --gpu, --gpus"),
        ([*ASK, *SIZES, "pool.generators=3"], "pool.generators: this is what the plan decides"),
        ([*ASK, *SIZES, "learner.lora_rank=8"], "learner.lora_rank: this is what the plan decides"),
        ([*ASK, *SIZES, "data.grpo_share=0.5"], "data.grpo_share: a plan does not depend on it"),
        ([*ASK, *SIZES, "grpo.groupsize=3"], "did you mean"),
        ([*ASK, *SIZES, "--gpus", "1"], "--gpus 1"),
        ([*ASK, *SIZES, "--gpus", "5000"], "to 4096"),
        ([*ASK, *SIZES, "--gpu", "h101"], "did you mean 'h100'"),
        ([*ASK, *SIZES, "--tail", "-1"], "tail"),
        ([*ASK, *SIZES, "--trivial", "1"], "trivial"),
        ([*ASK, *SIZES, "--price", "-3"], "--price -3"),
        ([*ASK, *SIZES, "--cores", "2"], "--cores belongs to --calibrate"),
        ([*ASK, *SIZES, "generator.max_model_len=1100"], "max_model_len=1100 is less than"),
        (["plan", "--calibrate", "nowhere"], "nowhere: there is no metrics.jsonl"),
        (["plan", "--calibrate", "nowhere", "--price", "2"], "--price belongs to a plan from data sheets"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("chemr plan: ") and "Traceback" not in error, error


def test_a_run_is_calibrated_on_and_others_are_predicted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "FIT_STEPS", 30)  # how exact it is, is tested elsewhere
    run = tmp_path / "run"
    configuration(run)
    engine = EngineSpeed(0.0, 0.0, 0.0, 0.004, 0.0001, 0.0, 256, 0.04, 0.05)
    work = Workload(16, 8, 1, 0.5, Lengths(24.0, 0.3, 64), 15.0, 0.2, 0.0005)
    record(run, Setup(1, engine, LearnerSpeed(0.2, 0.03, 0.15), work, keep_cache=True, cores=SharedCores(2.0, 2, 10)), steps=40, seed=1)
    figures = tmp_path / "figures.json"
    arguments = [
        "plan",
        "--calibrate",
        str(run),
        "--cores",
        "2",
        "grpo.off_policy_steps=0",
        "--also",
        "pool.learners=1 grpo.samples_per_group=16",
    ]
    assert main([*arguments, "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert "as it ran" in said and "grpo.off_policy_steps=0" in said and "assumed:" in said
    predictions = json.loads(figures.read_text())["predictions"]
    assert len(predictions) == 3 and predictions["grpo.off_policy_steps=0"]["age_max"] == 0
    assert main(["plan", "--calibrate", str(run), "grpo.samples_per_group=1"]) == 2, "the configuration's own checks hold"
    assert "at least 2 samples" in capsys.readouterr().err


def test_planning_needs_neither_torch_nor_ray() -> None:
    program = (
        "import sys\nfrom chemr.cli import main\nmain(sys.argv[1:])\n"
        "print(sorted({'torch', 'ray', 'vllm', 'deepspeed'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program, *ASK, *SIZES], capture_output=True, text=True, timeout=480, check=False)
    assert result.stdout.rstrip().endswith("[]"), result.stdout + result.stderr
