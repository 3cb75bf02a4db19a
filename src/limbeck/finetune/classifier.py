"""Any encoder as a plain `AutoModelForSequenceClassification`, with its tokenizer and its labels."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from limbeck.errors import UserError
from limbeck.finetune.batches import Encoded, Padding, TextBatch, collate, parts
from limbeck.finetune.labels import Labels
from limbeck.gloss.families import takes_token_types
from limbeck.gloss.template import PairTemplate
from limbeck.teachers import families, loading
from limbeck.teachers.attention import use_short_attention
from limbeck.teachers.dropout import use_fast_dropout
from limbeck.teachers.masked_lm import encoder_digest, weights_digest
from limbeck.text.pieces import PieceTokenizer

_log = logging.getLogger("limbeck")

TEXTS_AT_ONCE = 4096
"""Texts that are tokenized at once."""


class Classifier(nn.Module):
    """A model that says of a text, or of a pair, which class it is of or what score it has.

    Attributes: model (Hugging Face's), tokenizer, labels, fresh (names of the weights that its checkpoint
    had not and that are random), weights_read (digest of all others, as they were read), encoder_read (of the
    encoder alone, see `encoder_digest`), max_length (pieces of a text or pair, special ones included),
    padding.

    Use `start` or `load`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        labels: Labels,
        *,
        max_length: int,
        fresh: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.labels, self.fresh = model, tokenizer, labels, tuple(fresh)
        limits = (max_length, families.piece_limit(model), tokenizer.model_max_length)
        self.max_length = min(int(limit) for limit in limits if limit is not None)
        assert tokenizer.pad_token_id is not None
        self.padding = Padding(int(tokenizer.pad_token_id), tokenizer.padding_side)
        self._types = "token_type_ids" in tokenizer.model_input_names
        self._fixed = families.fixed_inputs(model)
        self.weights_read = weights_digest(model, but=self.fresh)
        self.encoder_read = encoder_digest(model)
        use_short_attention(model)
        use_fast_dropout(model)

    @classmethod
    def start(cls, source: str | Path, labels: Labels, *, max_length: int, seed: int) -> Classifier:
        """Reads a checkpoint folder or hub id to be trained for `labels`, on the CPU in float32.

        What is no part of the encoder may be missing or of another shape: it becomes random, by `seed`. A
        checkpoint that tells the same classes apart keeps its own order of them.

        Raises:
            UserError: not a model, weights only pickled, damaged or incomplete, a family that transformers
                cannot classify with, no fast tokenizer or one that cannot pad.
        """
        where = f"model: {str(source)!r}"
        with loading.quiet():
            place = loading.find_source(source, where)
            config = loading.load_config(place, where, classifier=True)
            before = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
            if labels.classes is not None and sorted(before) == sorted(labels.classes):
                labels = Labels(before)
            names = labels.classes or ("score",)
            config.num_labels = len(names)
            config.id2label = dict(enumerate(names))
            config.label2id = {name: number for number, name in enumerate(names)}
            config.problem_type = "regression" if labels.classes is None else "single_label_classification"
            torch.manual_seed(seed)
            return cls._read(place, config, labels, max_length, where, new_head=True)

    @classmethod
    def load(cls, source: str | Path, *, max_length: int = 512, what: str = "model") -> Classifier:
        """Reads a finished classifier, in eval mode; `what` opens every message.

        Raises:
            UserError: as `start`, and a model without a trained head.
        """
        where = f"{what}: {str(source)!r}"
        with loading.quiet():
            place = loading.find_source(source, where)
            config = loading.load_config(place, where, classifier=True)
            names = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
            labels = Labels(None if config.problem_type == "regression" else names)
            return cls._read(place, config, labels, max_length, where, new_head=False).eval()

    @classmethod
    def _read(
        cls, place: str, config: Any, labels: Labels, max_length: int, where: str, *, new_head: bool
    ) -> Classifier:
        tokenizer = loading.load_fast_tokenizer(place, where, mask=False)
        if tokenizer.pad_token_id is None:
            raise UserError(
                f"{where} has a tokenizer without a padding token; name one in its tokenizer files"
            )
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
        model, fresh = loading.read_weights(
            place, config, AutoModelForSequenceClassification, torch.float32, where, new_head=new_head
        )
        backbone = f"{model.base_model_prefix}."
        lacking = [n for n in fresh if n.startswith(backbone) and "pooler" not in n.split(".")]
        if lacking:
            raise loading.incomplete(lacking, config, model, where)
        if fresh and not new_head:
            raise UserError(
                f"{where} is no classifier: it has no {fresh[0]}; train one with `limbeck finetune`"
            )
        loading.check_vocabulary(tokenizer, families.logit_width(model), where)
        _make_ready(tokenizer, model, where)
        return cls(model, tokenizer, labels, max_length=max_length, fresh=fresh)

    def encode(
        self,
        texts: Sequence[str],
        seconds: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Encoded:
        """Texts, or pairs, as pieces; longer ones are cut at the end, of a pair the longer text first.

        progress: called with (done, total).
        """
        ids, types, counts, cut = [], [], [], 0
        for low in range(0, len(texts), TEXTS_AT_ONCE):
            high = low + TEXTS_AT_ONCE
            made = self.tokenizer(
                list(texts[low:high]),
                None if seconds is None else list(seconds[low:high]),
                truncation=True,
                max_length=self.max_length,
                split_special_tokens=True,  # "[SEP]" in a text is five characters
            ).encodings
            assert made is not None
            counts.append(np.fromiter(map(len, made), np.int64, len(made)))
            total = int(counts[-1].sum())
            ids.append(np.fromiter(chain.from_iterable(one.ids for one in made), np.int32, total))
            if self._types:
                types.append(np.fromiter(chain.from_iterable(one.type_ids for one in made), np.uint8, total))
            cut += sum(bool(one.overflowing) for one in made)
            if progress is not None:
                progress(min(high, len(texts)), len(texts))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return Encoded(np.concatenate(ids), np.concatenate(types) if types else None, offsets, cut)

    def forward(self, batch: TextBatch) -> torch.Tensor:
        """Logits [B, outputs]."""
        more = {} if batch.token_types is None else {"token_type_ids": batch.token_types}
        logits: torch.Tensor = self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, **more, **self._fixed
        ).logits
        return logits

    @torch.no_grad()
    def outputs(
        self, encoded: Encoded, *, tokens: int = 16_384, progress: Callable[[int, int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        """The model's outputs, float32 [N, outputs], in the order of the texts; to be asked in eval mode.

        Args:
            tokens: pieces of one forward, padding included. progress: called with (done, total).
        """
        device = next(self.parameters()).device
        found = np.zeros((len(encoded), self.labels.outputs), np.float32)
        done = 0
        for rows in parts(encoded.width, np.arange(len(encoded)), tokens):
            batch = collate(encoded, rows, self.padding).to(device)
            found[rows] = self(batch).float().cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress(done, len(encoded))
        return found

    def freeze_idle(self, batch: TextBatch) -> None:
        """Freezes the parameters that a forward of `batch` does not touch (contract 1).

        Raises:
            UserError: the model's outputs are not finite.
        """
        training = self.training
        logits = self.eval()(batch)
        if not bool(torch.isfinite(logits).all()):
            raise UserError("the model's outputs are not finite; its weights are damaged, take another copy")
        logits.sum().backward()
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
        self.zero_grad(set_to_none=True)
        self.train(training)

    def save(self, folder: Path) -> None:
        """Writes a plain Hugging Face checkpoint: safetensors, configuration with the labels, tokenizer."""
        with loading.quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def _make_ready(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, where: str) -> None:
    """Brings a tokenizer to what the model is asked with here, so that transformers alone does the same.

    It names the inputs that the model takes, parts the texts of a pair, and cuts where the model ends.
    """
    limit = families.piece_limit(model)
    if limit is not None and tokenizer.model_max_length > limit:
        tokenizer.model_max_length = limit
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add(pair=False):
        _add_pairs(tokenizer, where)
    names = ["input_ids", "attention_mask"]
    if takes_token_types(model, 1):
        names.insert(1, "token_type_ids")
    accepted = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in names if name in accepted]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # or it is not saved


def _add_pairs(tokenizer: PreTrainedTokenizerFast, where: str) -> None:
    """Gives a tokenizer that puts nothing between two texts the template that gloss training has for it."""
    template = PairTemplate.of(PieceTokenizer.from_hf(tokenizer, name=where, need_mask=False))

    def named(ids: Sequence[int], types: Sequence[int]) -> list[str]:
        return [f"{tokenizer.convert_ids_to_tokens(i)}:{t}" for i, t in zip(ids, types, strict=True)]

    prefix = named(template.prefix, template.prefix_types)
    between = named(template.between, template.between_types)
    special = {*template.prefix, *template.between, *template.suffix}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*prefix, "$A:0", *named(template.suffix, (0,) * len(template.suffix))],
        pair=[*prefix, "$A:0", *between, "$B:1", *named(template.suffix, template.suffix_types)],
        special_tokens=[(str(tokenizer.convert_ids_to_tokens(i)), i) for i in special],
    )
