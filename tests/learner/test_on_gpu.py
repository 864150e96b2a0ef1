"""The learner on a GPU computes what plain transformers computes on a CPU in float64. Skipped where there is no GPU.

Needs pytest, torch, transformers, deepspeed and peft: ``python -m pytest tests/learner/test_on_gpu.py``. In a process of its own:
DeepSpeed's accelerator is chosen once per process, so no learner of another device may come before.
"""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from learner.config import Correction, Device, Dtype, GrpoConfig
from tests.learner.samples import OPTIM, gradient_of, make_documents, relative_distance, weights_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

GROUPS = (4, 4, 1, 3, 2, 4)
LAYOUTS = [
    {"micro_batch_tokens": 10_000},
    {"micro_batch_tokens": 1},
    {"micro_batch_tokens": 60},
    {"zero_stage": 1},
    {"zero_stage": 2},
    {"zero_stage": 3},
    {"zero_stage": 2, "offload_optimizer": True},
    {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
    {"gradient_checkpointing": True},
    {"compile": True},
]


def plain_logprobs(model, prompt_ids, ids):
    """Of a completion's tokens, by a plain transformers model."""
    sequence = torch.from_numpy(np.concatenate([prompt_ids, ids]))[None]
    predicted = torch.log_softmax(model(sequence).logits[0, :-1], dim=-1).gather(1, sequence[0, 1:, None])[:, 0]
    return predicted[len(prompt_ids) - 1 :]


@pytest.fixture(scope="module")
def documents():
    return make_documents(11, GROUPS, behaviour=True)


@pytest.fixture(scope="module")
def on_gpu(start):
    return lambda **settings: start(device=Device.cuda, **settings)


@pytest.fixture(scope="module")
def expected(model_dir, documents):
    """Log-probs of all target tokens, and the clipped gradient of their mean negative, float64 on a CPU, one sequence at a time."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64, attn_implementation="eager")
    logprobs = []
    for document in documents:
        for completion in document.completions:
            logprobs.append(plain_logprobs(model, document.prompt_ids, completion.ids))
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    clipped = gradient * min(1.0, OPTIM.grad_clip / gradient.norm().item())
    return torch.cat(logprobs).detach(), loss.item(), clipped * (1 - OPTIM.betas[0])


@pytest.mark.parametrize("settings", LAYOUTS, ids=str)
def test_loss_gradient_and_logprobs_are_those_of_float64(on_gpu, documents, expected, settings):
    learner = on_gpu(**settings)
    logprobs = np.concatenate([values for group in learner.logprobs(documents) for values in group])
    assert np.abs(logprobs - expected[0].numpy()).max() < 1e-5, f"log-probs under {settings}"
    assert learner.train_sft(documents)["train/loss"] == pytest.approx(expected[1], rel=1e-5), f"the loss under {settings}"
    assert relative_distance(gradient_of(learner).double().cpu(), expected[2]) < 1e-5, f"the gradient under {settings}"


@pytest.mark.parametrize(
    "settings",
    [{"zero_stage": 1}, {"zero_stage": 2}, {"zero_stage": 3}, {"zero_stage": 2, "compile": True}, {"zero_stage": 2, "head_fp32": True}],
)
def test_bf16_follows_float64(on_gpu, documents, expected, settings):
    learner = on_gpu(dtype=Dtype.bf16, **settings)
    logprobs = np.concatenate([values for group in learner.logprobs(documents) for values in group])
    assert np.abs(logprobs - expected[0].numpy()).mean() < 0.02, f"log-probs under {settings}"
    assert learner.train_sft(documents)["train/loss"] == pytest.approx(expected[1], rel=0.01), f"the loss under {settings}"


def test_grpo_updates_do_not_depend_on_the_layout(on_gpu, documents):
    norms = {}
    for settings in LAYOUTS:
        metrics = on_gpu(**settings).train_grpo(documents, GrpoConfig(correction=Correction.none, updates_per_step=2))
        norms[str(settings)] = metrics["train/grad_norm"]
        assert 0 < metrics["train/mfu"] < 1, f"useful arithmetic is less than the peak: {metrics['train/mfu']}"
    first = norms[str(LAYOUTS[0])]
    assert all(norm == pytest.approx(first, rel=1e-4) for norm in norms.values()), f"gradient norms by layout: {norms}"


def test_adapters_train_and_merge(on_gpu, documents):
    learner = on_gpu(lora_rank=4)
    before = weights_of(learner)
    losses = [learner.train_sft(documents)["train/loss"] for _ in range(10)]
    assert losses[-1] < losses[0], f"adapters must learn: {losses}"
    after = weights_of(learner)
    assert before.keys() == after.keys(), "merged weights have the plain model's names"


@pytest.mark.parametrize(("settings", "then"), [({}, {}), ({"zero_stage": 3}, {"zero_stage": 2, "offload_optimizer": True})])
def test_a_checkpoint_goes_on(on_gpu, documents, tmp_path, settings, then):
    learner = on_gpu(**settings)
    learner.train_sft(documents)
    learner.save(tmp_path / "checkpoint")
    expected = learner.train_sft(documents)["train/loss"]
    resumed = on_gpu(**then)
    resumed.load(tmp_path / "checkpoint")
    assert resumed.train_sft(documents)["train/loss"] == pytest.approx(expected, rel=1e-5), (
        "the next step sees the weights of the saved one"
    )


def test_an_exported_model_is_the_policy(on_gpu, documents, tmp_path):
    learner = on_gpu(zero_stage=2)
    learner.train_sft(documents)
    learner.export_hf(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64, attn_implementation="eager")
    document = documents[0]
    with torch.no_grad():
        read_back = plain_logprobs(model, document.prompt_ids, document.completions[0].ids)
    own = learner.logprobs([document])[0][0]
    assert np.abs(read_back.numpy() - own).max() < 1e-5, "transformers reads the policy back from its folder"
