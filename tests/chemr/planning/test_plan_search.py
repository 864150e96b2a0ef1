"""Splits of GPUs: nothing recommended that does not fit, never slower with more GPUs, thousands of them, and a file that loads."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from chemr.config import load
from chemr.planning import experiment_file
from chemr.planning.devices import GPUS, Assumptions
from chemr.planning.errors import PlanError
from chemr.planning.memory import LearnerLayout
from chemr.planning.model_sizes import model_named
from chemr.planning.search import Alternative, Request, availability, search, split_of
from chemr.planning.throughput import engine_roofline, learner_roofline, step_flops
from chemr.planning.workload import Lengths, Workload

WORK = Workload(16, 4, 1, 0.5, Lengths(300.0, 0.5, 1000), prompt_tokens=200.0, trivial=0.2)
SMALL = Request(model_named("llama-3.2-1b"), GPUS["h100"], 8, WORK, longest=1500)
LARGE = replace(SMALL, model=model_named("llama-3.1-8b"))


@pytest.fixture(scope="module")
def plan() -> list[Alternative]:
    return search(LARGE)


def test_every_alternative_fits_and_uses_no_more_than_there_is(plan: list[Alternative]) -> None:
    for each in plan:
        split = each.split
        assert split.gpus <= LARGE.gpus and split.layout.ranks <= WORK.groups_per_step, (
            "a rank without a group would be refused by the config"
        )
        assert split.learner_memory.total <= LARGE.gpu.memory and split.engine_memory.total <= LARGE.gpu.memory
        assert split.engine_memory.cache_tokens >= LARGE.longest
        assert each.tokens_per_day == pytest.approx(each.prediction.trained_tokens_per_s * 86_400 * each.availability)
    assert [each.step_s for each in plan] == sorted(each.step_s for each in plan), "best first"
    best = plan[0]
    assert best.cost_per_million_tokens(2.0, 8) == pytest.approx(2.0 * 8 * 24 / (best.tokens_per_day / 1e6))


def test_more_gpus_are_never_slower() -> None:
    steps = [search(replace(SMALL, gpus=gpus, workload=replace(WORK, groups_per_step=32)))[0].step_s for gpus in (2, 4, 8, 16)]
    assert all(more <= fewer * 1.03 for fewer, more in itertools.pairwise(steps)), f"2, 4, 8, 16 GPUs: {steps}"


def test_thousands_of_gpus_are_planned_by_a_cluster_that_stands_for_them() -> None:
    work = replace(WORK, groups_per_step=2048)
    split = split_of(replace(LARGE, gpus=4096, workload=work), 1024, 2, 2048)
    assert split.gpus == 4096
    best = search(replace(LARGE, gpus=4096, workload=work))[0]
    assert best.prediction.aggregated > 1.0 and best.prediction.age_max <= best.prediction.age_bound
    assert best.tokens_per_day > 100 * search(LARGE)[0].tokens_per_day / 8, "hundreds of times the GPUs do more than tens of times the work"


def test_what_fits_nowhere_is_refused_with_the_closest_layout() -> None:
    with pytest.raises(PlanError, match=r"nothing fits on 2 × l40s(.|\n)*ZeRO-1, checkpointing(.|\n)*optimizer 89\.7"):
        search(replace(LARGE, gpus=2, gpu=GPUS["l40s"]))
    with pytest.raises(PlanError, match=r"engine of llama-3\.1-70b on 1 × h100 does not fit"):
        search(replace(SMALL, gpus=2, model=model_named("llama-3.1-70b")))
    with pytest.raises(PlanError, match="at least 2"):
        search(replace(SMALL, gpus=1))


def test_the_roofline_by_hand() -> None:
    assumed = Assumptions(decode_bandwidth=1.0, decode_overhead_s=0.0, decode_mfu=1.0, prefill_mfu=1.0, mfu=1.0, update_s=0.0)
    gpu, model = GPUS["h100"], model_named("llama-3.1-8b")
    engine = engine_roofline(model, gpu, "bfloat16", 1, 10**9, 256, WORK, assumed)
    assert engine.weights_s == pytest.approx(2 * 8.03e9 / 3.35e12, rel=1e-3), "all weights once through the memory's bandwidth"
    assert engine.step_s(1) == pytest.approx(engine.weights_s + engine.cache_s)
    assert engine.tokens_per_s(256) > 100 * engine.tokens_per_s(1), "a batch shares the reading of the weights"
    assert engine.prefill_s == pytest.approx(2 * 6.98e9 / 989.4e12, rel=0.05), "two operations a parameter of the layers"
    two = engine_roofline(model, gpu, "bfloat16", 2, 10**9, 256, WORK, replace(assumed, allreduce_s=0.0))
    assert two.step_s(1) == pytest.approx(engine.step_s(1) / 2)
    alone = learner_roofline(model, gpu, LearnerLayout(1, zero_stage=1), WORK, assumed, old_forward=False)
    assert alone.computing_s == pytest.approx(step_flops(model, WORK) / 989.4e12)
    checkpointed = learner_roofline(
        model, gpu, LearnerLayout(1, zero_stage=1, gradient_checkpointing=True), WORK, assumed, old_forward=False
    )
    assert checkpointed.computing_s == pytest.approx(4 / 3 * alone.computing_s)


def test_failures_cost_more_where_there_is_more_to_fail() -> None:
    small, large = (replace(LARGE, gpus=gpus, workload=replace(WORK, groups_per_step=1024)) for gpus in (16, 2048))
    few, many = availability(small, split_of(small, 8, 1, 8), 60.0), availability(large, split_of(large, 1024, 1, 1024), 60.0)
    assert 0.0 < many < few < 1.0
    calm = replace(large, assumed=replace(large.assumed, gpu_failures_per_hour=0.0))
    assert availability(calm, split_of(calm, 1024, 1, 1024), 60.0) == 1.0


def test_the_recommended_experiment_loads_and_says_what_was_planned(plan: list[Alternative], tmp_path: Path) -> None:
    config, _ = load(
        ["experiment=starter", "grpo.max_new_tokens=1000", "generator.max_model_len=1500", "policy.scratch.max_position_embeddings=1500"]
    )
    text = experiment_file.experiment(LARGE, plan[0], config, None, ["planned"])
    experiment_file.check(text, policy_given=False)
    file = tmp_path / "experiment" / "mine.yaml"
    assert experiment_file.write(text, file) == f"chemr train --config-dir {tmp_path} experiment=mine"
    (tmp_path / "config.json").write_text("{}")
    loaded, _ = load(["experiment=mine", f"policy.path={tmp_path}"], tmp_path)
    split = plan[0].split
    assert (loaded.pool.generators, loaded.pool.learners) == (split.generators, split.layout.ranks)
    assert (loaded.generator.tensor_parallel, loaded.learner.zero_stage) == (split.tensor_parallel, split.layout.zero_stage)
    assert loaded.pool.generator_gpus == split.tensor_parallel and loaded.learner.micro_batch_tokens == split.layout.micro_batch_tokens
    with pytest.raises(PlanError, match=r"--out .*NAME\.yaml"):
        experiment_file.write(text, tmp_path / "plan.txt")
