"""One run through all three phases, looked at from every side a user would look."""

from __future__ import annotations

import asyncio
import json
import math
import os
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from chemr.config import load
from chemr.data.sources.suites import default_data_dir
from chemr.evaluate_model import evaluate_model
from chemr.tracking.metrics_log import RESERVED
from chemr.tracking.prometheus_sink import ENDED, NONFINITE, STAGE, STARTED, STEP, UPDATED, sample_of
from chemr.tracking.workspace_view import SECTIONS, metrics_of
from chemr.training_run import TrainingRun
from tests.chemr.test_prometheus_sink import all_names
from tests.chemr.wandb_file import wandb_records
from tests.e2e.conftest import Smoke


@pytest.fixture(scope="module")
def finished(smoke: Smoke) -> dict[str, Any]:
    used: set[Path] = set()

    def note(run: TrainingRun) -> None:
        assert run.pool._private is not None
        used.update([Path(run.pool._shared_memory_dir), run.pool._private.path])

    before = os.umask(0o077)
    try:
        summary = smoke("three-phases", "tracking.wandb=offline", on_step=note)
    finally:
        os.umask(before)
    assert len(used) == 2, "one pool, with its folder in shared memory and its temporary one"
    return summary | {
        "left_folders": {folder for folder in used if folder.exists()},
        "left_children": psutil.Process().children(recursive=True),
    }


def test_wandbs_record_of_the_run_has_its_results_and_its_end(finished: dict[str, Any]) -> None:
    """The pool ended its processes and left W&B's alone, which had written everything before."""
    (file,) = (finished["path"] / "wandb").glob("offline-run-*/*.wandb")
    records = wandb_records(file)
    (end,) = (record.exit for record in records if record.WhichOneof("record_type") == "exit")
    assert end.exit_code == 0
    summary = {item.key or "/".join(item.nested_key): item for record in records for item in record.summary.update}
    assert {"gain/distill", "gain/grpo"} <= summary.keys(), f"the results are missing: {sorted(summary)}"


def test_nothing_of_a_run_is_open_to_others_where_the_user_wants_it_closed(finished: dict[str, Any]) -> None:
    everything = [finished["path"], *finished["path"].rglob("*")]
    assert [path for path in everything if not path.is_symlink() and path.stat().st_mode & 0o077] == [], "beyond a umask of 077"


def test_every_stage_is_evaluated_and_accounted_for(finished: dict[str, Any]) -> None:
    assert finished["stages"] == ["foundation", "distill", "grpo"]
    for stage in finished["stages"]:
        figures = finished[stage]
        assert 0.0 <= figures["interval95"][0] <= figures["mean_reward"] <= figures["interval95"][1] <= 1.0, f"{stage}: {figures}"
        assert set(figures["tasks"]) == {"smiles2formula", "molcustom_atomnum", "forward"}, "every task of the run is evaluated"
        assert figures["wall_s"] > 0 and figures["trained_samples"] > 0 and figures["trained_tokens"] > 0, f"{stage} reports its cost"
    assert set(finished["gain"]) == {"distill", "grpo"}


def test_the_age_bound_and_the_ledger_hold(finished: dict[str, Any]) -> None:
    grpo = finished["grpo"]
    ledger = grpo["ledger"]
    assert grpo["ledger_error"] == 0
    assert ledger["submitted"] == ledger["trained"] + sum(ledger["dropped"].values()) + ledger["in_flight"]
    assert ledger["trained"] == 6 * 4, "six steps of four groups were trained"
    assert 0 <= grpo["age_max"] <= grpo["age_bound"] and grpo["age_slack"] == grpo["age_bound"] - grpo["age_max"]
    assert 0.0 < grpo["overlap_efficiency"] <= 1.01 and grpo["samples_per_s"] > 0


def test_metrics_carry_the_names_that_dashboards_rely_on(finished: dict[str, Any]) -> None:
    records = [json.loads(line) for line in (finished["path"] / "metrics.jsonl").read_text().splitlines()]
    names = {name for record in records for name in record}
    for name in (
        "train/loss", "train/grad_norm", "train/lr", "train/entropy", "train/ess", "train/mismatch_kl", "train/tokens_per_s",
        "train/packing_efficiency", "async/age_max", "async/age_bound", "async/overlap_efficiency", "async/slots_in_use",
        "curriculum/entropy", "curriculum/effective_tasks", "weights/bytes", "weights/publish_s", "weights/pull_s", "weights/probe_error",
        "weights/version_lag", "train/mismatch_mean", "train/mismatch_p99",
        "rollout/length", "rollout/truncated", "rollout/turnaround_s", "train/cpu_s",
        "eval/test/mean", "eval/validation/mean", "time/train", "time/unaccounted",
    ):  # fmt: skip
        assert name in names, f"metrics.jsonl lacks {name}"
    for record in records:
        shares = [value for name, value in record.items() if name.startswith("time/") and name != "time/step_s"]
        assert not shares or math.isclose(sum(shares), 1.0, abs_tol=1e-6), f"shares of a step sum to 1: {record}"


def test_alerts_and_dashboard_ask_for_what_a_run_emits(finished: dict[str, Any]) -> None:
    records = [json.loads(line) for line in (finished["path"] / "metrics.jsonl").read_text().splitlines()]
    emitted = {sample_of(name)[0] for record in records for name in record if name not in RESERVED} | {
        STAGE,
        STEP,
        UPDATED,
        STARTED,
        ENDED,
        NONFINITE,
    }
    no_task_went_wrong = {"chemr_curriculum_alert"}  # in six steps; that it is served then: tests/chemr/test_prometheus_sink.py
    assert all_names() - emitted == no_task_went_wrong, "an alert on a metric that nobody emits never fires"


def test_the_view_in_wandb_asks_for_what_a_run_records(finished: dict[str, Any]) -> None:
    records = [json.loads(line) for line in (finished["path"] / "metrics.jsonl").read_text().splitlines()]
    names = {name for record in records for name in record}
    tasks = [task for task in finished["table"] if task != "mean"]
    for panel in (panel for panels in SECTIONS.values() for panel in panels):
        for name in panel.metrics:
            some = metrics_of(panel._replace(metrics=(name,)), tasks)
            assert names & set(some), f"{panel.title}: no run records {name}"


def test_engine_and_learner_agree_on_every_token(finished: dict[str, Any]) -> None:
    records = [json.loads(line) for line in (finished["path"] / "metrics.jsonl").read_text().splitlines()]
    errors = [record["weights/probe_error"] for record in records if "weights/probe_error" in record]
    assert errors and max(errors) < 1e-4, f"after each weight update the engine computes what the learner computes: {max(errors)}"


def test_the_exported_model_loads_in_plain_transformers_and_answers(finished: dict[str, Any]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished["path"] / "model")
    model = AutoModelForCausalLM.from_pretrained(finished["path"] / "model", dtype=torch.float32)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Formula of CCO"}], add_generation_prompt=True, return_tensors="pt")
    ids = prompt if isinstance(prompt, torch.Tensor) else prompt["input_ids"]
    answer = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert answer.shape[1] > ids.shape[1], "the exported model generates"
    card = (finished["path"] / "model" / "README.md").read_text()
    summary = json.loads((finished["path"] / "summary.json").read_text())
    results = yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"]
    scores = {result["dataset"]["config"]: result["metrics"][0]["value"] for result in results}
    last = summary["stages"][-1]
    measured = {task if task != "mean" else "mean over tasks": row[last] for task, row in summary["table"].items()}
    assert scores == measured, "the model card says what was measured"
    assert "| MIT |" in card, "the model card says under which licence the data are"


def test_the_manifest_says_what_rewards_depend_on(finished: dict[str, Any]) -> None:
    manifest = json.loads((finished["path"] / "manifest.json").read_text())
    assert manifest["packages"]["rdkit"] and manifest["scorers"]["scorer_version"]
    assert manifest["scorers"]["legacy_ring_finding"] is True, "scoring processes must be safe from the ring-finder bomb"


def test_sampled_trajectories_can_be_read(finished: dict[str, Any]) -> None:
    files = sorted((finished["path"] / "trajectories").glob("*.parquet"))
    assert files, "trajectories are kept"
    row = pq.read_table(files[0]).to_pylist()[0]
    assert {"uid", "task", "prompt", "completion", "reward", "reason"} <= set(row), f"a trajectory tells what happened: {sorted(row)}"


@pytest.mark.skipif(not default_data_dir().is_dir(), reason="needs the published data (CHEMR_DATA)")
def test_the_model_is_evaluated_on_a_published_suite(finished: dict[str, Any], tmp_path: Path) -> None:
    overrides = ["experiment=smoke", "eval.suite=chemllmbench", "eval.tasks=[property_bace,iupac2smiles]", "eval.samples=2"]
    config, _ = load([*overrides, "eval.test_prompts_per_task=3", "generator.max_model_len=160"])
    asyncio.run(evaluate_model(config, finished["path"] / "model", tmp_path / "figures.json", tmp_path / "answers.parquet"))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["tasks"]) == set(figures["published"]) == {"property_bace", "iupac2smiles"}, "both scorers judge every task"
    for task, score in figures["tasks"].items():
        assert score["prompts"] == 3 and set(score["pass_at"]) == {"1", "2"}, f"{task}: {score}"
    answers = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert len(answers) == 2 * 3 * (2 + 1), "every answer is kept, those of prompts that were too long as empty ones"


def test_nothing_is_left_behind(finished: dict[str, Any]) -> None:
    assert not finished["left_children"], f"processes are left: {finished['left_children']}"
    assert not finished["left_folders"], f"folders are left: {finished['left_folders']}"


def test_a_finished_run_started_again_only_reports(finished: dict[str, Any], smoke: Smoke) -> None:
    again = smoke("three-phases", "run.resume=auto")
    assert again["gain"] == finished["gain"], "the same command again must not train on"
