"""Shared-prefix packing computes what the plain transformers model computes on every sequence alone."""

import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from learner.batch import Completion, Document, pack
from learner.config import Dtype, LearnerConfig, ModelConfig
from learner.logprobs import token_logprobs
from learner.policy import Policy, create_model
from tests.learner.samples import TINY, VOCAB, make_documents, save_family


@pytest.fixture(scope="module")
def policy(model_dir):
    return Policy.load(model_dir, LearnerConfig())


@pytest.fixture(scope="module")
def plain(model_dir):
    return AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="eager", dtype=torch.float32)


def unpacked_logprobs(model, documents, temperature=1.0):
    """The reference: one plain forward pass per sequence."""
    result = []
    for document in documents:
        for completion in document.completions:
            ids = torch.from_numpy(np.concatenate([document.prompt_ids, completion.ids]))[None]
            logprobs = torch.log_softmax(model(ids).logits[0] / temperature, -1)
            start = len(document.prompt_ids)
            result.append(logprobs[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0])
    return torch.cat(result)


@pytest.mark.parametrize("group_sizes", [(1,), (4,), (1, 1, 1, 1), (3, 1, 5, 2, 1, 8)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_packed_log_probs_and_gradients_equal_the_unpacked_model(policy, plain, group_sizes, seed):
    check_against(plain, policy, make_documents(seed, group_sizes), seed)


@pytest.mark.parametrize("family", [Qwen2Config, Qwen3Config])
def test_other_families_too(family, tmp_path):
    """Biases of projections; norms of single heads."""
    save_family(family, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32)
    check_against(plain, Policy.load(tmp_path, LearnerConfig()), make_documents(0, (3, 1, 5)), seed=0)


def check_against(plain, policy, documents, seed):
    logprob_N, _ = policy(pack(documents))
    expected_N = unpacked_logprobs(plain, documents)
    assert torch.allclose(logprob_N, expected_N, atol=1e-5), f"log-probs differ by {(logprob_N - expected_N).abs().max():.2e}"
    direction_N = torch.from_numpy(np.random.default_rng(seed).normal(size=len(expected_N)).astype(np.float32))
    policy.zero_grad()
    plain.zero_grad()
    (logprob_N * direction_N).sum().backward()
    (expected_N * direction_N).sum().backward()
    packed = dict(policy.model.named_parameters())
    for name, parameter in plain.named_parameters():
        error = (packed[name].grad - parameter.grad).abs().max() / parameter.grad.abs().max()
        assert error < 1e-5, f"the gradient of {name} differs by {error:.2e} of its largest entry"


def test_groups_of_one_length_are_exact_too(policy, plain):
    """Equal lengths take the path without padding."""
    rng = np.random.default_rng(5)
    documents = [Document(rng.integers(3, VOCAB, 7), [Completion(rng.integers(3, VOCAB, 9)) for _ in range(4)]) for _ in range(3)]
    batch = pack(documents)
    assert batch.output_rows is None, "equal lengths need no reordering"
    assert torch.allclose(policy(batch)[0], unpacked_logprobs(plain, documents), atol=1e-5)


def test_bf16_gradients_leave_log_probs_alone_and_stay_close(policy, model_dir):
    documents = make_documents(4, (4, 3, 1))
    rounded = Policy.load(model_dir, LearnerConfig(gradient_dtype=Dtype.bf16))
    logprob_N = {}
    for one in (policy, rounded):
        one.zero_grad()
        logprob_N[one], _ = one(pack(documents))
        logprob_N[one].mean().backward()
    assert torch.equal(logprob_N[policy], logprob_N[rounded]), "the forward pass must stay in fp32, to the bit"
    for (name, exact), other in zip(policy.named_parameters(), rounded.parameters(), strict=True):
        error = (exact.grad - other.grad).norm() / exact.grad.norm()
        assert error < 0.02, f"the gradient of {name} is off by {error:.1%}"
        assert other.grad.dtype == torch.float32, "gradients are still kept in fp32"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_norms_and_mlps_compute_the_same(model_dir):
    plain, compiled = (Policy.load(model_dir, LearnerConfig(dtype=Dtype.bf16, zero_stage=2, compile=compile)) for compile in (False, True))
    for seed in (0, 1):  # another number of rows
        batch = pack(make_documents(seed, (3, 1, 5)))
        logprob_N, expected_N = compiled(batch)[0], plain(batch)[0]
        assert (logprob_N - expected_N).abs().mean() < 0.02, "only the rounding between fused operations differs"
        logprob_N.sum().backward()
        expected_N.sum().backward()
    for (name, own), expected in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        error = (own.grad - expected.grad).norm() / expected.grad.norm()
        assert error < 0.05, f"the gradient of {name} differs by {error:.2f} of its length"


def test_log_probs_are_taken_after_temperature(policy, plain):
    documents = make_documents(2, (3, 1))
    assert torch.allclose(policy(pack(documents), 0.7)[0], unpacked_logprobs(plain, documents, 0.7), atol=1e-5)


def test_a_document_never_sees_its_neighbours(policy):
    documents = make_documents(3, (4, 1, 3))
    before = policy(pack(documents))[0].detach()
    documents[1].completions[0].ids = (documents[1].completions[0].ids + 7) % VOCAB
    documents[1].prompt_ids = (documents[1].prompt_ids + 5) % VOCAB
    documents[0].completions[2].ids = (documents[0].completions[2].ids + 9) % VOCAB
    after = policy(pack(documents))[0].detach()
    segment_N = pack(documents).segment_N
    for segment in range(8):
        changed = not torch.equal(before[segment_N == segment], after[segment_N == segment])
        assert changed == (segment in (2, 4)), f"completion {segment} must {'' if segment in (2, 4) else 'not '}depend on what was altered"


def test_the_prompt_is_computed_once_and_the_last_token_never():
    documents = [Document(np.arange(3, 13), [Completion(np.arange(3, 8)) for _ in range(8)])]
    assert pack(documents).ids_1T.shape == (1, 10 + 8 * 4), "10 prompt rows and 4 of each completion's 5 tokens"


def test_entropy_and_log_probs_match_their_definitions():
    logits = torch.randn(6, 11, dtype=torch.float32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.tensor([0, 3, 10, 5, 5, 1])
    logprob, entropy = token_logprobs(logits, target)
    full = torch.log_softmax(logits.detach().double(), -1)
    assert torch.allclose(logprob.double(), full.gather(1, target[:, None])[:, 0], atol=1e-6)
    assert torch.allclose(entropy.double(), -(full.exp() * full).sum(-1), atol=1e-6)
    assert not entropy.requires_grad, "entropy is reported, not trained on"
    weight = torch.arange(6.0)
    (logprob * weight).sum().backward()
    own = logits.grad.clone()
    logits.grad = None
    (torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0] * weight).sum().backward()
    assert torch.allclose(own, logits.grad, atol=1e-6), "the hand-written gradient must equal autograd's"


def test_a_call_without_its_batch_is_explained(policy):
    with pytest.raises(ValueError, match="packed=batch"):
        policy.model(input_ids=torch.zeros(1, 3, dtype=torch.long))


def test_a_new_model_is_reproducible_and_leaves_the_random_state_alone(tmp_path, model_dir):
    state = torch.get_rng_state()
    create_model(tmp_path / "again", TINY, VOCAB, {"bos": 0, "eos": 1, "pad": 2}, seed=1)
    assert torch.equal(state, torch.get_rng_state()), "making a model must not disturb anybody's random numbers"
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (model_dir / "model.safetensors").read_bytes(), (
        "same seed, same bytes"
    )


def test_the_default_shape_has_the_documented_size(tmp_path):
    assert create_model(tmp_path, ModelConfig(), 512, {"bos": 0, "eos": 1, "pad": 2}, seed=0) == 722_048


def test_impossible_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        create_model(tmp_path, TINY, VOCAB, {"bos": 0, "eos": 64, "pad": 2}, seed=0)
    with pytest.raises(ValueError, match="lacks 'pad'"):
        create_model(tmp_path, TINY, VOCAB, {"bos": 0, "eos": 1}, seed=0)
    with pytest.raises(ValueError, match="no model folder"):
        Policy.load(tmp_path / "nothing", LearnerConfig())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document(np.array([], dtype=int), [Completion(np.array([1]))]), "empty prompt"),
        (Document(np.array([1]), []), "no completion"),
        (Document(np.array([1]), [Completion(np.array([], dtype=int))]), "is empty"),
        (Document(np.array([1]), [Completion(np.array([1, 2]), 0.0, np.zeros(3))]), "3 behaviour log-probs"),
        (Document(np.arange(60), [Completion(np.arange(70))]), "longer than the model's 128 positions"),
    ],
)
def test_malformed_documents_are_explained(document, message):
    with pytest.raises(ValueError, match=message):
        document.check(128)
