"""Low-rank adapters: what is trained, what is published, what is kept, and the reference that needs no copy."""

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM

from learner import lora
from learner.batch import pack
from learner.config import Dtype, GrpoConfig, Kl, LearnerConfig
from learner.policy import Policy
from tests.learner.samples import OPTIM, weights_of

KL = GrpoConfig(kl=Kl.k3, kl_coef=0.1)


@pytest.fixture(scope="module")
def adapted(start):
    """Makes learners whose layers have adapters."""
    return functools.partial(start, lora_rank=4)


@pytest.mark.parametrize("settings", [{}, {"zero_stage": 2}, {"zero_stage": 3}, {"gradient_checkpointing": True}], ids=str)
def test_layout_changes_neither_loss_nor_gradient(adapted, documents, settings):
    plain, other = adapted(), adapted(**settings)
    for step in (lambda learner: learner.train_sft(documents), lambda learner: learner.train_grpo(documents, KL)):
        expected, own = step(plain), step(other)
        for name in ("train/loss", "train/grad_norm"):
            assert own[name] == pytest.approx(expected[name], rel=1e-5), f"{name} depends on {settings}"


def test_only_adapted_layers_change_and_what_is_published_is_the_plain_model(adapted, documents, model_dir, tmp_path):
    learner = adapted()
    before = weights_of(learner)
    learner.train_sft(documents)
    after = weights_of(learner)
    assert list(after) == [name for name, _ in AutoModelForCausalLM.from_pretrained(model_dir).named_parameters()], (
        "names of the plain model"
    )
    changed = {name.split(".")[-2] for name in after if not torch.equal(before[name], after[name])}
    assert changed == set(LearnerConfig().lora_targets), "embeddings and norms stay as they are"
    learner.export_hf(tmp_path / "model")
    merged = Policy.load(tmp_path / "model", LearnerConfig())
    for document, own in zip(documents, learner.logprobs(documents), strict=True):
        with torch.no_grad():
            logprob_N, _ = merged(pack([document]))
        assert torch.allclose(logprob_N, torch.cat([torch.from_numpy(one) for one in own]), atol=1e-5), "merged it computes the same"


@pytest.mark.parametrize("settings", [{}, {"zero_stage": 3}, {"zero_stage": 2, "dtype": Dtype.bf16}], ids=str)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(adapted, documents, settings, tmp_path):
    straight = adapted(**settings)
    straight.train_grpo(documents, KL)
    straight.save(tmp_path / "step-1")
    expected = straight.train_grpo(documents, KL)
    resumed = adapted(**settings)
    resumed.load(tmp_path / "step-1")
    own = resumed.train_grpo(documents, KL)
    for name in ("train/loss", "train/grad_norm", "train/kl"):
        assert own[name] == expected[name], f"{name} differs after the resume"


def test_a_checkpoint_with_adapters_is_refused_without_them(adapted, documents, tmp_path):
    adapted().save(tmp_path / "with")
    with pytest.raises(ValueError, match=r"no weight of .*learner\.lora_"):
        adapted(lora_rank=0).load(tmp_path / "with")


def test_a_new_stage_keeps_what_was_learnt_and_begins_with_new_adapters(adapted, documents):
    learner = adapted()
    learner.train_sft(documents)
    before = weights_of(learner)
    learner.begin_stage(OPTIM, 10, seed=1)
    after = weights_of(learner)
    assert max((before[name] - after[name]).abs().max().item() for name in before) == 0.0, "merged into the frozen weights"
    metrics = learner.train_grpo(documents, KL)
    assert metrics["train/kl"] == pytest.approx(0.0, abs=1e-6), "the reference is the policy at the start of this stage"


def test_the_policy_without_adapters_is_the_reference_that_a_copy_would_be(adapted, documents):
    """kl_refresh_every far away takes a copy at the first step and keeps it."""
    without_copy, with_copy = adapted(), adapted()
    copied = GrpoConfig(kl=Kl.k3, kl_coef=0.1, kl_refresh_every=1000)
    for _ in range(3):
        own, expected = without_copy.train_grpo(documents, KL), with_copy.train_grpo(documents, copied)
        assert own["train/kl"] == pytest.approx(expected["train/kl"], rel=1e-4, abs=1e-7)
        assert own["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-4)
    assert without_copy._reference is None, "and costs no memory"
    assert own["train/kl"] > 1e-4, "the policy has moved"


def test_a_layer_that_the_model_lacks_is_named(adapted):
    with pytest.raises(ValueError, match=r"no linear layer \['qkv_proj'\]; it has .*'q_proj'"):
        adapted(lora_targets=["q_proj", "qkv_proj"])


@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4])
def test_a_small_adapter_is_whole_in_merged_bf16_weights(rate):
    """Ten steps of AdamW move every entry of B by at most ten rates; the weights' own spacing in bf16 is about 1e-4."""
    layer = adapted_linear(rows=512, columns=1024, b_entries=10 * rate)
    delta = lora._delta(layer)
    merged = lora.merged(layer, "model.layers.0.q_proj")["weight"]
    change = merged.float() - layer.base_layer.weight.float()
    assert merged.dtype == torch.bfloat16
    kept = (change * delta).sum() / delta.square().sum()
    noise = change.std() / delta.std() / delta.numel() ** 0.5
    assert kept == pytest.approx(1.0, abs=max(0.02, 5 * noise.item())), "along the adapter's own direction nothing is lost"
    assert torch.equal(merged, lora.merged(layer, "model.layers.0.q_proj")["weight"]), "the same on every rank, and in the export"
    other = lora.merged(layer, "model.layers.1.q_proj")["weight"]
    assert not torch.equal(merged, other), "layers do not share their draws"


def test_a_new_adapter_changes_no_bit_of_bf16_weights():
    layer = adapted_linear(rows=64, columns=64, b_entries=0.0)
    assert torch.equal(lora.merged(layer, "one")["weight"], layer.base_layer.weight)


def adapted_linear(rows, columns, b_entries):
    """A frozen bf16 layer with an adapter whose B has entries of this size."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(columns, rows, bias=False)})
    torch.nn.init.normal_(model["q_proj"].weight, std=0.02)
    model = model.bfloat16()
    lora.add_adapters(model, LearnerConfig(lora_rank=16, lora_targets=["q_proj"]))
    up = model["q_proj"].lora_B["default"].weight
    up.data = torch.sign(torch.randn(up.shape)).to(up.dtype) * b_entries
    return model["q_proj"]
