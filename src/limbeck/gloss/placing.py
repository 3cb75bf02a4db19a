"""Where the pieces of contexts and glosses stand in a batch's padded matrices, without a loop over pieces.

The two layouts are told in gloss/layout.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from limbeck.gloss.arranged import Packing
from limbeck.gloss.encode import Encoded
from limbeck.gloss.template import PairTemplate
from limbeck.gloss.texts import Text
from limbeck.teachers.packed_attention import CONTEXT, OPENING, PADDING

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Row(NamedTuple):
    """One row of a model's input: a context and the candidates that share it.

    context: index among `encoded.contexts`; candidates: indices among `encoded.glosses` (one in `pairs`);
    length: pieces, special ones included.
    """

    encoded: Encoded
    context: int
    candidates: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Placed:
    """Where T texts of N pieces stand in B rows.

    opened: every gloss has a prefix and a suffix of its own. row, length, start: int64 [T], of each text its
    row, its pieces, and the flat place in B·L of the first of them; is_gloss: bool [T]; text, position:
    int64 [N]; row_start, row_length: int64 [B], flat place of a row's first piece, and its pieces.
    """

    texts: tuple[Text, ...]
    opened: bool
    width: int
    row: Ints
    length: Ints
    start: Ints
    is_gloss: Bools
    text: Ints
    position: Ints
    row_start: Ints
    row_length: Ints

    @classmethod
    def of(cls, rows: Sequence[Row], template: PairTemplate, *, opened: bool) -> Placed:
        """Places the texts; rows are padded to the longest, on the tokenizer's side."""
        texts: list[Text] = []
        for r in rows:
            texts.append(r.encoded.contexts[r.context])
            texts += [r.encoded.glosses[k] for k in r.candidates]
        counts = np.fromiter((1 + len(r.candidates) for r in rows), np.int64, len(rows))
        first = np.cumsum(counts) - counts  # each row's context
        row = np.repeat(np.arange(len(rows)), counts)
        is_gloss = np.ones(len(texts), bool)
        is_gloss[first] = False
        length = np.fromiter(map(len, texts), np.int64, len(texts))
        own = len(template.prefix) if opened else 0
        lead = np.full(len(texts), len(template.suffix) + own)  # special pieces before each text
        lead[first] = len(template.prefix)
        lead[first + 1] = len(template.between) + own
        end = np.cumsum(lead + length)
        before = (end - lead - length)[first]
        row_length = end[first + counts - 1] - before + len(template.suffix)
        width = int(row_length.max())
        row_start = np.arange(len(rows)) * width
        if template.padding_side == "left":
            row_start += width - row_length
        start = end - length - before[row] + row_start[row]
        text = np.repeat(np.arange(len(texts)), length)
        position = start[text] + _count_up(length)
        return cls(
            tuple(texts), opened, width, row, length, start, is_gloss, text, position, row_start, row_length
        )


class Matrix:
    """The padded matrices [B, L] of what `Placed` says."""

    def __init__(self, placed: Placed, template: PairTemplate) -> None:
        self.placed, self.template = placed, template
        self.shape = (len(placed.row_start), placed.width)
        end = placed.start + placed.length
        glosses = placed.is_gloss
        # Each kind of special pieces, and the flat places where its first piece stands.
        self.special = [
            (template.prefix, template.prefix_types, placed.row_start),
            (template.between, template.between_types, end[~glosses]),
            (template.suffix, template.suffix_types, end[glosses]),
        ]
        if placed.opened:
            opening = placed.start[glosses] - len(template.prefix)
            self.special.append((template.prefix, template.prefix_types, opening))

    def _filled(self, value: int, pieces: Ints) -> Ints:
        flat = np.full(self.shape[0] * self.shape[1], value, np.int64)
        flat[self.placed.position] = pieces
        return flat

    def _tensor(self, flat: Ints) -> torch.Tensor:
        return torch.from_numpy(flat.reshape(self.shape))

    def ids(self, pieces: Ints) -> torch.Tensor:
        """The pieces' ids, special ones and padding in place."""
        flat = self._filled(self.template.pad_id, pieces)
        for ids, _, places in self.special:
            for k, piece in enumerate(ids):
                flat[places + k] = piece
        return self._tensor(flat)

    def types(self) -> torch.Tensor:
        """Token types; 0 in the padding."""
        template = self.template
        own = np.where(self.placed.is_gloss, template.gloss_type, template.context_type)
        flat = self._filled(0, own[self.placed.text])
        for _, types, places in self.special:
            for k, kind in enumerate(types):
                flat[places + k] = kind
        return self._tensor(flat)

    def attention(self) -> torch.Tensor:
        """1 where there is no padding."""
        start = (self.placed.row_start - np.arange(self.shape[0]) * self.shape[1])[:, None]
        column = np.arange(self.shape[1])
        real = (column >= start) & (column < start + self.placed.row_length[:, None])
        return torch.from_numpy(real.astype(np.int64))

    def packing(self) -> Packing:
        """Segments, and positions that restart with every gloss."""
        placed, template = self.placed, self.template
        first = np.flatnonzero(~placed.is_gloss)
        glosses = np.flatnonzero(placed.is_gloss)
        index = np.arange(len(placed.texts)) - first[placed.row]  # 0: the context, glosses from 1
        # Where a gloss begins in a pair with this context.
        behind = len(template.prefix) + placed.length[first] + len(template.between)
        base = np.where(placed.is_gloss, behind[placed.row], len(template.prefix))
        segment = self._filled(PADDING, index[placed.text])
        position = self._filled(0, base[placed.text] + _count_up(placed.length))
        for k in range(len(template.prefix)):
            segment[placed.row_start + k] = OPENING
            position[placed.row_start + k] = k
            opening = placed.start[glosses] - len(template.prefix) + k
            segment[opening] = index[glosses]
            position[opening] = k
        end = placed.start + placed.length
        for k in range(len(template.between)):
            segment[end[first] + k] = CONTEXT
            position[end[first] + k] = base[first] + placed.length[first] + k
        for k in range(len(template.suffix)):
            segment[end[glosses] + k] = index[glosses]
            position[end[glosses] + k] = base[glosses] + placed.length[glosses] + k
        return Packing(self._tensor(segment), self._tensor(position))


def _count_up(lengths: Ints) -> Ints:
    """0 … n−1 for each of the lengths, one after the other."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
