"""Hand-written gradients for the parts of a Llama-like model that cost most on CPU besides its matrix products.

Autograd's chain of small operations reads and writes every activation a dozen times. These functions compute the same numbers in fp32 with
about half of the memory traffic. They replace the ``forward`` of single modules, so parameters, names, hooks and ZeRO-3's gathering stay
as they are. A module of a class that is not listed keeps its own code.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers.activations import SiLUActivation

from learner.config import Dtype

# transformers writes these out once per model family, with identical code.
RMS_NORMS = frozenset({"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"})
GATED_MLPS = frozenset({"LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP"})


class _RmsNorm(torch.autograd.Function):
    """y = w h with h = x r and r = (mean(x^2) + eps)^(-1/2), so dx = r (w g - h mean(w g h)) and dw = sum g h."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        square_sum = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse_rms = square_sum.mul_(1.0 / x.shape[-1]).add_(epsilon).rsqrt_()
        normal = x * inverse_rms
        ctx.save_for_backward(normal, inverse_rms, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normal, inverse_rms, weight = ctx.saved_tensors
        gradient = gradients[0]
        width = normal.shape[-1]
        product = (gradient * normal).reshape(-1, width)  # of single heads (Qwen3) it comes transposed
        weight_gradient = product.sum(0)
        projection = torch.mv(product, weight).mul_(-1.0 / width).view_as(inverse_rms)
        return torch.addcmul(gradient * weight, normal, projection).mul_(inverse_rms), weight_gradient, None


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up; silu(gate) is computed again in the backward pass instead of being kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        gradient = gradients[0]
        gate_gradient = torch.ops.aten.silu_backward(gradient * up, gate)
        return gate_gradient, silu(gate).mul_(gradient)


class _LinearBf16Gradient(torch.autograd.Function):
    """x W^T in fp32; both products of the backward pass in bf16 with fp32 accumulation inside, as mixed-precision training has them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x.to(torch.bfloat16), weight)
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].to(torch.bfloat16)
        rows = gradient.reshape(-1, gradient.shape[-1])
        x_gradient = (rows @ weight.to(torch.bfloat16)).float().view(x.shape)
        if not ctx.needs_input_grad[1]:  # frozen beside an adapter
            return x_gradient, None
        return x_gradient, (rows.t() @ x.view(-1, x.shape[-1])).float()


def _rms_norm(self: Any, hidden_states: Tensor) -> Tensor:
    normalised: Tensor = _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)
    return normalised


def _gated_mlp(self: Any, x: Tensor) -> Tensor:
    result: Tensor = self.down_proj(_SwiGlu.apply(self.gate_proj(x), self.up_proj(x)))
    return result


def linear_bf16_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T of float32 tensors, whose backward pass multiplies in bf16."""
    result: Tensor = _LinearBf16Gradient.apply(x, weight)
    return result


def _linear(self: Any, x: Tensor) -> Tensor:
    return linear_bf16_gradient(x, self.weight)


def install(model: nn.Module, gradient_dtype: Dtype) -> None:
    """Gives the modules of an fp32 model these forwards.

    Args:
        gradient_dtype: of the matrix products in the backward pass. bf16 leaves every forward number as it is.
    """
    for module in model.modules():
        kind = type(module).__name__
        if kind in RMS_NORMS:
            module.forward = MethodType(_rms_norm, module)
        elif kind in GATED_MLPS and isinstance(module.act_fn, SiLUActivation):
            module.forward = MethodType(_gated_mlp, module)
        elif gradient_dtype == Dtype.bf16 and kind == "Linear" and getattr(module, "bias", None) is None:
            module.forward = MethodType(_linear, module)


def compile_elementwise(model: nn.Module) -> None:
    """Fuses norms and gated MLPs with torch.compile: what lies between the matrix products is read and written once.

    They are compiled alone, for any number of rows: attention's layout is another one in every micro-batch, and a whole model would be
    compiled again and again. The first step takes the compiler's time.
    """
    for module in model.modules():
        if type(module).__name__ in RMS_NORMS | GATED_MLPS:
            module.compile(dynamic=True)
