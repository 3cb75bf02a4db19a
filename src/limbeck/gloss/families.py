"""What differs between architectures when glosses are classified: pooling, token types, packed attention.

Architecture section 3.2. Most families pool their first state and take a pair as one row.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from limbeck.errors import UserError
from limbeck.teachers.attention import SHORT
from limbeck.teachers.packed_attention import CONTEXT, OPENING, PADDING, mark

if TYPE_CHECKING:
    from limbeck.gloss.arranged import Packing

PACKED = ("bert", "roberta", "albert", "distilbert", "electra", "modernbert")
"""Families that can lay all glosses behind one context: attention by a mask, positions as an argument."""

# XLNet's classification piece stands at the end; BART has read everything at its decoder's end of sequence.
_POOLS_LAST = frozenset({"xlnet", "bart", "mbart", "mvp"})


def pools_last(model_type: str) -> bool:
    """Whether the pooled state is that of a row's last piece; of its first otherwise."""
    return model_type in _POOLS_LAST


def supports_packed(model_type: str) -> bool:
    """Whether the family can do the `packed` layout."""
    return model_type in PACKED


def check_packed(model_type: str) -> None:
    """Raises UserError for a family that cannot do the `packed` layout."""
    if not supports_packed(model_type):
        raise UserError(
            f"the packed layout does not work for the family {model_type!r}, only for {', '.join(PACKED)}; "
            'set layout = "pairs"'
        )


def takes_token_types(model: PreTrainedModel, most: int) -> bool:
    """Whether the model has a use for token types 0…most (XLNet compares them, so it takes any)."""
    if most == 0 or "token_type_ids" not in inspect.signature(model.base_model.forward).parameters:
        return False
    return model.config.model_type == "xlnet" or getattr(model.config, "type_vocab_size", 0) > most


def packed_inputs(model: PreTrainedModel, packing: Packing) -> dict[str, Any]:
    """attention_mask and position_ids of packed rows.

    The mask is [B, 1, L, L]; ModernBERT gets one for each of its kinds of layers, its window counted in
    positions, not in places of the row.

    Raises:
        UserError: an attention implementation that takes no mask of our own.
    """
    how = model.config._attn_implementation
    if how not in ("sdpa", SHORT, "eager"):
        raise UserError(f'the packed layout does not work with {how} attention; load the model with "sdpa"')
    visible = _visible(packing.segment)
    position = packing.position
    mask: Any = _as_mask(visible, how)
    if how == SHORT and torch.is_grad_enabled():
        mark(mask, packing.segment)
    if model.config.model_type == "modernbert":
        near = (position[:, :, None] - position[:, None, :]).abs() <= model.config.local_attention // 2
        mask = {"full_attention": mask, "sliding_attention": _as_mask(visible & near, how)}
    return {"attention_mask": mask, "position_ids": position + _first_position(model)}


def _visible(segment: torch.Tensor) -> torch.Tensor:
    """Which piece (row of the last two axes) sees which (column): bool [B, L, L] from segments [B, L].

    Every piece sees its own segment, so padding sees padding and no softmax is empty.
    """
    query, key = segment[:, :, None], segment[:, None, :]
    context = (key == CONTEXT) & (query != PADDING)
    return (query == key) | context | ((key == OPENING) & (query == CONTEXT))


def _as_mask(visible: torch.Tensor, how: str) -> torch.Tensor:
    """[B, 1, L, L]: bool; for eager attention, which adds it to its scores, float32."""
    mask = visible[:, None]
    if how != "eager":
        return mask
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, lowest)


def _first_position(model: PreTrainedModel) -> int:
    """RoBERTa numbers positions from its padding index + 1, the others from 0."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def idle_parameters(model: PreTrainedModel, *, masking: bool, token_types: bool) -> list[nn.Parameter]:
    """Parameters that no forward of a gloss model touches (DDP would wait for their gradients).

    Poolers always; without token types XLNet's segment terms; without the masked-LM part its head, as far as
    that shares nothing with the backbone, and XLNet's query of a masked place.
    """
    idle = [p for name, p in model.named_parameters() if "pooler" in name.split(".")]
    ends = () if token_types else ("r_s_bias", "seg_embed")
    if not masking:
        ends = (*ends, "mask_emb")
        used = {id(p) for p in model.base_model.parameters()}
        idle += [p for p in model.parameters() if id(p) not in used]
    if model.config.model_type == "xlnet":
        idle += [p for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] in ends]
    return idle
