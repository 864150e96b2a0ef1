"""Losses and corrections against derivations in float64 that share no code with them."""

import math

import numpy as np
import pytest
import torch

from learner.config import Correction, GrpoConfig, Kl, Loss
from learner.corrections import (
    correction_weights,
    difference_histogram,
    difference_quantile,
    effective_sample_share,
    mismatch_sums,
)
from learner.losses import kl_penalty, policy_loss, segment_mean

LENGTHS = [5, 1, 9, 3]


@pytest.fixture
def tokens():
    rng = np.random.default_rng(3)
    count = sum(LENGTHS)
    new = torch.tensor(rng.normal(-2, 1, count), dtype=torch.float64, requires_grad=True)
    old = torch.tensor(new.detach().numpy() + rng.normal(0, 0.4, count))
    advantage = torch.tensor(np.repeat(rng.normal(size=len(LENGTHS)), LENGTHS))
    segment = torch.tensor(np.repeat(np.arange(len(LENGTHS)), LENGTHS))
    return new, old, advantage, segment


def _gradient(loss, new):
    return torch.autograd.grad(loss.sum(), new)[0]


def test_clip_higher_equals_the_formula_token_by_token(tokens):
    new, old, advantage, segment = tokens
    result = policy_loss(new, old, advantage, segment, 4, GrpoConfig())
    gradient = _gradient(result.loss_N, new)
    for i in range(len(new)):
        ratio, a = math.exp(new[i].item() - old[i].item()), advantage[i].item()
        clipped = min(max(ratio, 0.8), 1.28)
        assert math.isclose(result.loss_N[i].item(), max(-a * ratio, -a * clipped), rel_tol=1e-9), f"token {i}: wrong loss"
        cut = (a > 0 and ratio > 1.28) or (a < 0 and ratio < 0.8)
        assert math.isclose(gradient[i].item(), 0.0 if cut else -a * ratio, rel_tol=1e-9, abs_tol=1e-12), f"token {i}: wrong gradient"
        assert result.clipped_N[i].item() == cut, f"token {i} must be counted as clipped exactly when its gradient is cut"
    assert 0 < int(result.clipped_N.sum()) < len(new), "the test must see both kinds of tokens"


def test_dual_clip_bounds_the_loss_of_bad_samples_only():
    new = torch.tensor([3.0, 3.0, 0.1], requires_grad=True)
    old = torch.zeros(3)
    advantage = torch.tensor([-1.0, 1.0, -1.0])
    segment = torch.arange(3)
    result = policy_loss(new, old, advantage, segment, 3, GrpoConfig(dual_clip=3.0))
    assert result.loss_N[0].item() == pytest.approx(3.0), "a bad sample's loss stops at 3 |A|"
    assert result.loss_N[1].item() == pytest.approx(-1.28), "a good sample keeps the ordinary clip"
    assert result.loss_N[2].item() == pytest.approx(math.exp(0.1)), "a ratio near 1 is left alone"
    assert _gradient(result.loss_N, new)[0].item() == 0.0, "beyond the dual clip there is no gradient"


def test_gspo_uses_one_ratio_per_sequence_and_shares_its_gradient(tokens):
    new, old, advantage, segment = tokens
    result = policy_loss(new, old, advantage, segment, 4, GrpoConfig(loss=Loss.gspo))
    gradient = _gradient(result.loss_N, new)
    for s in range(4):
        rows = (segment == s).nonzero()[:, 0]
        ratio = math.exp((new[rows] - old[rows]).mean().item())
        a = advantage[rows[0]].item()
        expected = max(-a * ratio, -a * min(max(ratio, 0.8), 1.28))
        assert torch.allclose(result.loss_N[rows].detach(), torch.full((len(rows),), expected, dtype=torch.float64)), f"sequence {s}"
        cut = (a > 0 and ratio > 1.28) or (a < 0 and ratio < 0.8)
        assert torch.allclose(gradient[rows], torch.full((len(rows),), 0.0 if cut else -a * ratio, dtype=torch.float64)), f"sequence {s}"


def test_cispo_never_cuts_a_gradient_but_bounds_its_weight(tokens):
    new, old, advantage, segment = tokens
    result = policy_loss(new, old, advantage, segment, 4, GrpoConfig(loss=Loss.cispo))
    weight = np.clip(np.exp((new - old).detach().numpy()), 0.8, 1.28)
    np.testing.assert_allclose(_gradient(result.loss_N, new).numpy(), -weight * advantage.numpy(), rtol=1e-9)


def test_on_policy_all_losses_have_the_plain_policy_gradient(tokens):
    new, _, advantage, segment = tokens
    for loss in Loss:
        result = policy_loss(new, new.detach(), advantage, segment, 4, GrpoConfig(loss=loss))
        assert torch.allclose(_gradient(result.loss_N, new), -advantage), f"{loss}: at ratio 1 the gradient is -A grad log pi"
        assert not result.clipped_N.any(), f"{loss}: nothing is clipped at ratio 1"


def test_an_absurd_ratio_stays_finite():
    new = torch.tensor([0.0, -3000.0], requires_grad=True)
    result = policy_loss(new, torch.tensor([-3000.0, 0.0]), torch.tensor([-1.0, -1.0]), torch.arange(2), 2, GrpoConfig())
    assert torch.isfinite(result.loss_N).all(), "ratios are bounded in log space before exp"
    assert torch.isfinite(_gradient(result.loss_N, new)).all(), "and so are their gradients"


@pytest.mark.parametrize("kind", [Kl.k1, Kl.k2, Kl.k3])
def test_kl_estimators_average_to_the_true_divergence_and_its_gradient(kind):
    """Expectation taken exactly over a small vocabulary. k3's gradient is the forward KL's, so only its value is compared."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=7) * 0.05, dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor(rng.normal(size=7) * 0.05, dtype=torch.float64), 0)
    policy = torch.log_softmax(logits, 0)
    true = (policy.exp() * (policy - reference)).sum()
    true_gradient = torch.autograd.grad(true, logits, retain_graph=True)[0]
    estimate = (policy.detach().exp() * kl_penalty(policy, reference, kind)).sum()
    assert estimate.item() == pytest.approx(true.item(), rel=0.05), f"{kind} must estimate the divergence"
    if kind != Kl.k3:
        gradient = torch.autograd.grad(estimate, logits)[0]
        np.testing.assert_allclose(gradient.numpy(), true_gradient.numpy(), atol=1e-12)


def test_segment_means_are_means():
    value = torch.tensor([1.0, 3.0, 10.0])
    assert segment_mean(value, torch.tensor([0, 0, 2]), 3).tolist() == [2.0, 0.0, 10.0], "an empty segment has mean 0"


def test_correction_weights_equal_their_definitions():
    log_ratio = torch.tensor([-2.5, -0.1, 0.0, 0.5, 1.5, 0.001, -0.001])
    segment = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    ratio = [math.exp(x) for x in log_ratio.tolist()]

    def weights(kind):
        return correction_weights(log_ratio, segment, 2, GrpoConfig(correction=kind)).tolist()

    assert weights(Correction.tis) == pytest.approx([min(r, 2.0) for r in ratio]), "TIS truncates at the cap"
    assert weights(Correction.icepop) == pytest.approx([r if 0.5 <= r <= 5 else 0.0 for r in ratio]), "IcePop masks outside its band"
    geometric = math.exp(sum(log_ratio[:5].tolist()) / 5)
    assert not 0.98 <= geometric <= 1.02, "the first sequence is meant to be outside"
    assert weights(Correction.geometric) == [0.0] * 5 + [1.0] * 2, "the geometric mask drops whole sequences"
    assert weights(Correction.none) == weights(Correction.bypass) == [1.0] * 7, "none and bypass do not weigh"


def test_mismatch_statistics_equal_their_definitions():
    log_ratio = torch.tensor([0.3, -0.2, 0.0])
    w = np.exp(log_ratio.double().numpy())
    sums = mismatch_sums(log_ratio).tolist()
    assert sums == pytest.approx([w.sum(), (w**2).sum(), (w - 1 - np.log(w)).sum(), 0.5])
    assert effective_sample_share(4.0, 4.0, 4) == 1.0, "equal weights waste no sample"
    assert effective_sample_share(1.0, 1.0, 4) == 0.25, "one weight alone is one sample of four"


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_quantile_of_differences_is_known_to_a_sixth_and_adds_up_over_ranks(share):
    difference = np.random.default_rng(2).lognormal(-6, 2, 5000) * np.random.default_rng(3).choice([-1, 1], 5000)
    parts = [difference_histogram(torch.from_numpy(part)).numpy() for part in np.array_split(difference, 3)]
    exact = np.quantile(np.abs(difference), share)
    assert exact <= difference_quantile(np.sum(parts, axis=0), share) <= 1.17 * exact
    assert difference_quantile(difference_histogram(torch.tensor([50.0])).numpy(), 0.99) == math.inf, "above the scale it does not invent"
    assert difference_quantile(difference_histogram(torch.zeros(9)).numpy(), 0.99) <= 1e-7, "equal to the bit is the lowest edge"
