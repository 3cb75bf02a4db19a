"""Prepared text → batches of tensors: what student and teachers are shown, and the slots they answer for.

A batch is a pure function of the step number, the seed and the prepared text (contract 2 of
docs/architecture.md): the position in the data *is* the step number, so that a resumed run sees the same
batches as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from limbeck.text.batch import Batch, Recorded, StoredBatch, TeacherBatch
from limbeck.text.mixing import mix64
from limbeck.text.order import Order
from limbeck.text.shown import Selected, Shown
from limbeck.text.words import SHOW_MASK, SHOW_RANDOM, mask_plan

if TYPE_CHECKING:
    from limbeck.text.pieces import PieceTokenizer
    from limbeck.text.prepared import Prepared, PreparedPassage, TeacherSide

__all__ = ["Batch", "Collator", "StoredBatch", "TeacherBatch", "TextBatches", "fixed_batches"]

Ints = npt.NDArray[np.int64]


class Collator:
    """Turns prepared passages into batches.

    Args:
        student, teachers: tokenizers in the order of the prepared text (fewer teachers than prepared is
            allowed: none for a student that learns alone from the same text).
        seed, rate: of the mask plan. student_sees: `mask` or `bert` (80% mask, 10% random, 10% the word
            itself). stored: the same teachers, where all their predictions are read and none is shown
            anything.
    """

    def __init__(
        self,
        student: PieceTokenizer,
        teachers: Sequence[PieceTokenizer],
        *,
        seed: int,
        rate: float,
        student_sees: str,
        stored: Sequence[Recorded] = (),
    ) -> None:
        self.student, self.teachers, self.stored = student, list(teachers), list(stored)
        assert len(self.stored) in (0, len(self.teachers))
        self.seed, self.rate, self.student_sees = seed, rate, student_sees
        ordinary = np.setdiff1d(np.arange(student.vocab_size), np.fromiter(student.special_ids, np.int64))
        self._ordinary = ordinary.astype(np.int64)

    def __call__(self, passages: Sequence[PreparedPassage], variant: int) -> Batch:
        """The batch of `passages` (rows in this order) under the mask plan's `variant`."""
        plans = [
            mask_plan(p.n_words, p.hash, seed=self.seed, variant=variant, rate=self.rate) for p in passages
        ]
        words = np.array([p.n_words for p in passages], np.int64)
        word_base = np.cumsum(words) - words
        selected = Selected(
            np.concatenate([plan.selected + base for plan, base in zip(plans, word_base, strict=True)]),
            np.concatenate([plan.show for plan in plans]),
        )
        side = Shown(self.student, [p.student for p in passages], word_base)
        is_slot, which = selected.find(side.first, side.last)
        slots = np.flatnonzero(is_slot)
        gold = side.ids[slots].copy()
        shown = np.full(len(slots), self.student.mask_id, np.int64)
        masked = np.ones(len(slots), bool)
        if self.student_sees == "bert":
            show = selected.show[which[slots]]
            masked = show == SHOW_MASK
            random = self._random_pieces(passages, side, slots, variant)
            shown = np.where(masked, shown, np.where(show == SHOW_RANDOM, random, gold))
        side.ids[slots] = shown
        input_ids, attention = side.padded()
        kinds = np.concatenate([p.student.kind for p in passages])
        asked: list[TeacherBatch] = []
        said: list[StoredBatch] = []
        for t in range(len(self.teachers)):
            sides = [p.teachers[t] for p in passages]
            if self.stored:
                hashes = np.array([p.hash for p in passages], np.uint64)
                said.append(
                    self._read(t, sides, hashes, word_base, selected, slots, side.row[slots], variant)
                )
            else:
                asked.append(self._ask(t, sides, word_base, selected, slots, side.row[slots]))
        return Batch(
            input_ids=input_ids,
            attention_mask=attention,
            position=torch.from_numpy(side.position[slots]),
            gold=torch.from_numpy(gold),
            kind=torch.from_numpy(kinds[slots].astype(np.int64)),
            passage=torch.from_numpy(side.row[slots]),
            masked=torch.from_numpy(masked),
            tokens=int(attention.sum()),
            teachers=tuple(asked),
            stored=tuple(said),
        )

    def _ask(
        self,
        t: int,
        passages: Sequence[TeacherSide],
        word_base: Ints,
        selected: Selected,
        slots: Ints,
        rows: Ints,
    ) -> TeacherBatch:
        side = Shown(self.teachers[t], passages, word_base)
        side.ids[selected.find(side.first, side.last)[0]] = self.teachers[t].mask_id
        piece = np.concatenate([p.map for p in passages])[slots].astype(np.int64)
        covered = np.flatnonzero(piece >= 0)
        input_ids, attention = side.padded()
        position = side.position[side.base[rows[covered]] + piece[covered]]
        return TeacherBatch(input_ids, attention, torch.from_numpy(position), torch.from_numpy(covered))

    def _read(
        self,
        t: int,
        passages: Sequence[TeacherSide],
        hashes: npt.NDArray[np.uint64],
        word_base: Ints,
        selected: Selected,
        slots: Ints,
        rows: Ints,
        variant: int,
    ) -> StoredBatch:
        side = Shown(self.teachers[t], passages, word_base)
        masked = selected.find(side.first, side.last)[0]
        counts = np.bincount(side.row[masked], minlength=len(passages))
        answers = self.stored[t].read(variant, hashes, counts)
        piece = np.concatenate([p.map for p in passages])[slots].astype(np.int64)
        covered = np.flatnonzero(piece >= 0)
        at = side.base[rows[covered]] + piece[covered]
        record = (np.cumsum(masked) - 1)[at]  # a slot's piece overlaps a selected word, so it is masked
        ids = np.concatenate([side.ids[at][:, None], answers.others[record]], axis=1)
        arrays = covered, ids, answers.logit[record], answers.tail[record], answers.drawn[record]
        return StoredBatch(*map(torch.from_numpy, arrays))

    def _random_pieces(
        self, passages: Sequence[PreparedPassage], side: Shown, slots: Ints, variant: int
    ) -> Ints:
        """One ordinary piece per slot, a pure function of seed, variant, passage and place in it."""
        hashes = np.array([p.hash for p in passages], np.uint64)[side.row[slots]]
        place = (slots - side.base[side.row[slots]]).astype(np.uint64)
        key = mix64(hashes ^ mix64(np.uint64(self.seed) ^ (np.uint64(variant) << np.uint64(32))))
        draw = mix64(key + place) % np.uint64(len(self._ordinary))
        return self._ordinary[draw.astype(np.int64)]


class TextBatches:
    """The training text as micro-batches, a pure function of the step number.

    Every epoch is a new order and a new variant of the mask plan. Passages of similar length stand together,
    so that padding stays under 5% of the tokens fed. A rank takes every `world`-th of a step's passages, so
    that the order of text and the masks do not depend on the number of processes.

    Args:
        rows: indices of the passages to train on. batch: passages per step over all ranks, all rows where
            there are fewer; micro_batch: at once. seed: of the order; None: as the masks'. variants: of the
            mask plan, used in turn by epoch; None: each epoch has its own.
    """

    def __init__(
        self,
        prepared: Prepared,
        collator: Collator,
        rows: Ints,
        *,
        batch: int,
        micro_batch: int,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        variants: int | None = None,
    ) -> None:
        self.prepared, self.collator, self.micro_batch = prepared, collator, micro_batch
        self.variants = variants
        self.order = Order(
            prepared.hashes,
            prepared.lengths,
            rows,
            seed=collator.seed if seed is None else seed,
            batch=batch,
            rank=rank,
            world=world,
        )

    @property
    def steps_per_epoch(self) -> int:
        """See `Order`."""
        return self.order.steps_per_epoch

    def micro_batches(self, step: int) -> list[Batch]:
        """This rank's micro-batches of the 0-based `step`."""
        epoch, rows = self.order.rows(step)
        parts = [rows[i : i + self.micro_batch] for i in range(0, len(rows), self.micro_batch)]
        variant = epoch if self.variants is None else epoch % self.variants
        return [self.collator([self.prepared.passage(int(i)) for i in part], variant) for part in parts]


def fixed_batches(prepared: Prepared, collator: Collator, rows: Ints, size: int) -> Iterator[Batch]:
    """`rows` in order of length as batches of at most `size` passages under variant 0: for evaluation."""
    ordered = rows[np.argsort(prepared.lengths[rows], kind="stable")]
    for start in range(0, len(ordered), size):
        yield collator([prepared.passage(int(i)) for i in ordered[start : start + size]], 0)
