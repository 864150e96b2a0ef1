"""The language-model head in chunks: the numbers of the dense one, in a fraction of its memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from learner import logprobs
from learner.batch import pack
from learner.config import Dtype, LearnerConfig
from learner.logprobs import HeadConfig
from learner.policy import Policy
from tests.learner.samples import make_documents

COUNT, WIDTH, VOCAB = 37, 16, 50


class HeadOnly:
    """A model as far as logprobs.install looks at it."""

    def __init__(self, bias: bool = False) -> None:
        torch.manual_seed(0)
        self.head = nn.Linear(WIDTH, VOCAB, bias=bias)

    def get_output_embeddings(self) -> nn.Linear:
        return self.head


def computed(model, config, temperature, dtype=torch.float32):
    """Log-probs, entropies and both gradients of a weighted sum."""
    logprobs.install(model, config)
    head = model.head.to(dtype)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(COUNT, WIDTH, generator=generator).to(dtype).requires_grad_()
    target = torch.randint(VOCAB, (COUNT,), generator=generator)
    logprob, entropy = head(hidden, target, temperature)
    head.zero_grad()
    (logprob * torch.randn(COUNT, generator=generator)).sum().backward()
    return logprob.detach(), entropy, hidden.grad, head.weight.grad


def buffer_of(rows: int) -> int:
    return rows * VOCAB * 4 * logprobs.TEMPORARIES


@pytest.mark.parametrize("rows", [1, 7, 36])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_of_any_size_equal_the_dense_head(rows, temperature):
    dense = computed(HeadOnly(), HeadConfig(buffer_of(COUNT)), temperature)
    chunked = computed(HeadOnly(), HeadConfig(buffer_of(rows)), temperature)
    for name, one, other in zip(("log-probs", "entropies", "gradient of hidden", "gradient of weights"), dense, chunked, strict=True):
        assert torch.allclose(one, other, atol=1e-6), f"{name} differ by {(one - other).abs().max():.1e}"
    assert not chunked[1].requires_grad, "entropy is reported, not trained on"


def test_the_gradient_is_that_of_finite_differences():
    config = HeadConfig(buffer_of(5))
    weight = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(2))
    hidden = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(3)).requires_grad_()
    target = torch.arange(9)
    logprob, _ = logprobs._ChunkedLogprob.apply(hidden, weight, target, 0.5, config)
    logprob.sum().backward()
    step = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(4)).double() * 1e-6

    def exact(moved):
        return torch.log_softmax(moved @ weight.double().t() / 0.5, -1).gather(1, target[:, None]).sum()

    slope = (exact(hidden.detach().double() + step) - exact(hidden.detach().double() - step)) / 2
    assert torch.isclose((hidden.grad.double() * step).sum(), slope, rtol=1e-4)


def test_a_bf16_model_with_an_fp32_head_is_nearer_to_fp32():
    exact = computed(HeadOnly(), HeadConfig(buffer_of(COUNT)), 1.0)[0]
    errors = {}
    for fp32 in (False, True):
        for rows in (COUNT, 5):
            config = HeadConfig(buffer_of(rows), fp32, torch.float32 if fp32 else torch.bfloat16)
            logprob, _, _, gradient = computed(HeadOnly(), config, 1.0, torch.bfloat16)
            errors[fp32, rows] = float((logprob - exact).abs().mean())
            assert gradient.dtype == torch.bfloat16, "DeepSpeed wants gradients of the weights' dtype"
    assert max(errors[True, rows] for rows in (COUNT, 5)) < min(errors[False, rows] for rows in (COUNT, 5)), f"{errors}"


def test_a_head_with_a_bias_is_dense_and_cannot_be_fp32():
    model = HeadOnly(bias=True)
    logprob, _, _, _ = computed(model, HeadConfig(buffer_of(1)), 1.0)
    assert logprob.shape == (COUNT,)
    with pytest.raises(ValueError, match="head_fp32"):
        logprobs.install(HeadOnly(bias=True), HeadConfig(buffer_of(1), fp32=True))


def test_a_policy_in_chunks_is_the_same_policy(model_dir, monkeypatch):
    documents = make_documents(3, (4, 1, 3))
    results = []
    for size in (1 << 20, 1500):
        monkeypatch.setattr(HeadConfig, "of", classmethod(lambda cls, config, model_config, size=size: cls(size)))
        policy = Policy.load(model_dir, LearnerConfig())
        logprob, entropy = policy(pack(documents))
        logprob.mean().backward()
        results.append((logprob.detach(), entropy, {name: one.grad for name, one in policy.named_parameters()}))
    (dense, dense_entropy, dense_gradients), (chunked, chunked_entropy, chunked_gradients) = results
    assert torch.allclose(dense, chunked, atol=1e-6) and torch.allclose(dense_entropy, chunked_entropy, atol=1e-5)
    for name, gradient in dense_gradients.items():
        assert torch.allclose(gradient, chunked_gradients[name], atol=1e-7, rtol=1e-4), f"the gradient of {name} depends on the chunks"


def test_an_fp32_head_of_an_fp32_model_is_refused():
    with pytest.raises(ValueError, match=r"learner\.head_fp32"):
        LearnerConfig(dtype=Dtype.fp32, head_fp32=True).validate()


PEAK = """
import sys, torch
from pathlib import Path
from torch import nn
from learner import logprobs
class Model:
    head = nn.Linear(32, 32_000, bias=False)
    def get_output_embeddings(self): return self.head
model = Model(); logprobs.install(model, logprobs.HeadConfig(int(sys.argv[1]) << 20))
hidden = torch.randn(2048, 32, requires_grad=True); target = torch.zeros(2048, dtype=torch.long)
def kib(name): return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now: that of the imports, or of the parent, does not count
before = kib("VmRSS"); model.head(hidden, target, 0.9)[0].mean().backward(); print(kib("VmHWM") - before)
"""


def test_the_memory_of_the_chunks_is_the_buffers():
    def peak_mib(buffer_mb: int) -> float:
        done = subprocess.run([sys.executable, "-c", PEAK, str(buffer_mb)], capture_output=True, text=True, check=True, timeout=480)
        return int(done.stdout) / 1024

    dense, chunked = peak_mib(10_000), peak_mib(16)
    assert dense > 600, f"2,048 x 32,000 logits are 250 MiB, more than once: {dense:.0f} MiB"
    assert chunked < dense / 8, f"{chunked:.0f} MiB in chunks against {dense:.0f} MiB"
