"""What differs between architectures when a masked language model predicts at chosen positions only.

Most families need nothing of their own: the backbone runs, a hook gathers its output, the head sees the
gathered rows. XLNet predicts through a permutation, BART in its decoder. Architecture section 3.1.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel, XLNetLMHeadModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)


def is_known(model_type: str | None) -> bool:
    """Whether transformers itself has code for this model type."""
    return model_type in CONFIG_MAPPING


def has_masked_lm(model_type: str | None) -> bool:
    """Whether the family predicts masked words: transformers has a masked-LM class for it, or it is XLNet."""
    return model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or model_type == "xlnet"


def has_classifier(model_type: str | None) -> bool:
    """Whether transformers has a class of this family that classifies whole texts."""
    return model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


def masked_lm_class(config: PretrainedConfig) -> Any:
    """The class whose `from_pretrained` or `_from_config` gives the family's masked language model."""
    return XLNetLMHeadModel if config.model_type == "xlnet" else AutoModelForMaskedLM


def head_of(model: PreTrainedModel) -> nn.Module | None:
    """The module that receives the backbone's output; None where the backbone has no such neighbour.

    It is the first child after the backbone (DistilBERT registers an activation before its backbone), or else
    the first one before it (XLM-R registers its head first).
    """
    children = list(model.named_children())
    names = [name for name, _ in children]
    if model.base_model_prefix not in names or len(children) < 2:
        return None
    place = names.index(model.base_model_prefix)
    return children[(place + 1) if place + 1 < len(children) else 0][1]


def unused_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Parameters that no masked-LM forward of ours touches: poolers, and XLNet's segment terms."""
    ends = (".r_s_bias", ".seg_embed") if model.config.model_type == "xlnet" else ()
    return [p for name, p in model.named_parameters() if ".pooler." in name or name.endswith(ends)]


def fixed_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Arguments of every forward: no caches, which belong to generation."""
    accepted = inspect.signature(model.forward).parameters
    return {name: False for name in ("use_cache", "use_mems") if name in accepted}


def takes_attention_mask(model: PreTrainedModel) -> bool:
    """Whether the family's forward has an attention mask (FNet has none)."""
    return "attention_mask" in inspect.signature(model.forward).parameters


def logit_width(model: PreTrainedModel) -> int:
    """Number of logits per position; may exceed the tokenizer's vocabulary (padded embeddings)."""
    return int(model.config.vocab_size)


def piece_limit(model: PreTrainedModel) -> int | None:
    """The most pieces of one passage, special tokens included; None where positions are unlimited (XLNet).

    RoBERTa and its kin number positions from the padding index + 1; the rows before it are never used.
    """
    rows = getattr(model.config, "max_position_embeddings", None)
    if rows is None or rows <= 0:
        return None
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return int(rows) - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(rows)


def permutation_inputs(
    input_ids: torch.Tensor, position: torch.Tensor, mask_id: int | None
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """XLNet's way to predict position [C] (flat in B·L) of input_ids [B, L].

    Nobody sees the content of a target, nor that of any other masked position (`mask_id`; XLNet never met a
    mask token in its pre-training): each target is predicted from all the rest of its passage and its own
    place.

    Returns perm_mask [B, L, L] (1: may not be seen) and target_mapping [B, T, L] (one-hot, zero rows where a
    passage has fewer than T targets), both float, and the flat indices [C] of the targets in B·T.
    """
    rows, length = input_ids.shape
    # Each position once: XLNet adds up the queries of targets that stand at the same place.
    unique, target = torch.unique(position, return_inverse=True)
    row, column = unique // length, unique % length
    hidden = torch.zeros_like(input_ids, dtype=torch.bool) if mask_id is None else input_ids == mask_id
    hidden.view(-1)[unique] = True
    count = torch.bincount(row, minlength=rows)
    rank = torch.arange(len(row), device=row.device) - (torch.cumsum(count, 0) - count)[row]
    targets = max(1, int(count.max()))
    mapping = torch.zeros(rows, targets, length, device=input_ids.device)
    mapping[row, rank, column] = 1.0
    perm_mask = hidden[:, None, :].expand(rows, length, length).float()
    return {"perm_mask": perm_mask, "target_mapping": mapping}, (row * targets + rank)[target]
