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
    **_: object,
) -> tuple[Tensor, None]:
    """Each completion attends to its prompt and itself.

    Args:
        query: [1, H, T, D]; key, value: [1, H_kv, T, D], rotary positions applied.
        packed: layout of the T rows.
        share: which of them are here, if several ranks share them; T below is then their number.

    Returns:
        [1, T, H, D] and no attention weights.

    Raises:
        ValueError: the model was called without ``packed=``, or with a mask, dropout or a batch of several rows.
    """
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
        _attend(block, own_query, _keys(block, own_key, key_T), _keys(block, own_value, value_T), scaling, grouped)
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


def _attend(block: AttentionBlock, own_query: Tensor, key: Tensor, value: Tensor, scaling: float | None, grouped: bool) -> Tensor:
    """Output rows [n * Lq, H, D] of one block, from its own query rows and [n, H_kv, Lk, D] keys and values."""
    output = scaled_dot_product_attention(
        _padded(block, own_query),
        key,
        value,
        attn_mask=block.mask,
        is_causal=block.mask is None,
        scale=scaling,
        enable_gqa=grouped,
    )
    return output.transpose(1, 2).reshape(block.count * block.width, *own_query.shape[1:])


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
