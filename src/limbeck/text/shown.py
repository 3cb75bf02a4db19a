"""The pieces of a batch's passages on one axis: which of them are selected, where each stands when padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from limbeck.text.pieces import PieceTokenizer
    from limbeck.text.prepared import Side, TeacherSide

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """The selected words of a batch on one axis: word index (ascending) and what the student is shown."""

    word: Ints
    show: npt.NDArray[np.uint8]

    def find(self, first: Ints, last: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
        """For pieces over the words first…last: is one of them selected, and the index of the first such."""
        index = np.searchsorted(self.word, first)
        inside = np.minimum(index, len(self.word) - 1)
        return (index < len(self.word)) & (self.word[inside] <= last) & (first <= last), inside


class Shown:
    """One model's pieces of all passages of a batch on one axis, and their places in the padded matrix."""

    def __init__(
        self, tokenizer: PieceTokenizer, sides: Sequence[Side] | Sequence[TeacherSide], word_base: Ints
    ) -> None:
        self.tokenizer = tokenizer
        self.length = np.array([len(s.ids) for s in sides], np.int64)
        self.base = np.cumsum(self.length) - self.length
        self.row = np.repeat(np.arange(len(sides)), self.length)
        self.ids = np.concatenate([s.ids for s in sides]).astype(np.int64)
        shift = word_base[self.row]
        self.first = np.concatenate([s.first for s in sides]).astype(np.int64) + shift
        self.last = np.concatenate([s.last for s in sides]).astype(np.int64) + shift
        fixed = len(tokenizer.prefix) + len(tokenizer.suffix)
        self.width = int(self.length.max()) + fixed
        left = tokenizer.padding_side == "left"
        pad = self.width - fixed - self.length if left else np.zeros_like(self.length)
        self.start = pad  # column where the passage's prefix begins
        column = np.arange(len(self.ids)) - self.base[self.row] + len(tokenizer.prefix) + pad[self.row]
        self.position = self.row * self.width + column

    def padded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """input_ids and attention_mask, int64 [B, L], special tokens set."""
        rows = np.arange(len(self.length))
        ids = np.full((len(rows), self.width), self.tokenizer.pad_id, np.int64)
        ids.ravel()[self.position] = self.ids
        for k, token in enumerate(self.tokenizer.prefix):
            ids[rows, self.start + k] = token
        behind = self.start + len(self.tokenizer.prefix) + self.length
        for k, token in enumerate(self.tokenizer.suffix):
            ids[rows, behind + k] = token
        columns = np.arange(self.width)[None, :]
        end = behind + len(self.tokenizer.suffix)
        attention = ((columns >= self.start[:, None]) & (columns < end[:, None])).astype(np.int64)
        return torch.from_numpy(ids), torch.from_numpy(attention)
