"""How contexts and glosses share a model's rows: the layouts `pairs` and `packed` (architecture section 3.2).

`pairs`: a row is `[CLS] context [SEP] gloss [SEP]`, one for each candidate, as published.

`packed`: a row is `[CLS] context [SEP]`, then `[CLS] gloss [SEP]` for each candidate. The context sees
itself; a gloss sees the context and itself. Every gloss opens with a piece of its own like the one that opens
a pair ([CLS]), at position 0 as there, and its other pieces stand at the positions they would have in the
pair: directly behind the context. So each candidate sees exactly the pieces of its pair, at the same
positions and with the same token types, and its pooled state is that of its own opening piece. What differs
from `pairs` is that the context does not see the gloss, which is what lets all candidates share it. The piece
that opens the context is seen by the context alone (the gloss has its own). With one layer the two layouts
are the same function, which a test checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch

from limbeck.errors import UserError
from limbeck.gloss import families
from limbeck.gloss.arranged import Arranged, GlossBatch, Masking, Packing
from limbeck.gloss.encode import Encoded
from limbeck.gloss.placing import Matrix, Placed, Row
from limbeck.gloss.template import PairTemplate

__all__ = ["Arranged", "GlossBatch", "Layout", "Masking", "Packing", "Row", "arrange", "collate"]

Ints = npt.NDArray[np.int64]

LAYOUTS = ("pairs", "packed")

# Pieces of a packed row: attention costs the square of it, and a row more costs its context once more. Of 160
# to 512 pieces this is the fastest on a CPU (6×384), by a few per cent.
ROW_LENGTH = 256


class Layout:
    """Lays instances out in rows.

    Attributes: kind (`pairs` or `packed`), template, row_length.

    Args:
        template: what stands around and between the texts (`Encoder.template`).
        family: transformers' model type, which says where the pooled state stands (gloss/families.py).
        row_length: most pieces of a packed row, unless a single candidate needs more. An instance with more
            candidates gets several rows, each with the context.

    Raises:
        UserError: an unknown layout; `packed` of a family that cannot.
    """

    def __init__(
        self, template: PairTemplate, kind: str, *, family: str, row_length: int = ROW_LENGTH
    ) -> None:
        if kind not in LAYOUTS:
            raise UserError(f"gloss.layout is {kind!r}; use {' or '.join(LAYOUTS)}")
        if kind == "packed":
            families.check_packed(family)
        self.template, self.kind, self.row_length = template, kind, row_length
        self._pools_last = families.pools_last(family)
        if not (template.suffix if self._pools_last else template.prefix):
            where = "behind" if self._pools_last else "before"
            raise UserError(
                f"the tokenizer puts no special token {where} a text, so there is no state to classify; "
                "take a model whose tokenizer does"
            )

    def rows(self, encoded: Encoded) -> list[Row]:
        """The rows of an instance; none where it has no candidates."""
        special, contexts = self.template.special, [len(text) for text in encoded.contexts]
        sizes = [len(gloss) for gloss in encoded.glosses]
        if self.kind == "pairs":
            return [
                Row(encoded, c, (k,), special + contexts[c] + size)
                for k, (c, size) in enumerate(zip(encoded.context_of, sizes, strict=True))
            ]
        own = len(self.template.prefix) + len(self.template.suffix)  # special pieces of each gloss
        rows: list[Row] = []
        for c, size in enumerate(contexts):
            start = special - len(self.template.suffix) + size
            held: list[int] = []
            length = start
            for k in (k for k, of in enumerate(encoded.context_of) if of == c):
                if held and length + own + sizes[k] > self.row_length:
                    rows.append(Row(encoded, c, tuple(held), length))
                    held, length = [], start
                held.append(k)
                length += own + sizes[k]
            rows.append(Row(encoded, c, tuple(held), length))
        return rows

    def arrange(self, rows: Sequence[Row], instance: Sequence[int] | Ints, count: int) -> Arranged:
        """Lays rows out in one batch.

        Args:
            rows: in the order they will have, at least one. instance: for each row the instance it belongs
                to, 0 … count−1. count: number of instances.
        """
        placed = Placed.of(rows, self.template, opened=self.kind == "packed")
        matrix = Matrix(placed, self.template)
        glosses = np.flatnonzero(placed.is_gloss)
        row = placed.row[glosses]
        if self.kind == "packed":
            pooled = placed.start[glosses] - len(self.template.prefix)
        elif self._pools_last:
            pooled = placed.row_start[row] + placed.row_length[row] - 1
        else:
            pooled = placed.row_start[row]
        candidate = np.array([k for r in rows for k in r.candidates], np.int64)
        gold = np.array([bool(r.encoded.gold[k]) for r in rows for k in r.candidates], bool)
        tables = np.concatenate([text.table for text in placed.texts], axis=1).astype(np.int64)
        words = np.fromiter((text.words for text in placed.texts), np.int64, len(placed.texts))
        word_base = np.concatenate([[0], np.cumsum(words)])
        nothing = torch.zeros(0, dtype=torch.long)
        return Arranged(
            texts=placed.texts,
            row=placed.row,
            is_gloss=placed.is_gloss,
            word_base=word_base,
            text=placed.text,
            ids=tables[0],
            kind=tables[3],
            first=tables[1] + word_base[placed.text],
            last=tables[2] + word_base[placed.text],
            position=placed.position,
            plain=GlossBatch(
                input_ids=matrix.ids(tables[0]),
                attention_mask=matrix.attention(),
                token_types=matrix.types() if self.template.most_types else None,
                packing=matrix.packing() if self.kind == "packed" else None,
                pooled=torch.from_numpy(pooled),
                instance=torch.from_numpy(np.asarray(instance, np.int64)[row]),
                candidate=torch.from_numpy(candidate),
                gold=torch.from_numpy(gold),
                position=nothing,
                gold_piece=nothing,
                kind=nothing,
                passage=nothing,
                masked=torch.zeros(0, dtype=torch.bool),
                tokens=int(placed.row_length.sum()),
                count=count,
            ),
        )


def arrange(encoded: Sequence[Encoded], layout: Layout) -> Arranged:
    """All rows of these instances in one batch, in order. At least one of them has candidates."""
    rows = [layout.rows(e) for e in encoded]
    instance = np.repeat(np.arange(len(encoded)), [len(r) for r in rows])
    return layout.arrange(list(chain.from_iterable(rows)), instance, len(encoded))


def collate(encoded: Sequence[Encoded], layout: Layout) -> GlossBatch:
    """The batch of these instances with nothing masked."""
    return arrange(encoded, layout).plain
