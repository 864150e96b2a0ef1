import pytest

from learner.config import Dtype, GrpoConfig, Kl, LearnerConfig, Loss, ModelConfig, OptimConfig


@pytest.mark.parametrize("config", [ModelConfig(), OptimConfig(), LearnerConfig(), GrpoConfig()])
def test_defaults_are_valid(config):
    config.validate()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(heads=4, kv_heads=3), "model.kv_heads = 3 .*divisor of heads = 4"),
        (ModelConfig(head_dim=7), "even number"),
        (OptimConfig(lr=-1.0), "optim.lr"),
        (OptimConfig(betas=(0.9, 1.0)), "optim.betas"),
        (LearnerConfig(zero_stage=4), "learner.zero_stage = 4"),
        (LearnerConfig(dtype=Dtype.bf16, zero_stage=0), "take learner.zero_stage=2"),
        (LearnerConfig(tensor_parallel=2), "take learner.zero_stage=1, 2 or 3 with it"),
        (LearnerConfig(tensor_parallel=2, zero_stage=1, sequence_parallel=2), "take either it or learner.sequence_parallel"),
        (LearnerConfig(tensor_parallel=2, zero_stage=1, lora_rank=4), "set learner.lora_rank=0"),
        (LearnerConfig(offload_optimizer=True), "take learner.zero_stage=2"),
        (
            LearnerConfig(dtype=Dtype.bf16, offload_optimizer=True, zero_stage=2),
            r"learner.zero_stage = 2 .* gradients up in bf16; .* take learner.zero_stage=3",
        ),
        (LearnerConfig(dtype=Dtype.bf16, offload_optimizer=True, zero_stage=1), "take learner.zero_stage=3"),
        (LearnerConfig(offload_parameters=True, zero_stage=2), "learner.zero_stage=3 and learner.offload_optimizer=true"),
        (LearnerConfig(compile=True), "hand-written gradients"),
        (LearnerConfig(lora_rank=-1), "lora_rank = -1"),
        (LearnerConfig(lora_targets=[]), "at least one kind of linear layer"),
        (LearnerConfig(micro_batch_tokens=0), "micro_batch_tokens"),
        (LearnerConfig(dtype=Dtype.bf16, zero_stage=2, gradient_dtype=Dtype.bf16), "set it to fp32"),
        (GrpoConfig(temperature=0.0), "needs sampling"),
        (GrpoConfig(kl=Kl.k3), "kl=k3 the coefficient must be above 0"),
        (GrpoConfig(kl_coef=0.1), "kl=none the coefficient must be 0"),
        (GrpoConfig(kl_refresh_every=5), "no reference"),
        (GrpoConfig(dual_clip=3.0, loss=Loss.cispo), "cispo has no dual clip"),
        (GrpoConfig(tis_cap=0.5), "tis_cap"),
        (GrpoConfig(icepop_low=2.0), "band must contain 1"),
    ],
)
def test_impossible_settings_name_field_value_and_remedy(config, message):
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_are_added_up_over_ranks_in_float32(dtype, stage):
    from learner.distributed import _engine_config

    settings = _engine_config(LearnerConfig(dtype=dtype, zero_stage=stage), OptimConfig())
    assert settings["communication_data_type"] == "fp32", "DeepSpeed's own choice is the model's dtype"
    assert dtype == Dtype.fp32 or settings["data_types"]["grad_accum_dtype"] == "fp32"
