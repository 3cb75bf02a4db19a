"""Training instances as micro-batches, a pure function of the step number (contract 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limbeck.gloss.encode import Encoded, Encoder
from limbeck.gloss.instances import Candidates, candidates
from limbeck.gloss.layout import Layout, Row
from limbeck.gloss.masking import GlossTrainingBatch, Masker, unmasked
from limbeck.gloss.prepared import PreparedInstances
from limbeck.text.order import Order

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon

Ints = npt.NDArray[np.int64]


class GlossBatches:
    """The source of gloss training for the loop.

    Every epoch is a new order and a new variant of the mask plan. Instances whose rows are about as long
    stand together. A rank takes every `world`-th of a step's instances. A micro-batch holds as many whole
    instances as fit `tokens` pieces with padding, and at least one.

    Args:
        rows: indices of the prepared instances to train on. of: whose senses compete. masker: None for plain
            LMGC. batch: instances of a step over all ranks, all rows where there are fewer.
    """

    def __init__(
        self,
        prepared: PreparedInstances,
        rows: Ints,
        lexicon: Lexicon,
        encoder: Encoder,
        layout: Layout,
        masker: Masker | None,
        *,
        of: Candidates,
        seed: int,
        batch: int,
        tokens: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.prepared, self.lexicon = prepared, lexicon
        self.encoder, self.layout, self.masker, self.of = encoder, layout, masker, of
        self.tokens = tokens
        self.order = Order(
            prepared.hashes, prepared.width, rows, seed=seed, batch=batch, rank=rank, world=world
        )

    @property
    def steps_per_epoch(self) -> int:
        """See `Order`."""
        return self.order.steps_per_epoch

    def micro_batches(self, step: int) -> list[GlossTrainingBatch]:
        """This rank's micro-batches of the 0-based `step`."""
        epoch, mine = self.order.rows(step)
        encoded = self._encoded(mine[np.argsort(self.prepared.width[mine], kind="stable")])
        return [self._batch(part, epoch) for part in self._parts(encoded)]

    def _encoded(self, rows: Ints) -> list[Encoded]:
        instances = [self.prepared.instance(int(row)) for row in rows]
        return self.encoder.encode([(one, candidates(self.lexicon, one, self.of)) for one in instances])

    def _parts(self, encoded: Sequence[Encoded]) -> Iterator[list[list[Row]]]:
        """The rows of each instance, in parts that fit the budget."""
        part: list[list[Row]] = []
        count = width = 0
        for rows in map(self.layout.rows, encoded):
            width = max(width, *(row.length for row in rows))
            count += len(rows)
            if part and count * width > self.tokens:
                yield part
                part, count, width = [], len(rows), max(row.length for row in rows)
            part.append(rows)
        if part:
            yield part

    def _batch(self, part: Sequence[Sequence[Row]], variant: int) -> GlossTrainingBatch:
        instance = np.repeat(np.arange(len(part)), [len(rows) for rows in part])
        arranged = self.layout.arrange([row for rows in part for row in rows], instance, len(part))
        return unmasked(arranged) if self.masker is None else self.masker(arranged, variant)
