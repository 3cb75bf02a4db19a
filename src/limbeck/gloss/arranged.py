"""A batch of contexts and glosses: before anything is masked, and as the model takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.gloss.texts import Text

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Packing:
    """What tells the parts of packed rows apart.

    segment: int64 [B, L], PADDING, OPENING, CONTEXT, or the gloss from 1; position: int64 [B, L], from 0 in
    the context, and in each gloss as in a pair.
    """

    segment: torch.Tensor
    position: torch.Tensor


@dataclass(frozen=True)
class GlossBatch:
    """B rows of L pieces, P candidates of `count` instances, and S slots of the masked-LM part (S may be 0).

    input_ids, attention_mask: int64 [B, L]; token_types: int64 [B, L], None where they are all 0;
    packing: None for `pairs`.
    pooled: int64 [P], flat position in B·L of each candidate's pooled state; instance: int64 [P], the
    instance it belongs to, 0 … count−1 (those without candidates are left out of P, not of count);
    candidate: int64 [P], its index among the instance's candidates; gold: bool [P].
    position: int64 [S], flat in B·L; gold_piece: int64 [S], the true piece; kind: int64 [S], KIND_* of
    text/align.py; passage: int64 [S], the text among those of the batch (`Arranged.text`); masked: bool [S],
    the mask is shown there.
    tokens: pieces fed, special ones included and padding excluded. count: instances.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_types: torch.Tensor | None
    packing: Packing | None
    pooled: torch.Tensor
    instance: torch.Tensor
    candidate: torch.Tensor
    gold: torch.Tensor
    position: torch.Tensor
    gold_piece: torch.Tensor
    kind: torch.Tensor
    passage: torch.Tensor
    masked: torch.Tensor
    tokens: int
    count: int

    def to(self, device: torch.device | str) -> GlossBatch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        if self.packing is not None:
            parts = (t.to(device, non_blocking=True) for t in vars(self.packing).values())
            moved["packing"] = Packing(*parts)
        return replace(self, **moved)


@dataclass(frozen=True)
class Masking:
    """The slots of a batch, chosen among the pieces of an `Arranged`.

    piece: int64 [S], indices on the axis of `Arranged.ids`, each at most once; shown: int64 [S], the piece
    the model is shown there; masked: bool [S], that is the mask.
    """

    piece: Ints
    shown: Ints
    masked: Bools


@dataclass(frozen=True)
class Arranged:
    """Rows laid out, before anything is masked: N pieces of T texts on one axis, special pieces left out.

    texts: the T texts in order of row, in each row the context and then its glosses; row: int64 [T];
    is_gloss: bool [T]; word_base: int64 [T+1], text t has the words word_base[t]:word_base[t+1] of the batch.
    text: int64 [N], the text of each piece; ids, kind: int64 [N]; first, last: int64 [N], words on the common
    axis (last < first: none); position: int64 [N], flat in B·L.
    plain: the batch with nothing masked.
    """

    texts: tuple[Text, ...]
    row: Ints
    is_gloss: Bools
    word_base: Ints
    text: Ints
    ids: Ints
    kind: Ints
    first: Ints
    last: Ints
    position: Ints
    plain: GlossBatch

    def batch(self, masking: Masking | None = None) -> GlossBatch:
        """The batch, with these slots masked."""
        if masking is None:
            return self.plain
        position = self.position[masking.piece]
        input_ids = self.plain.input_ids.clone()
        input_ids.view(-1)[torch.from_numpy(position)] = torch.from_numpy(masking.shown)
        return replace(
            self.plain,
            input_ids=input_ids,
            position=torch.from_numpy(position),
            gold_piece=torch.from_numpy(self.ids[masking.piece]),
            kind=torch.from_numpy(self.kind[masking.piece]),
            passage=torch.from_numpy(self.text[masking.piece]),
            masked=torch.from_numpy(masking.masked),
        )
