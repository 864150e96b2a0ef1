"""Log-probabilities of targets, and entropies, from hidden states through the language-model head.

With a small vocabulary the logits of a micro-batch fit anywhere, and keeping their probabilities for the backward pass is fastest
(*dense*). With 128,256 tokens and 8,192 targets they are 4 GiB, three times over. Then the head runs on a few rows at a time and keeps one
number a row, and the backward pass computes the logits again (*chunked*): one product more, and memory that depends on the buffer alone.
Both give the same numbers to rounding.

The head's own module does this, through a ``forward`` of its own, so that ZeRO-3's gathering, which hangs on modules, reaches it.
Axes: N targets, V vocabulary, C hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from learner.config import Dtype, LearnerConfig
from learner.kernels import linear_bf16_gradient
from learner.model_family import head_factor, head_softcap

TEMPORARIES = 3  # float32 [rows, V] that one chunk needs at a time


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """How the head computes.

    Attributes:
        buffer_bytes: what the temporaries of one chunk may take; what fits in it as a whole is computed densely.
        fp32: the product with weights that are kept in bf16 in float32 (MiniMax-M1, arXiv:2506.13585, section 3.2: the head's rounding is
            most of the difference between engine and trainer).
        gradient_dtype: of both products of the backward pass.
        factor: the model multiplies its logits by it (Cohere; Granite divides).
        softcap: the model bounds its logits z to c tanh(z / c) (Gemma 2); None: it does not. Such a head is always dense.
    """

    buffer_bytes: int
    fp32: bool = False
    gradient_dtype: torch.dtype = torch.float32
    factor: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: LearnerConfig, model_config: Any) -> HeadConfig:
        """``model_config``: transformers' of a model of a tested family (model_family.py)."""
        low = Dtype.bf16 in (config.dtype, config.gradient_dtype) and not config.head_fp32
        return cls(
            config.logprob_buffer_mb << 20,
            config.head_fp32,
            torch.bfloat16 if low else torch.float32,
            head_factor(model_config),
            head_softcap(model_config),
        )

    def chunks(self, count: int, vocabulary: int) -> Iterator[slice]:
        """Rows that are computed together."""
        size = max(1, self.buffer_bytes // (4 * TEMPORARIES * vocabulary))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def is_dense(self, count: int, vocabulary: int) -> bool:
        return 4 * TEMPORARIES * vocabulary * count <= self.buffer_bytes


def install(model: Any, config: HeadConfig) -> None:
    """Makes ``model.get_output_embeddings()(hidden_NC, target_N, temperature)`` return log-probabilities and entropies, float32 [N].

    The log-probabilities are taken after the temperature, as the engine takes them; the entropies carry no gradient.

    Raises:
        ValueError: ``config.fp32`` is wanted of a head that is not a plain linear layer without bias. Such a head is always dense.
    """
    head: Any = model.get_output_embeddings()
    is_plain = type(head) is nn.Linear and head.bias is None
    head.logprob_config = config
    if is_plain:
        head.forward = MethodType(_plain_head, head)
    elif config.fp32:
        raise ValueError(f"learner.head_fp32 needs a plain linear head without bias, and this model has {head}; set it to false")
    else:
        head.forward = MethodType(_other_head, head)


def _plain_head(self: Any, hidden_NC: Tensor, target_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    config: HeadConfig = self.logprob_config
    weight_VC = self.weight.float() if config.fp32 else self.weight
    hidden_NC = hidden_NC.to(weight_VC.dtype)
    if not config.is_dense(len(hidden_NC), len(weight_VC)):
        logprob_N, entropy_N = _ChunkedLogprob.apply(hidden_NC, weight_VC, target_N, temperature, config)
        return logprob_N, entropy_N
    mixed = weight_VC.dtype == torch.float32 and config.gradient_dtype == torch.bfloat16
    logits_NV = linear_bf16_gradient(hidden_NC, weight_VC) if mixed else linear(hidden_NC, weight_VC)
    return token_logprobs(_final(logits_NV, temperature, config), target_N)


def _other_head(self: Any, hidden_NC: Tensor, target_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    return token_logprobs(_final(type(self).forward(self, hidden_NC), temperature, self.logprob_config), target_N)


def _final(logits_NV: Tensor, temperature: float, config: HeadConfig) -> Tensor:
    """What the product with the head's weights becomes: the model's own scale and bound, then temperature."""
    if config.softcap is not None:
        return torch.tanh(logits_NV.float() * (config.factor / config.softcap)) * (config.softcap / temperature)
    scale = config.factor / temperature
    return logits_NV if scale == 1.0 else logits_NV.float() * scale


class _ChunkedLogprob(torch.autograd.Function):
    """With logits z: log p = z[target] - logsumexp(z), entropy = logsumexp(z) - sum p z, and d log p / dz = onehot(target) - p.

    z = s W h with s = factor / temperature; bounded by c it is c tanh(factor W h / c) / temperature, whose slope is s (1 - (z t / c)^2)
    with the temperature t.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_NC: Tensor, weight_VC: Tensor, target_N: Tensor, temperature: float, config: HeadConfig
    ) -> tuple[Tensor, Tensor]:
        count = len(hidden_NC)
        logprob_N, entropy_N, normaliser_N = (torch.empty(count, dtype=torch.float32, device=hidden_NC.device) for _ in range(3))
        for rows in config.chunks(count, len(weight_VC)):
            logits_nV = _logits(hidden_NC[rows], weight_VC, temperature, config)
            normaliser_n = torch.logsumexp(logits_nV, dim=-1)
            logprob_N[rows] = logits_nV.gather(1, target_N[rows, None]).squeeze(1) - normaliser_n
            probability_nV = (logits_nV - normaliser_n[:, None]).exp_()
            entropy_N[rows] = normaliser_n - torch.einsum("nv,nv->n", probability_nV, logits_nV)
            normaliser_N[rows] = normaliser_n
        ctx.save_for_backward(hidden_NC, weight_VC, target_N, normaliser_N)
        ctx.temperature, ctx.config = temperature, config
        ctx.mark_non_differentiable(entropy_N)
        return logprob_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NC, weight_VC, target_N, normaliser_N = ctx.saved_tensors
        config: HeadConfig = ctx.config
        gradient_N, dtype = gradients[0] * (config.factor / ctx.temperature), config.gradient_dtype
        weights_wanted = ctx.needs_input_grad[1]
        hidden_gradient_NC = torch.empty_like(hidden_NC)
        # Added up in float32 whatever the weights are kept in: hundreds of chunks are summed.
        weight_gradient_VC = torch.zeros_like(weight_VC, dtype=torch.float32) if weights_wanted else None
        factor_VC = weight_VC.to(dtype)
        for rows in config.chunks(len(hidden_NC), len(weight_VC)):
            logits_nV = _logits(hidden_NC[rows], weight_VC, ctx.temperature, config)
            slope_nV = None if config.softcap is None else 1.0 - (logits_nV * (ctx.temperature / config.softcap)).square_()
            gradient_nV = logits_nV.sub_(normaliser_N[rows, None]).exp_()
            gradient_nV.mul_(-gradient_N[rows, None])
            gradient_nV.scatter_add_(1, target_N[rows, None], gradient_N[rows, None])
            if slope_nV is not None:
                gradient_nV.mul_(slope_nV)
            factor_nV = gradient_nV.to(dtype)
            hidden_gradient_NC[rows] = (factor_nV @ factor_VC).to(hidden_NC.dtype)
            if weight_gradient_VC is not None and dtype == torch.float32:
                weight_gradient_VC.addmm_(factor_nV.t(), hidden_NC[rows].float())
            elif weight_gradient_VC is not None:
                weight_gradient_VC += factor_nV.t() @ hidden_NC[rows].to(dtype)
        weight_gradient = None if weight_gradient_VC is None else weight_gradient_VC.to(weight_VC.dtype)
        return hidden_gradient_NC, weight_gradient, None, None, None


def _logits(hidden_nC: Tensor, weight_VC: Tensor, temperature: float, config: HeadConfig) -> Tensor:
    """float32 [n, V] after the model's own scale and bound and after temperature, in memory of its own."""
    logits_nV = linear(hidden_nC, weight_VC).float()
    if config.softcap is not None:
        return logits_nV.mul_(config.factor / config.softcap).tanh_().mul_(config.softcap / temperature)
    scale = config.factor / temperature
    return logits_nV if scale == 1.0 else logits_nV.mul_(scale)


class _TokenLogprob(torch.autograd.Function):
    """log softmax(logits)[target] and the entropy in one pass, keeping only the probabilities for the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
        logprob_NV = torch.log_softmax(logits_NV, dim=-1)
        logprob_N = logprob_NV.gather(1, target_N[:, None]).squeeze(1)
        probability_NV = torch.exp(logprob_NV)
        entropy_N = -torch.einsum("nv,nv->n", probability_NV, logprob_NV)
        ctx.save_for_backward(probability_NV, target_N)
        ctx.mark_non_differentiable(entropy_N)
        return logprob_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        probability_NV, target_N = ctx.saved_tensors
        gradient_N = gradients[0]
        gradient_NV = probability_NV * -gradient_N[:, None]
        gradient_NV.scatter_add_(1, target_N[:, None], gradient_N[:, None])
        return gradient_NV, None


def token_logprobs(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, both float32 [N], from logits of any float dtype.

    The entropy carries no gradient.
    """
    if torch.is_grad_enabled() and logits_NV.requires_grad:
        logprob_N, entropy_N = _TokenLogprob.apply(logits_NV.float(), target_N)
        return logprob_N, entropy_N
    with torch.no_grad():
        logprob_NV = torch.log_softmax(logits_NV.float(), dim=-1)
        entropy_N = -torch.einsum("nv,nv->n", logprob_NV.exp(), logprob_NV)
        return logprob_NV.gather(1, target_N[:, None]).squeeze(1), entropy_N
