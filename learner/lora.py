"""Low-rank adapters through peft: W' = W + (alpha / rank) B A with W frozen (LoRA, arXiv:2106.09685, equation 3).

The rest of the system never sees them: weights are published and exported merged, under the names of the plain model.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from learner.config import LearnerConfig

ADAPTER = "default"  # the name peft gives the only adapter


def add_adapters(model: nn.Module, config: LearnerConfig) -> None:
    """Freezes ``model`` and puts an adapter that changes nothing yet (B = 0) beside every linear layer named in ``config.lora_targets``.

    The adapters' values come from torch's global random state.

    Raises:
        ValueError: the model has no layer of such a name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    present = linear_layer_names(model)
    missing = sorted(set(config.lora_targets) - present)
    if missing:
        raise ValueError(f"learner.lora_targets = {config.lora_targets}: the model has no linear layer {missing}; it has {sorted(present)}")
    settings = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=list(config.lora_targets), lora_dropout=0.0)
    inject_adapter_in_model(settings, model)


def linear_layer_names(model: nn.Module) -> set[str]:
    """Last parts of the names of a model's linear layers: q_proj, down_proj, ..."""
    return {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def is_adapted(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer with an adapter beside it."""
    return hasattr(module, "lora_A")  # peft itself takes seconds to import, and most runs have no adapter


def merged(module: Any, name: str) -> dict[str, Tensor]:
    """The parameters of the plain layer that computes what the adapted ``module`` computes; the weight is a new tensor.

    Added up in float32 and rounded once. To bf16 it is rounded up or down by chance (Gupta et al., arXiv:1502.02551, section 3), with the
    same draw for the same ``name``: the nearest bf16 of W + D is mostly W itself while D is small (after ten steps at 1e-5 in 88 % of the
    entries), and engines and exported models would not have what the adapter has learnt. By chance the mean over the entries is W + D.
    """
    plain = {name: parameter.detach() for name, parameter in module.base_layer.named_parameters()}
    weight = plain["weight"]
    whole = weight.float() + _delta(module)
    plain["weight"] = _rounded_by_chance(whole, zlib.crc32(name.encode())) if weight.dtype == torch.bfloat16 else whole.to(weight.dtype)
    return plain


def _delta(module: Any) -> Tensor:
    """(alpha / rank) B A in float32."""
    down, up = module.lora_A[ADAPTER].weight.detach().float(), module.lora_B[ADAPTER].weight.detach().float()
    product: Tensor = (up @ down) * float(module.scaling[ADAPTER])
    return product


def _rounded_by_chance(values: Tensor, seed: int) -> Tensor:
    """bf16 of float32 ``values``: one of its two neighbours, the nearer one with the greater chance. What is bf16 already stays."""
    generator = torch.Generator(device=values.device).manual_seed(seed)
    # bf16 is the upper half of a float32: what is added to the lower half carries into it in proportion.
    chance = torch.randint(0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    bits = (values.contiguous().view(torch.int32) + chance) & ~0xFFFF
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """The frozen model alone: the policy as it was when the adapters were added."""
    layers: list[Any] = [module for module in model.modules() if is_adapted(module)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
