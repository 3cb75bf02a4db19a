"""Any encoder with a gloss head beside it: one forward gives the match logits and the masked-LM logits.

Architecture section 3.2 (arXiv 2301.08130, LMGC and LMGC-M). The head is 2·H + 2 weights, kept beside the
model, whose own parameters stay those of the input; gloss/checkpoint.py has the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from limbeck.errors import UserError
from limbeck.gloss import families
from limbeck.gloss.checkpoint import is_headless, read_encoder, read_head, write_head
from limbeck.gloss.encode import Encoder
from limbeck.gloss.layout import GlossBatch, Layout
from limbeck.gloss.settings import GlossSettings
from limbeck.teachers import families as lm_families
from limbeck.teachers import loading
from limbeck.teachers.attention import use_short_attention
from limbeck.teachers.dropout import use_fast_dropout
from limbeck.teachers.masked_lm import MaskedLM, resolve_device

DROPOUT = 0.2
"""Before the head, as published."""


class _Keep:
    """Forward hook of the backbone: keeps its last hidden states [B, L, H] where they are asked for."""

    def __init__(self) -> None:
        self.wanted = False
        self.states: torch.Tensor | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.wanted:
            self.states = output[0]


class GlossModel(nn.Module):
    """A model that says which gloss fits, and with `masking` predicts masked words in the same forward.

    Parameters that take no part are frozen: poolers always, the masked-LM head without `masking`.

    Attributes: model (Hugging Face's, with a masked-LM head or none); masked (the same as `MaskedLM`; None
    without such a head); head (of the pooled state, logits of no match and of match); encoder; settings;
    layout (that of the settings); masking; family (transformers' model type).

    Args:
        model: any masked language model `MaskedLM` takes, or a headless encoder.
        encoder: of its tokenizer.
        masking: the masked-LM part is trained too (LMGC-M).
        dropout: before the head.

    Raises:
        UserError: `masking` without a masked-LM head; a layout the family cannot do.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        settings: GlossSettings,
        *,
        masking: bool = False,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        self.encoder, self.settings, self.masking = encoder, settings, masking
        self.family = str(model.config.model_type)
        self.layout = Layout(encoder.template, settings.layout, family=self.family)
        if masking and is_headless(model):
            raise UserError(
                f"a {type(model).__name__} without a masked-LM head cannot be trained on masked words; take "
                "a masked language model, or set gloss.masked = false"
            )
        # One of the two holds the model: a module registered twice has every weight twice in its state.
        self.masked = None if is_headless(model) else MaskedLM(model, encoder.tokenizer.mask_id)
        self.alone = model if self.masked is None else None
        if self.masked is None:  # else it has done so
            use_short_attention(model)
            use_fast_dropout(model)
        self._types = families.takes_token_types(model, encoder.template.most_types)
        for parameter in lm_families.unused_parameters(model):  # XLNet's segment terms are used here
            parameter.requires_grad_(True)
        for parameter in families.idle_parameters(model, masking=masking, token_types=self._types):
            parameter.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(model.config.hidden_size), 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        backbone = cast(PreTrainedModel, model.base_model)
        self._fixed = lm_families.fixed_inputs(backbone)
        self._attends = lm_families.takes_attention_mask(backbone)
        self._keep = _Keep()
        backbone.register_forward_hook(self._keep)

    @property
    def model(self) -> PreTrainedModel:
        """Hugging Face's model, saved by its own method."""
        found = self.alone if self.masked is None else self.masked.model
        assert found is not None
        return found

    def forward(self, batch: GlossBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Match logits, float32 [P, 2] (column 1: match), and the slots' logits [S, V].

        The latter are None without `masking`, and in eval mode where there is no slot; in training they are
        then [0, V] and still back-propagate zeros (contract 1).
        """
        more: dict[str, Any] = {}
        if self._types and batch.token_types is not None:
            more["token_type_ids"] = batch.token_types
        if batch.packing is not None:
            more |= families.packed_inputs(self.model, batch.packing)
        logits = None
        if not self.masking or not (self.training or len(batch.position)):
            states = self._states(batch.input_ids, batch.attention_mask, more)
        elif self.family == "xlnet":
            # Two forwards: where it predicts it hides by permutation, and it never met a mask in a text that
            # it was to understand; so the plain forward reads the words as they are.
            assert self.masked is not None
            logits = self.masked(batch.input_ids, batch.attention_mask, batch.position, more)
            plain = batch.input_ids.view(-1).index_put((batch.position,), batch.gold_piece)
            states = self._states(plain.view_as(batch.input_ids), batch.attention_mask, more)
        else:
            logits, states = self._both(batch, more)
        pooled = states.reshape(-1, states.shape[-1]).index_select(0, batch.pooled)
        with torch.autocast(
            pooled.device.type, enabled=False
        ):  # the head is small, and its logits are compared
            match: torch.Tensor = self.head(self.dropout(pooled.float()))
        return match, logits

    def _states(self, ids: torch.Tensor, attention: torch.Tensor, more: dict[str, Any]) -> torch.Tensor:
        """Last hidden states [B, L, H] of the backbone alone (BART's: of its decoder)."""
        inputs = {"input_ids": ids, **self._fixed}
        if self._attends:
            inputs["attention_mask"] = attention
        states: torch.Tensor = self.model.base_model(**(inputs | more))[0]
        return states

    def _both(self, batch: GlossBatch, more: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The slots' logits [S, V], and the backbone's last hidden states of the same forward."""
        assert self.masked is not None
        self._keep.wanted = True
        try:
            logits = self.masked(batch.input_ids, batch.attention_mask, batch.position, more)
            states = self._keep.states
        finally:
            self._keep.wanted, self._keep.states = False, None
        assert states is not None
        return logits, states

    def save(self, folder: Path) -> None:
        """Writes the model and its tokenizer as Hugging Face does, and the gloss head beside them."""
        with loading.quiet():
            self.model.save_pretrained(folder)
            self.encoder.tokenizer.hf.save_pretrained(folder)
        write_head(folder, self.head, self.settings)

    @classmethod
    def load(
        cls, path_or_id: str | Path, *, device: str | torch.device = "cpu", what: str = "model"
    ) -> GlossModel:
        """A trained gloss model in eval mode.

        Raises:
            UserError: no gloss head there; whatever else `read_encoder` finds; no such device.
        """
        where = f"{what}: {str(path_or_id)!r}"
        source = loading.find_source(path_or_id, where)
        target = resolve_device(device) if isinstance(device, str) else device
        config = loading.load_config(source, where)
        weights, settings = read_head(source, where, int(config.hidden_size))
        model, tokenizer = read_encoder(source, where)
        encoder = Encoder(tokenizer, marks=settings.marks, max_length=settings.max_length)
        made = cls(model, encoder, settings)
        made.head.load_state_dict(weights)
        return made.to(target).eval()

    @classmethod
    def start(
        cls,
        path_or_id: str | Path,
        settings: GlossSettings,
        *,
        masking: bool = False,
        dropout: float = DROPOUT,
        device: str | torch.device = "cpu",
        what: str = "model",
    ) -> GlossModel:
        """A checkpoint with a fresh gloss head, from torch's generator: the caller seeds it.

        Raises:
            UserError: whatever `read_encoder`, `Encoder` and the class find; no such device.
        """
        where = f"{what}: {str(path_or_id)!r}"
        source = loading.find_source(path_or_id, where)
        target = resolve_device(device) if isinstance(device, str) else device
        model, tokenizer = read_encoder(source, where)
        encoder = Encoder(tokenizer, marks=settings.marks, max_length=settings.max_length)
        return cls(model, encoder, settings, masking=masking, dropout=dropout).to(target)
