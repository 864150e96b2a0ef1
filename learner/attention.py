"""Attention over a packed row, plugged into transformers' AttentionInterface under the name ``packed``.

transformers hands every attention function the keyword arguments of the model's forward call, so the packed batch reaches us as
``packed=``. It builds no mask for a name that its mask registry does not know (masking_utils._preprocess_mask_arguments).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from learner.batch import AttentionBlock, PackedBatch
from learner.sequence_parallel import RowShare

NAME = "packed"
WHAT_THE_MODEL_READ = frozenset({"position_ids", "cache_position", "use_cache"})  # it is done before attention, or switched off


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed: PackedBatch | None = None,
    share: RowShare | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Each completion attends to its prompt and itself.

    Args:
        query: [1, H, T, D]; key, value: [1, H_kv, T, D], rotary positions applied.
        packed: layout of the T rows.
        share: which of them are here, if several ranks share them; T below is then their number.
        sliding_window: W tokens are seen, the query's own included; None: all before it.
        softcap: scores z become c tanh(z / c) before the softmax (Gemma 2, arXiv:2408.00118, section 2); None: they stay.

    Returns:
        [1, T, H, D] and no attention weights.

    Raises:
        ValueError: the model was called without ``packed=``, or with a mask, dropout or a batch of several rows, or it wants something of
            attention that is not computed here.
    """
    unknown = {name: value for name, value in others.items() if value is not None and name not in WHAT_THE_MODEL_READ}
    if unknown or not getattr(module, "is_causal", True):
        raise ValueError(
            f"{type(module).__name__} wants {', '.join(sorted(unknown)) or 'attention in both directions'}, which packed attention does "
            "not compute; take a model of a family in learner/model_family.py"
        )
    if packed is None or attention_mask is not None or dropout != 0.0 or query.shape[0] != 1:
        raise ValueError(
            "a model with attn_implementation='packed' is called as model(input_ids=batch.ids_1T, position_ids=batch.positions_1T, "
            "packed=batch, use_cache=False), without mask and dropout; for plain use load it with attn_implementation='sdpa'"
        )
    if share is not None:
        query, key, value = share.all_rows(query), share.all_rows(key), share.all_rows(value)
    query_T = query[0].transpose(0, 1)  # [T, H, D]: the order the projections have written, so these are views
    key_T = key[0].transpose(0, 1)
    value_T = value[0].transpose(0, 1)
    grouped = query_T.shape[1] != key_T.shape[1]
    sizes = [block.rows for block in packed.blocks]
    outputs = [
        _attend(block, own_query, _keys(block, own_key, key_T), _keys(block, own_value, value_T), scaling, grouped, sliding_window, softcap)
        for block, own_query, own_key, own_value in zip(
            packed.blocks, query_T.split(sizes), key_T.split(sizes), value_T.split(sizes), strict=True
        )
    ]
    output_T = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if packed.output_rows is not None:
        output_T = output_T.index_select(0, packed.output_rows)
    if share is not None:
        output_T = share.all_heads(output_T)
    return output_T[None], None


def _attend(
    block: AttentionBlock, own_query: Tensor, key: Tensor, value: Tensor, scaling: float | None, grouped: bool, window: int | None,
    softcap: float | None,
) -> Tensor:  # fmt: skip
    """Output rows [n * Lq, H, D] of one block, from its own query rows and [n, H_kv, Lk, D] keys and values."""
    query = _padded(block, own_query)
    keys = key.shape[2]
    mask = block.mask if window is None or window >= keys else block.within(window, key)
    if softcap is None:
        output = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped)
    else:
        output = _softcapped(query, key, value, block.within(keys, key) if mask is None else mask, scaling, softcap)
    return output.transpose(1, 2).reshape(block.count * block.width, *own_query.shape[1:])


def _softcapped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, softcap: float) -> Tensor:
    """[n, H, Lq, D] as scaled_dot_product_attention gives it, of bounded scores: all of them lie in memory, [n, H, Lq, Lk]."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32).to(query.dtype) @ value


def _padded(block: AttentionBlock, own_rows: Tensor) -> Tensor:
    """The block's own rows as [n, H, Lq, D]."""
    rows = own_rows if block.query_rows is None else own_rows.index_select(0, block.query_rows)
    return rows.view(block.count, block.width, *own_rows.shape[1:]).transpose(1, 2)


def _keys(block: AttentionBlock, own_rows: Tensor, row_T: Tensor) -> Tensor:
    """The rows that the block's queries may see, [n, H_kv, Lk, D]."""
    if block.key_rows is None:
        return _padded(block, own_rows)
    return row_T.index_select(0, block.key_rows).view(block.count, -1, *row_T.shape[1:]).transpose(1, 2)


AttentionInterface.register(NAME, packed_attention)
