"""Bytes per role: what is known by hand, what can only fall, and refusals that say what is missing."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from chemr.planning.devices import GIB, GPUS, Assumptions
from chemr.planning.errors import PlanError
from chemr.planning.memory import LearnerLayout, activations, engine_memory, learner_memory, require_engine, require_learner
from chemr.planning.model_sizes import KNOWN, model_named, model_of_scratch
from learner.config import ModelConfig

LLAMA = model_named("llama-3.1-8b")
NONE = Assumptions(workspace_gib=0.0, engine_workspace_gib=0.0)


def test_parameters_are_those_that_the_models_are_known_for():
    assert LLAMA.parameters == 8_030_261_248, "Llama-3.1-8B has 8,030,261,248 parameters"
    assert model_named("smollm2-135m").parameters == 134_515_008, "SmolLM2-135M has 134,515,008 parameters"
    assert model_of_scratch(ModelConfig(), 512).parameters == 722_048, "the starter's model has 722,048 parameters"
    assert all(0.9 < model_named(name).parameters / 1e9 / size < 1.1 for name, size in (("llama-3.1-70b", 70.6), ("llama-3.2-1b", 1.24)))


def test_keys_and_values_of_a_token_of_llama_are_128_kib():
    assert LLAMA.kv_bytes(2) == 131_072, "2 · 32 layers · 8 heads · 128 · 2 bytes"
    assert LLAMA.kv_bytes(2, 4) == 131_072 / 4 and LLAMA.kv_bytes(2, 16) == 131_072 / 8, "a GPU holds at least one head"


def test_a_rank_alone_holds_18_bytes_a_parameter_in_bf16_and_16_in_fp32():
    for dtype, bytes_each, stage in (("bf16", 18, 1), ("fp32", 16, 0)):
        memory = learner_memory(LLAMA, LearnerLayout(1, dtype, stage), NONE)
        states = memory.weights + memory.gradients + memory.optimizer
        assert states == bytes_each * LLAMA.parameters, f"weights, gradients, master weights and moments in {dtype}"


def test_zero_deals_out_optimizer_then_gradients_then_weights():
    one, two, three = (learner_memory(LLAMA, LearnerLayout(8, zero_stage=stage), NONE) for stage in (1, 2, 3))
    assert one.optimizer == two.optimizer == three.optimizer == 12 * LLAMA.parameters / 8
    assert one.gradients == 4 * LLAMA.parameters and two.gradients == three.gradients == one.gradients / 8
    assert three.weights < two.weights == one.weights, "only stage 3 deals the weights out"


@pytest.mark.parametrize("name", list(KNOWN))
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_more_ranks_need_no_more_memory_each_and_nothing_is_negative(name: str, stage: int):
    model = model_named(name)
    totals = []
    for ranks in (1, 2, 8, 64, 1024):
        memory = learner_memory(model, LearnerLayout(ranks, zero_stage=stage), Assumptions())
        assert min(asdict(memory).values()) >= 0.0, f"{memory} has a negative part"
        totals.append(memory.total)
    assert totals == sorted(totals, reverse=True), f"memory per rank must not rise with the ranks: {totals}"


def test_checkpointing_cutting_and_smaller_micro_batches_each_need_less():
    plain = LearnerLayout(8, micro_batch_tokens=8192)
    whole = learner_memory(LLAMA, plain, NONE).activations
    for change in ({"gradient_checkpointing": True}, {"tensor_parallel": 2}, {"sequence_parallel": 2}, {"micro_batch_tokens": 4096}):
        assert learner_memory(LLAMA, replace(plain, **change), NONE).activations < whole, f"{change} must need less"
    assert activations(LLAMA, 0, 2, 1, False) == 0.0
    assert activations(LLAMA, 1000, 2, 1, False) == 10 * activations(LLAMA, 100, 2, 1, False), "activations grow with the rows"


def test_the_engine_fills_its_share_of_the_gpu_and_no_more():
    gpu = GPUS["h100"]
    for tensors in (1, 2, 4, 8):
        memory = engine_memory(LLAMA, "bfloat16", tensors, gpu.memory, 0.9, Assumptions())
        assert memory.total == pytest.approx(0.9 * gpu.memory) and memory.cache_tokens > 0
    assert engine_memory(model_named("llama-3.1-70b"), "bfloat16", 1, gpu.memory, 0.9, Assumptions()).cache == 0.0, "never below 0"


def test_what_does_not_fit_is_refused_with_its_parts():
    small = GPUS["l4"]
    memory = engine_memory(LLAMA, "bfloat16", 1, small.memory, 0.9, Assumptions())
    with pytest.raises(PlanError, match=r"engine.*does not fit.*weights 15\.0 GiB.*100000"):
        require_engine(memory, 100_000, small.memory, 0.9, "an engine")
    with pytest.raises(PlanError, match=r"training does not fit.*optimizer 89\.7"):
        require_learner(learner_memory(LLAMA, LearnerLayout(1, zero_stage=1), NONE), 80 * GIB, "training")


@pytest.mark.parametrize(
    ("wrong", "named"), [({"ranks": 0}, "ranks"), ({"zero_stage": 4}, "zero_stage"), ({"ranks": 3, "tensor_parallel": 2}, "3 ranks")]
)
def test_a_layout_that_cannot_be_is_named(wrong: dict, named: str):
    with pytest.raises(PlanError, match=named):
        LearnerLayout(**({"ranks": 1} | wrong))


def test_unknown_gpus_models_and_assumptions_are_named_with_a_suggestion(tmp_path):
    from chemr.planning.devices import gpu_named

    with pytest.raises(PlanError, match=r"h1000.*did you mean 'h100'"):
        gpu_named("h1000")
    with pytest.raises(PlanError, match=r"llama-3\.1-8.*did you mean"):
        model_named("llama-3.1-8")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    with pytest.raises(PlanError, match="num_attention_heads"):
        model_named(str(tmp_path))
    for setting, said in (
        ("mfuu=0.4", "did you mean 'mfu'"),
        ("mfu=2", "share"),
        ("mfu=x", "not a number"),
        ("network=0", "above 0"),
        ("mfu", "name=value"),
    ):
        with pytest.raises(PlanError, match=said):
            Assumptions().with_settings([setting])
    assert Assumptions().with_settings(["mfu=0.45"]).mfu == 0.45
    assert all(gpu.bf16_flops > 1e14 for gpu in GPUS.values()), "every GPU of the table has a peak in learner.model_flops"
