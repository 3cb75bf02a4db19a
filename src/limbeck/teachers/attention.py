"""Attention on a CPU: of packed rows by their parts, and in bf16 by two products.

Two matrix products and a softmax take less than half of what the fused kernel takes, forward and backward, on
rows of up to 128 pieces; without gradients, a few rows at a time, so that the shares stay in the processor's
cache, two thirds. In float32, on long rows and on other devices the kernel is left to do its work.
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

# Lengths where both are as fast: with gradients, where the shares [B, heads, L, L] are kept, and without.
_LONGEST = 192
_LONGEST_WITHOUT = 1024
# Shares made at once without gradients: of a few megabytes, as a core's cache.
_PART = 1 << 20


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
    longest = _LONGEST if torch.is_grad_enabled() else _LONGEST_WITHOUT
    if not ours or query.dtype != torch.bfloat16 or query.shape[2] > longest:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return found
    if not (torch.is_grad_enabled() or dropout):
        return _by_parts(query * scale, key, value, attention_mask), None
    scores = torch.matmul(query * scale, key.mT)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    share = torch.softmax(scores, -1)
    if dropout:  # 0 in evaluation
        share = drop(share, dropout)
    return torch.matmul(share, value).transpose(1, 2).contiguous(), None


def _by_parts(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Some rows at a time, without gradients: [B, heads, L, D] (the query scaled) → [B, L, heads, D]."""
    rows, heads, length, width = query.shape
    size = max(1, min(rows, _PART // (heads * length * length)))
    found = query.new_empty(rows, length, heads, width)
    shares = query.new_empty(size * heads, length, length)
    hidden = None if mask is None else ~mask.expand(rows, -1, -1, -1)
    for start in range(0, rows, size):
        part = slice(start, start + size)
        q, k, v = (x[part].reshape(-1, length, width) for x in (query, key, value))
        share = torch.bmm(q, k.mT, out=shares[: len(q)])
        if hidden is not None:
            share.view(-1, heads, length, length).masked_fill_(hidden[part], torch.finfo(share.dtype).min)
        torch.softmax(share, -1, out=share)
        found[part] = torch.bmm(share, v).view(-1, heads, length, width).transpose(1, 2)
    return found


AttentionInterface.register(SHORT, short_attention)
AttentionMaskInterface.register(SHORT, sdpa_mask)


def use_short_attention(model: PreTrainedModel) -> None:
    """Lets a model that would take `sdpa` take this; others stay as they are."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(SHORT)
