"""Low-rank adapters through peft: W' = W + (alpha / rank) B A with W frozen (LoRA, arXiv:2106.09685, equation 3).

The rest of the system never sees them: weights are published and exported merged, under the names of the plain model.
"""

from __future__ import annotations

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


def merged(module: Any) -> dict[str, Tensor]:
    """The parameters of the plain layer that computes what the adapted ``module`` computes; the weight is a new tensor."""
    plain = {name: parameter.detach() for name, parameter in module.base_layer.named_parameters()}
    plain["weight"] = plain["weight"] + module.get_delta_weight(ADAPTER).detach().to(plain["weight"].dtype)
    return plain


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
