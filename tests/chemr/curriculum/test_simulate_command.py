"""``chemr curriculum simulate``, as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chemr.cli import main
from chemr.curriculum.simulate_command import spark


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["step,task,success"]
    for step in range(1, 41):
        lines += [f"{step},easy,0.9", f"{step},middling,{0.3 + 0.01 * step}", f"{step},hard,{0.01 * step}"]
    path = tmp_path / "rates.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def simulated(*arguments: str) -> int:
    return main(["curriculum", "simulate", *arguments])


def test_a_table_says_what_the_sampler_did(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(str(table), "--set", "weighting=difficulty", "--set", "floor=0.1", "--seed", "3") == 0
    printed = capsys.readouterr().out
    for words in ("3 tasks, 40 recorded steps", "sampler: weighting difficulty", "effective tasks", "groups that teach", "0.01 → 0.40"):
        assert words in printed, f"{words!r} is missing from\n{printed}"
    simulated(str(table), "--set", "weighting=difficulty", "--set", "floor=0.1", "--seed", "3")
    assert capsys.readouterr().out == printed, "one seed, one table"


def test_two_samplers_stand_side_by_side_and_everything_is_in_the_json(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "figures.json"
    asked = ("--set", "unlock.hard.after=[middling]", "--set", "unlock.hard.success=0.4", "--compare", "weighting=uniform")
    assert simulated(str(table), *asked, "--steps", "60", "--clock", "groups", "--json", str(target)) == 0
    figures = json.loads(target.read_text())
    assert figures["settings"]["steps"] == 60 and figures["recorded_steps"] == 40
    assert figures["sampler"]["curriculum"]["unlock"]["hard"]["after"] == ["middling"] and figures["compared"]["curriculum"]["unlock"] == {}
    assert len(figures["sampler"]["tasks"]["hard"]["weights"]) == 60 and figures["sampler"]["tasks"]["hard"]["unlocked_at"] > 1
    assert figures["compared"]["tasks"]["hard"]["unlocked_at"] is None


def test_a_run_s_own_settings_are_where_it_begins(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(
        "grpo: {groups_per_step: 4, samples_per_group: 5, curriculum: {weighting: variance, prompts: {sampling: replay}}}\n"
    )
    records = [{"step": step, "stage": "grpo", "reward/a/mean": 0.5, "reward/b/mean": 0.1} for step in range(7, 27)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert simulated(str(run), "--compare", "floor=0.05") == 0
    printed = capsys.readouterr().out
    assert "20 steps of 4 groups of 5" in printed and printed.count("weighting variance") == 2, printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "weighting"], "should be NAME=VALUE"),
        (["--set", "weighting=best"], "best"),
        (["--set", "flor=0.1"], "flor"),
        (["--set", "floor=0"], "grpo.curriculum.floor=0"),
        (["--set", "floors.nosuch=0.1"], "names 'nosuch'"),
        (["--set", "prompts.sampling=replay"], "there are no prompts to sample"),
        (["--compare", "caps.hard=0"], "caps.hard=0"),
        (["--steps", "0"], "--steps 0 must be at least 1"),
        (["--age", "-1"], "--age -1"),
    ],
)
def test_what_is_typed_wrong_is_one_line(arguments: list[str], words: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(str(table), *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1, printed


def test_a_recording_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulated(str(tmp_path / "nowhere")) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_it_needs_neither_torch_nor_ray_nor_grpc(table: Path) -> None:
    program = (
        "import sys; from chemr.cli import main; status = main(['curriculum', 'simulate', sys.argv[1]]);"
        "heavy = {'torch', 'ray', 'vllm', 'grpc', 'hydra', 'rdkit', 'numpy', 'transformers'};"
        "heavy &= {name.split('.')[0] for name in sys.modules};"
        "print('loaded', sorted(heavy)); sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(table)], capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("loaded []\n"), result.stdout


def test_a_spark_shows_a_course() -> None:
    assert spark([0.0, 0.5, 1.0], width=3) == "▁▅█" and spark([0.0, 0.0]) == "▁▁"
    assert len(spark([0.1] * 1000)) == 12
