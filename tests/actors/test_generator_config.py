"""The generator's configuration, and what it becomes for vLLM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.generator_config import PROBE_LARGEST, PROBE_TOLERANCE, GeneratorConfig, engine_arguments, engine_environment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "tpu"}, "generator.device is 'tpu'; choose one of cpu, cuda"),
        ({"dtype": "fp32"}, "generator.dtype is 'fp32'"),
        ({"threads": 0}, "generator.threads is 0"),
        ({"max_model_len": 1}, "max_model_len is 1"),
        ({"kv_cache_mb": None}, "kv_cache_mb is null on device cpu"),
        ({"device": "cuda", "kv_cache_mb": None, "gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5"),
        ({"max_num_batched_tokens": 8, "max_num_seqs": 16}, "below max_num_seqs = 16"),
        ({"max_num_batched_tokens": 256, "max_model_len": 512}, "below max_model_len = 512"),
        ({"probe_tolerance": 0.0}, "probe_tolerance is 0.0"),
        ({"update_timeout_s": 0.0}, "update_timeout_s is 0.0"),
        ({"log_level": "LOUD"}, "log_level is 'LOUD'"),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(GeneratorConfig(), **change).validate()


def test_the_defaults_and_a_gpu_configuration_are_valid() -> None:
    GeneratorConfig().validate()
    GeneratorConfig(device="cuda", dtype="bfloat16", tensor_parallel=4, kv_cache_mb=None, enforce_eager=False).validate()


def test_everything_an_engine_writes_goes_to_its_own_folder() -> None:
    first = engine_environment(GeneratorConfig(), Path("/dev/shm/r/g0"))
    second = engine_environment(GeneratorConfig(), Path("/dev/shm/r/g1"))
    assert {key for key in first if first[key] != second[key]} == {"TMPDIR", "VLLM_RPC_BASE_PATH"}, (
        "only the folders differ between engines"
    )
    assert first["VLLM_CPU_OMP_THREADS_BIND"] == "nobind", "engines on one node must not bind to the same cores"
    with pytest.raises(ValueError, match="socket path"):
        engine_environment(GeneratorConfig(), Path("/dev/shm/" + "x" * 80))


def test_the_model_worker_lives_in_the_core_process_unless_it_is_split() -> None:
    assert engine_environment(GeneratorConfig(), Path("/r"))["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0", (
        "one worker needs no process of its own"
    )
    split = GeneratorConfig(device="cuda", tensor_parallel=2)
    assert engine_environment(split, Path("/r"))["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1", "two workers do"


def test_an_engine_never_spreads_over_the_pool_s_placement_group() -> None:
    backends = [
        engine_arguments(GeneratorConfig(device=device, tensor_parallel=split), Path("m"), 0)["distributed_executor_backend"]
        for device in ("cpu", "cuda")
        for split in (1, 4)
    ]
    assert backends == ["uni", "mp", "uni", "mp"], "left open, vLLM takes Ray's executor and the learner's bundles"


def test_engine_arguments_fix_the_behaviour_distribution() -> None:
    arguments = engine_arguments(GeneratorConfig(), Path("m"), engine_seed=2**40 + 5)
    assert arguments["logprobs_mode"] == "processed_logprobs", "log-probs must be those after temperature"
    assert arguments["generation_config"] == "vllm", "a model folder's sampling defaults must not apply"
    assert arguments["seed"] == 5, "any engine seed must fit into 31 bits"
    assert "logits_processors" not in engine_arguments(GeneratorConfig(device="cuda"), Path("m"), 0), "a GPU samples by counter itself"


@pytest.mark.parametrize("engine", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("learner", ["float32", "bfloat16"])
def test_the_tolerance_is_that_of_the_coarser_format_unless_it_is_set(engine: str, learner: str) -> None:
    config = GeneratorConfig(dtype=engine)
    coarser = max((engine, learner), key=["float32", "float16", "bfloat16"].index)
    assert config.tolerance([learner]) == PROBE_TOLERANCE[coarser], "either side's rounding shows"
    assert config.tolerance(["float32", learner]) == PROBE_TOLERANCE[coarser], "some weights may be kept in float32"
    assert replace(config, probe_tolerance=0.5).tolerance([learner]) == 0.5, "a set tolerance wins"


def test_the_tolerance_passes_what_was_measured_and_a_rare_token_and_no_wrong_model() -> None:
    assert PROBE_TOLERANCE["float32"] > 10 * 7e-7 and PROBE_TOLERANCE["float32"] * PROBE_LARGEST > 10 * 4.8e-6
    assert PROBE_TOLERANCE["bfloat16"] > 5 * 1.1e-2 and PROBE_TOLERANCE["bfloat16"] * PROBE_LARGEST > 3 * 0.3
    assert PROBE_TOLERANCE["bfloat16"] < 0.5, "what half-loaded weights are off by"
