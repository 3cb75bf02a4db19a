"""Texts as pieces, and batches of them as a pure function of the step number (contract 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.finetune.labels import Gold
from limbeck.text.order import Order

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """The pieces of N texts or pairs, special ones included, one behind the other.

    ids: int32 [P]; types: token types uint8 [P], None where the model has none; offsets: int64 [N + 1]; cut:
    how many texts were longer than allowed.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.uint8] | None
    offsets: Ints
    cut: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> Ints:
        """Pieces of each text: [N]."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TextBatch:
    """B texts of at most L pieces.

    input_ids, attention_mask: int64 [B, L]; token_types: int64 [B, L] or None; gold: [B], int64 classes or
    float32 scores. tokens: pieces fed, padding excluded.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_types: torch.Tensor | None
    gold: torch.Tensor
    tokens: int

    @property
    def count(self) -> int:
        """Texts."""
        return len(self.gold)

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device."""
        types = None if self.token_types is None else self.token_types.to(device)
        mask, gold = self.attention_mask.to(device), self.gold.to(device)
        return TextBatch(self.input_ids.to(device), mask, types, gold, self.tokens)


@dataclass(frozen=True)
class Padding:
    """How a tokenizer fills up rows: with which piece, on which `side` (left or right)."""

    piece: int
    side: str


def collate(encoded: Encoded, rows: Ints, padding: Padding, gold: Gold | None = None) -> TextBatch:
    """Some of the texts as a batch; gold: [N], zeros where it is None."""
    width = encoded.width[rows]
    shape = len(rows), int(width.max())
    place = np.arange(shape[1])[None, :]
    filled = place >= shape[1] - width[:, None] if padding.side == "left" else place < width[:, None]
    source = np.concatenate([np.arange(encoded.offsets[row], encoded.offsets[row + 1]) for row in rows])
    ids = np.full(shape, padding.piece, np.int64)
    ids[filled] = encoded.ids[source]
    types = None
    if encoded.types is not None:
        kinds = np.zeros(shape, np.int64)
        kinds[filled] = encoded.types[source]
        types = torch.from_numpy(kinds)
    labels: npt.NDArray[Any] = np.zeros(len(rows), np.int64) if gold is None else gold[rows]
    if labels.dtype == np.float64:
        labels = labels.astype(np.float32)
    mask = torch.from_numpy(filled.astype(np.int64))
    return TextBatch(torch.from_numpy(ids), mask, types, torch.from_numpy(labels), int(width.sum()))


def parts(width: Ints, rows: Ints, tokens: int) -> Iterator[Ints]:
    """Rows in order of width, in parts of at most `tokens` pieces with padding, and at least one row."""
    ordered = rows[np.argsort(width[rows], kind="stable")]
    start = 0
    for end in range(1, len(ordered) + 1):
        if end == len(ordered) or (end + 1 - start) * int(width[ordered[end]]) > tokens:
            yield ordered[start:end]
            start = end


class TextClassBatches:
    """The source of fine-tuning for the loop.

    Every epoch is a new order in which texts of about the same length stand together. A rank takes every
    `world`-th of a step's texts. A micro-batch holds as many as fit `tokens` pieces with padding.

    Args:
        gold: [N], what the texts are labelled. hashes: uint64 [N]. batch: texts of a step over all ranks, all
            texts where there are fewer.
    """

    def __init__(
        self,
        encoded: Encoded,
        gold: Gold,
        hashes: npt.NDArray[np.uint64],
        padding: Padding,
        *,
        seed: int,
        batch: int,
        tokens: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.encoded, self.gold, self.padding, self.tokens = encoded, gold, padding, tokens
        self.order = Order(
            hashes,
            encoded.width,
            np.arange(len(encoded)),
            seed=seed,
            batch=batch,
            rank=rank,
            world=world,
        )

    @property
    def steps_per_epoch(self) -> int:
        """See `Order`."""
        return self.order.steps_per_epoch

    def micro_batches(self, step: int) -> list[TextBatch]:
        """This rank's micro-batches of the 0-based `step`."""
        return [
            collate(self.encoded, part, self.padding, self.gold)
            for part in parts(self.encoded.width, self.order.rows(step)[1], self.tokens)
        ]
