"""A model as `limbeck eval cost` measures it: whatever its head, one call for a batch of passages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

from limbeck.gloss.arranged import GlossBatch
from limbeck.gloss.checkpoint import HEAD_FILE, is_headless, read_encoder
from limbeck.gloss.model import GlossModel
from limbeck.teachers import families, loading
from limbeck.teachers.attention import use_short_attention
from limbeck.teachers.masked_lm import MaskedLM, weights_digest

MASKED_LM, CLASSIFIER = "masked-LM head at one position", "sequence classification head"
GLOSS, HEADLESS = "gloss head", "no head"

Call = Callable[[], object]


class AtPositions(nn.Module):
    """A masked language model: logits [S, V] at the S positions asked for, flat in B·L."""

    def __init__(self, model: PreTrainedModel, mask_id: int | None) -> None:
        super().__init__()
        self.masked = MaskedLM(model, mask_id, slot_multiple=1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position: torch.Tensor) -> Any:
        """Of int64 [B, L], [B, L] and [S]."""
        return self.masked(input_ids, attention_mask, position, padded=True)  # no row is padded


class FirstOutput(nn.Module):
    """A classifier's logits [B, classes], or the states [B, L, H] of an encoder without a head."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._fixed = families.fixed_inputs(model)
        self._attends = families.takes_attention_mask(model)
        use_short_attention(model)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """Of int64 [B, L] and [B, L]."""
        more = {"attention_mask": attention_mask} if self._attends else {}
        return self.model(input_ids=input_ids, **more, **self._fixed)[0]


@dataclass
class Loaded:
    """A checkpoint in memory, in eval mode.

    head: what runs behind the encoder. digest: of the weights as they are on disk. limit: the most pieces of
    a passage (None: unlimited). tokenizer: its own, for the ids that inputs may hold.
    """

    source: str
    module: AtPositions | FirstOutput | GlossModel
    model: PreTrainedModel
    head: str
    digest: str
    limit: int | None
    tokenizer: PreTrainedTokenizerFast

    def call(self, ids: torch.Tensor) -> Call:
        """A forward of int64 [B, L] without padding, with the head at the first position of each row."""
        rows, length = ids.shape
        attention = torch.ones_like(ids)
        first = torch.arange(rows, device=ids.device) * length
        if isinstance(self.module, AtPositions):
            return lambda: self.module(ids, attention, first)
        if isinstance(self.module, FirstOutput):
            return lambda: self.module(ids, attention)
        nothing = ids.new_zeros(0)
        row, none = torch.arange(rows, device=ids.device), nothing.bool()
        batch = GlossBatch(
            ids, attention, None, None, first, row, torch.zeros_like(row), row < 0,
            nothing, nothing, nothing, nothing, none, ids.numel(), rows,
        )  # fmt: skip
        return lambda: self.module(batch)


def load(path_or_id: str, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Loaded:
    """Any checkpoint with the head it has: gloss, sequence classification, masked-LM, or none.

    Raises:
        UserError: not a model, or one that cannot be loaded safely and whole (see teachers/loading.py).
    """
    where = f"model: {path_or_id!r}"
    source = loading.find_source(path_or_id, where)
    with loading.quiet():
        config = loading.load_config(source, where)
    module: AtPositions | FirstOutput | GlossModel
    if (Path(source) / HEAD_FILE).is_file():
        module = GlossModel.load(path_or_id, what="model")
        model, tokenizer, head = module.model, module.encoder.tokenizer.hf, GLOSS
    elif any(str(name).endswith("ForSequenceClassification") for name in config.architectures or ()):
        model, tokenizer = _classifier(source, config, where)
        module, head = FirstOutput(model), CLASSIFIER
    else:
        model, pieces = read_encoder(source, where)
        tokenizer, head = pieces.hf, HEADLESS if is_headless(model) else MASKED_LM
        module = FirstOutput(model) if head == HEADLESS else AtPositions(model, pieces.mask_id)
    digest = weights_digest(model)
    module.requires_grad_(False).to(device).eval()
    cast(nn.Module, model).to(dtype)  # all but a gloss head, whose logits are compared in float32
    return Loaded(source, module, model, head, digest, families.piece_limit(model), tokenizer)


def _classifier(source: str, config: Any, where: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    with loading.quiet():
        tokenizer = loading.load_fast_tokenizer(source, where)
        kind = AutoModelForSequenceClassification
        model, missing = loading.read_weights(source, config, kind, torch.float32, where)
    if missing:
        raise loading.incomplete(missing, config, model, where)
    return model, tokenizer


def count_parameters(loaded: Loaded) -> tuple[int, int]:
    """Parameters in all, tied ones once, and those outside embeddings (of pieces, positions and types)."""
    inside = {
        id(p) for part in loaded.module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()
    }
    counts = [(p.numel(), id(p) in inside) for p in loaded.module.parameters()]
    return sum(n for n, _ in counts), sum(n for n, embedding in counts if not embedding)


def disk_bytes(loaded: Loaded) -> int:
    """Size of the weight files, the gloss head's included."""
    folder = Path(loaded.source)
    if not folder.is_dir():  # a hub id: its files lie in the hub's cache
        folder = Path(cast(str, cached_file(loaded.source, "config.json"))).parent
    return sum(path.stat().st_size for path in (*folder.glob("model*.safetensors"), *folder.glob(HEAD_FILE)))


def random_ids(tokenizer: PreTrainedTokenizerFast, rows: int, length: int, *, seed: int = 0) -> torch.Tensor:
    """Random pieces int64 [rows, length] between the special pieces that open and close a passage.

    A dense model does the same work whatever the pieces are.
    """
    special = set(tokenizer.all_special_ids)
    ordinary = torch.tensor(sorted(set(tokenizer.get_vocab().values()) - special))
    generator = torch.Generator().manual_seed(seed)
    ids = ordinary[torch.randint(len(ordinary), (rows, length), generator=generator)]
    if length > 2:
        opening, closing = tokenizer.cls_token_id, tokenizer.sep_token_id
        ids[:, 0] = ids[:, 0] if opening is None else opening
        ids[:, -1] = ids[:, -1] if closing is None else closing
    return ids
