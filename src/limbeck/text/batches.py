"""Prepared text → batches of tensors: what student and teachers are shown, and the slots they answer for.

A batch is a pure function of the step number, the seed and the prepared text (contract 2 of
docs/architecture.md): the position in the data *is* the step number, so that a resumed run sees the same
batches as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.text.mixing import mix64
from limbeck.text.words import SHOW_MASK, SHOW_RANDOM, mask_plan

if TYPE_CHECKING:
    from limbeck.text.pieces import PieceTokenizer
    from limbeck.text.prepared import Prepared, PreparedPassage, Side, TeacherSide

Ints = npt.NDArray[np.int64]

# Passages are sorted by length within pools of about so many passages, and at least so many batches: large
# enough for little padding even where lengths differ as much as those of dictionary entries, small enough
# that a batch is still a mixture of the whole text.
POOL_PASSAGES, POOL_BATCHES = 8192, 32


@dataclass(frozen=True)
class TeacherBatch:
    """What one teacher is shown for a batch, and which slots it answers.

    input_ids, attention_mask: int64 [B, L]; position: int64 [C], flat positions in B·L of the covered slots;
    slot: int64 [C], their indices among the student's S slots.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position: torch.Tensor
    slot: torch.Tensor

    def to(self, device: torch.device | str) -> TeacherBatch:
        """The same batch on `device`."""
        return TeacherBatch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


@dataclass(frozen=True)
class Batch:
    """What the student is shown, and its S slots.

    input_ids, attention_mask: int64 [B, L]; position: int64 [S], flat positions in B·L; gold: int64 [S], the
    true piece; kind: int64 [S], `KIND_*` of text/align.py; passage: int64 [S], the row; masked: bool [S], the
    student sees the mask there; tokens: pieces fed, special ones included and padding excluded.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position: torch.Tensor
    gold: torch.Tensor
    kind: torch.Tensor
    passage: torch.Tensor
    masked: torch.Tensor
    tokens: int
    teachers: tuple[TeacherBatch, ...] = ()

    @property
    def count(self) -> int:
        """Number of slots, the unit every loss is normalised by."""
        return len(self.gold)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`, except the teachers' parts: each teacher moves its own."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class _Selected:
    """The selected words of a batch on one axis: word index (ascending) and what the student is shown."""

    word: Ints
    show: npt.NDArray[np.uint8]

    def find(self, first: Ints, last: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
        """For pieces over the words first…last: is one of them selected, and the index of the first such."""
        index = np.searchsorted(self.word, first)
        inside = np.minimum(index, len(self.word) - 1)
        return (index < len(self.word)) & (self.word[inside] <= last) & (first <= last), inside


class Collator:
    """Turns prepared passages into batches.

    Args:
        student, teachers: tokenizers in the order of the prepared text (fewer teachers than prepared is
            allowed: none for a student that learns alone from the same text).
        seed, rate: of the mask plan. student_sees: `mask` or `bert` (80% mask, 10% random, 10% the word
            itself).
    """

    def __init__(
        self,
        student: PieceTokenizer,
        teachers: Sequence[PieceTokenizer],
        *,
        seed: int,
        rate: float,
        student_sees: str,
    ) -> None:
        self.student, self.teachers = student, list(teachers)
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
        selected = _Selected(
            np.concatenate([plan.selected + base for plan, base in zip(plans, word_base, strict=True)]),
            np.concatenate([plan.show for plan in plans]),
        )
        side = _Side(self.student, [p.student for p in passages], word_base)
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
        return Batch(
            input_ids=input_ids,
            attention_mask=attention,
            position=torch.from_numpy(side.position[slots]),
            gold=torch.from_numpy(gold),
            kind=torch.from_numpy(kinds[slots].astype(np.int64)),
            passage=torch.from_numpy(side.row[slots]),
            masked=torch.from_numpy(masked),
            tokens=int(attention.sum()),
            teachers=tuple(
                self._teacher(
                    t, [p.teachers[t] for p in passages], word_base, selected, slots, side.row[slots]
                )
                for t in range(len(self.teachers))
            ),
        )

    def _teacher(
        self,
        t: int,
        passages: Sequence[TeacherSide],
        word_base: Ints,
        selected: _Selected,
        slots: Ints,
        rows: Ints,
    ) -> TeacherBatch:
        side = _Side(self.teachers[t], passages, word_base)
        side.ids[selected.find(side.first, side.last)[0]] = self.teachers[t].mask_id
        piece = np.concatenate([p.map for p in passages])[slots].astype(np.int64)
        covered = np.flatnonzero(piece >= 0)
        input_ids, attention = side.padded()
        position = side.position[side.base[rows[covered]] + piece[covered]]
        return TeacherBatch(input_ids, attention, torch.from_numpy(position), torch.from_numpy(covered))

    def _random_pieces(
        self, passages: Sequence[PreparedPassage], side: _Side, slots: Ints, variant: int
    ) -> Ints:
        """One ordinary piece per slot, a pure function of seed, variant, passage and place in it."""
        hashes = np.array([p.hash for p in passages], np.uint64)[side.row[slots]]
        place = (slots - side.base[side.row[slots]]).astype(np.uint64)
        key = mix64(hashes ^ mix64(np.uint64(self.seed) ^ (np.uint64(variant) << np.uint64(32))))
        draw = mix64(key + place) % np.uint64(len(self._ordinary))
        return self._ordinary[draw.astype(np.int64)]


class _Side:
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


class TextBatches:
    """The training text as micro-batches, a pure function of the step number.

    Every epoch is a new order and a new variant of the mask plan. Passages of similar length stand together,
    so that padding stays under 5% of the tokens fed. A rank takes every `world`-th of a step's passages, so
    that the order of text and the masks do not depend on the number of processes.

    Args:
        rows: indices of the passages to train on. batch: passages per step over all ranks, all rows where
            there are fewer; micro_batch: at once.
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
    ) -> None:
        self.prepared, self.collator, self.rows = prepared, collator, rows
        self.batch, self.micro_batch = min(batch, len(rows)), micro_batch
        self.rank, self.world = rank, world
        self._epoch: tuple[int, list[Ints]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the text; the rest of an epoch's order is left out of that epoch."""
        return len(self.rows) // self.batch

    def micro_batches(self, step: int) -> list[Batch]:
        """This rank's micro-batches of the 0-based `step`."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        rows = self._epoch[1][index][self.rank :: self.world]
        parts = [rows[i : i + self.micro_batch] for i in range(0, len(rows), self.micro_batch)]
        return [self.collator([self.prepared.passage(int(i)) for i in part], epoch) for part in parts]

    def _order(self, epoch: int) -> list[Ints]:
        key = mix64(np.uint64(self.collator.seed) ^ mix64(np.uint64(epoch) + np.uint64(1)))
        order = self.rows[np.argsort(mix64(self.prepared.hashes[self.rows] ^ key), kind="stable")]
        pool = max(POOL_BATCHES, POOL_PASSAGES // self.batch)  # batches
        pools = -(-self.steps_per_epoch // pool)
        lengths = self.prepared.lengths
        batches: list[Ints] = []
        for part in np.array_split(np.arange(self.steps_per_epoch), pools):  # all of about the same size
            rows = order[part[0] * self.batch : (part[-1] + 1) * self.batch]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            batches += [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        shuffled = np.argsort(mix64(np.arange(len(batches)).astype(np.uint64) ^ key), kind="stable")
        return [batches[i] for i in shuffled]


def fixed_batches(prepared: Prepared, collator: Collator, rows: Ints, size: int) -> Iterator[Batch]:
    """`rows` in order of length as batches of at most `size` passages under variant 0: for evaluation."""
    ordered = rows[np.argsort(prepared.lengths[rows], kind="stable")]
    for start in range(0, len(ordered), size):
        yield collator([prepared.passage(int(i)) for i in ordered[start : start + size]], 0)
