"""Other trainers' calling conventions: TRL's, tried with the real GRPOTrainer where TRL is installed, and verl's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import google.protobuf
import grpc
import pytest

from rewards.service import verl_reward
from rewards.service.client import RewardServiceError
from rewards.service.trl_reward import trl_reward

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ROW = {"task": "smiles2formula", "inputs": '{"smiles": "CCO"}', "reference": '{"answer": "C2H6O"}'}
RIGHT, WRONG = "<answer>C2H6O</answer>", "<answer>C40H6O</answer>"


def columns(rows: list[dict]) -> dict[str, list]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_a_trl_reward_function_takes_columns_and_gives_one_number_per_completion(client):
    reward = trl_reward(client)
    assert reward.__name__ == "chemr_reward", "TRL names its metrics by it"
    rows = [ROW, ROW, {"task": "bad_reference", "inputs": None, "reference": None}]
    extra = {"prompts": ["a"] * 3, "completion_ids": [[1]] * 3, "trainer_state": object(), "log_metric": print}
    assert reward(completions=[RIGHT, WRONG, "<answer>x</answer>"], **columns(rows), **extra) == [1.0, 0.0, None]
    chat = [[{"role": "assistant", "content": "<answer>"}, {"role": "assistant", "content": "C2H6O</answer>"}]]
    assert reward(completions=chat, **columns([ROW])) == [1.0]


def test_rows_without_the_columns_are_an_error_that_names_them(client):
    with pytest.raises(ValueError, match=r"needs the column\(s\) inputs, reference; it has: prompts, task"):
        trl_reward(client)(completions=[RIGHT], prompts=["a"], task=["retro"])


def test_the_real_trl_gets_its_rewards_and_leaves_out_what_is_not_known(server, tmp_path):
    python = os.environ.get("CHEMR_TRL_PYTHON")  # not looked for: importing TRL alone takes longer than all other tests of the service
    if not python:
        pytest.skip("name the Python of an environment with TRL in CHEMR_TRL_PYTHON (benchmarks/vs_trl.py makes benchmarks/.trl-venv)")
    probe = subprocess.run([python, "-c", "import sys; print(sys.implementation.cache_tag)"], capture_output=True, text=True, check=True)
    if probe.stdout.strip() != sys.implementation.cache_tag:
        pytest.skip(f"{python} is another version of Python, so it cannot load this environment's grpcio")
    # TRL's environment has all that a client needs but these two.
    for package in (Path(grpc.__file__).parent, Path(google.protobuf.__file__).parents[1]):
        (tmp_path / package.name).symlink_to(package)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "HF_HUB_OFFLINE": "1"}
    command = [python, str(HERE / "trl_calls.py"), server.target]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {name: [1.0, 1.0, None] for name in ("text", "dicts", "chat")}


@pytest.fixture
def compute_score(server, monkeypatch):
    monkeypatch.setenv("CHEMR_REWARDS_TARGET", server.target)
    verl_reward._client.cache_clear()
    yield verl_reward.compute_score
    verl_reward._client().close()
    verl_reward._client.cache_clear()


def test_verl_gets_one_number_per_answer(compute_score):
    extra = {"inputs": {"smiles": "CCO", "iupac": None}, "split": "train", "index": 3}
    call = {"data_source": "smiles2formula", "ground_truth": ROW["reference"], "extra_info": extra}
    assert compute_score(solution_str=RIGHT, **call) == 1.0
    assert compute_score(solution_str=WRONG, **call, sandbox_fusion_url=None) == 0.0
    named = {"data_source": "my/corpus", "ground_truth": {"answer": "C2H6O"}, "extra_info": extra | {"task": "smiles2formula"}}
    assert compute_score(solution_str=RIGHT, **named) == 1.0


def test_verl_cannot_leave_a_sample_out_so_the_operator_decides(compute_score, monkeypatch):
    call = {"data_source": "bad_reference", "solution_str": "<answer>x</answer>", "ground_truth": None}
    with pytest.raises(verl_reward.UnknownScoreError, match=r"bad_reference.*CHEMR_REWARDS_UNKNOWN_SCORE"):
        compute_score(**call)
    monkeypatch.setenv("CHEMR_REWARDS_UNKNOWN_SCORE", "0")
    assert compute_score(**call) == 0.0


def test_verl_without_a_target_or_with_an_unknown_task_is_a_clear_error(compute_score, monkeypatch):
    with pytest.raises(RewardServiceError, match="no scorer for the task 'openai/gsm8k'"):
        compute_score("openai/gsm8k", RIGHT, None)
    monkeypatch.delenv("CHEMR_REWARDS_TARGET")
    verl_reward._client.cache_clear()
    with pytest.raises(ValueError, match="set CHEMR_REWARDS_TARGET"):
        compute_score("retro", RIGHT, None)
    monkeypatch.setenv("CHEMR_REWARDS_TARGET", "127.0.0.1:1")
