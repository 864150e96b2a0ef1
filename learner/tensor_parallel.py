"""Tensor parallelism: the ranks of a group hold a part of every layer's matrices each and compute one micro-batch together.

The cut is Megatron-LM's (arXiv:1909.08053, section 3), made by DeepSpeed's AutoTP: queries, keys, values, gate and up by their outputs, so
that a rank has whole heads; the projections that follow by their inputs, so that a layer needs two all-reduces in each direction.
Embeddings, norms and head stay whole on every rank, so log-probs are those of one rank.

Published weights and checkpoints know nothing of it: :func:`whole` and :func:`own_part` lie between them and the parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from learner.lora import linear_layer_names
from learner.model_family import FAMILIES
from learner.rank_group import RankGroup

BY_OUTPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
BY_INPUTS = ("o_proj", "down_proj")
# Norms of single heads (Qwen3): whole, but each rank sees its own heads only, so their gradients are added up.
PER_HEAD = ("q_norm", "k_norm")


def check_model(model: Any, group: RankGroup) -> None:
    """Raises ValueError if ``model`` has no layers that could be cut, or their sizes cannot be dealt out evenly."""
    if group.size == 1:
        return
    present = linear_layer_names(model)
    missing = sorted({*BY_OUTPUTS, *BY_INPUTS} - present)
    if missing:
        raise ValueError(
            f"learner.tensor_parallel = {group.size}: the model has no linear layer {missing}, it has {sorted(present)}; it can cut Llama, "
            "Qwen, Mistral and SmolLM; take ZeRO-3 or learner.sequence_parallel for this one"
        )
    family = FAMILIES.get(model.config.model_type)
    if family is None or not family.cuts:
        raise ValueError(
            f"learner.tensor_parallel = {group.size}: a model of type {model.config.model_type!r} cannot be cut exactly (a norm over all "
            "heads, or fused projections); take ZeRO-3 or learner.sequence_parallel for this one"
        )
    group.check_deals_out("learner.tensor_parallel", **head_counts(model.config), inner_features=model.config.intermediate_size)


def head_counts(config: Any) -> dict[str, int]:
    """Attention heads and key-value heads of a model, by the names messages give them."""
    heads = config.num_attention_heads
    return {"attention_heads": heads, "key_value_heads": getattr(config, "num_key_value_heads", None) or heads}


def engine_settings(size: int) -> dict[str, Any]:
    """The section ``tensor_parallel`` of DeepSpeed's configuration. Named layers are cut, and nothing else."""

    def layers(names: tuple[str, ...], **how: Any) -> dict[str, Any]:
        return {"patterns": [rf".*\.({'|'.join(names)})\.weight$"], **how}

    return {
        "autotp_size": size,
        "vocab_parallel_lm_head": False,
        "partition_config": {
            "use_default_specs": False,
            "layer_specs": [
                layers(BY_OUTPUTS, partition_type="column"),
                layers(BY_INPUTS, partition_type="row"),
                layers(PER_HEAD, partition_type="skip", grad_allreduce=True),
            ],
        },
    }


def settle(engine: Any) -> None:
    """Takes out DeepSpeed's check that all ranks of a group read the same batch: it would send the first micro-batch around by pickle, and
    cannot compare a packed one. Ours follows from one plan."""
    engine.first_dataloader_check.remove()


def whole_shape(parameter: Any) -> tuple[int, ...]:
    """Shape of the plain model's parameter, of which ZeRO-3 and tensor parallelism may have left this rank a part."""
    cut = _cut(parameter)
    return tuple(cut["logical_shape"] if cut else getattr(parameter, "ds_shape", parameter.shape))


def whole(parameter: nn.Parameter, own: Tensor, group: RankGroup) -> Tensor:
    """The plain model's tensor, from what ``own`` (shaped like this rank's part of ``parameter``) is on every rank. A collective of the
    group; ``own`` itself where nothing is cut."""
    cut = _cut(parameter)
    if cut is None:
        return own
    parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(group.size)]
    torch.distributed.all_gather(parts, own.contiguous(), group=group.process_group)
    return torch.cat(parts, dim=cut["partition_dim"])


def own_part(parameter: nn.Parameter, tensor: Tensor, group: RankGroup) -> Tensor:
    """The opposite of :func:`whole`, without a collective."""
    cut = _cut(parameter)
    return tensor if cut is None else tensor.chunk(group.size, dim=cut["partition_dim"])[group.rank]


def _cut(parameter: Any) -> dict[str, Any] | None:
    """What AutoTP noted on a parameter that it has cut (DeepSpeed 0.19: of a row-parallel layer's bias, that it has not)."""
    noted: dict[str, Any] | None = getattr(parameter, "ds_autotp_universal_checkpoint_meta", None)
    return noted if noted and noted["partition_dim"] is not None else None
