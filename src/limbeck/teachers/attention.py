"""Attention on a CPU: of packed rows by their parts, and of short rows in bf16 by two products.

For rows of up to 128 pieces the fused kernel takes two to three times what two matrix products and a softmax
take, forward and backward; the forward alone is slower only on the shortest. In float32, on long rows and on
other devices it is left to do its work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from limbeck.teachers.dropout import dropout as drop
from limbeck.teachers.packed_attention import marked, packed_attention

SHORT = "limbeck_short"
"""Name under which transformers knows it. Models are saved without the name of their attention."""

# The products make [B, heads, L, L]. Lengths where both are as fast: with gradients, and without in widths of
# a head.
_LONGEST = 192
_LONGEST_IN_WIDTHS = 2


def short_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As transformers' `sdpa`: query, key, value [B, heads, L, D]; the result is [B, L, heads, D] and None.

    Takes the products where only they can be meant: no causal order, no bias by position, a mask of bool or
    none.
    """
    ours = (
        query.device.type == "cpu"
        and key.shape == query.shape
        and not (more.get("is_causal") or getattr(module, "is_causal", False))
        and more.get("position_bias") is None
        and (attention_mask is None or attention_mask.dtype == torch.bool)
    )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # without gradients torch's kernel under the mask is faster
    if ours and query.requires_grad and (segments := marked(attention_mask)) is not None:
        return packed_attention(query, key, value, segments, scale, dropout), None
    longest = _LONGEST if query.requires_grad else _LONGEST_IN_WIDTHS * query.shape[3]
    if not ours or query.dtype != torch.bfloat16 or query.shape[2] > longest:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return found
    scores = torch.matmul(query * scale, key.mT)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    share = torch.softmax(scores, -1)
    if dropout:  # 0 in evaluation
        share = drop(share, dropout)
    return torch.matmul(share, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(SHORT, short_attention)
AttentionMaskInterface.register(SHORT, sdpa_mask)


def use_short_attention(model: PreTrainedModel) -> None:
    """Lets a model that would take `sdpa` take this; others stay as they are."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(SHORT)
