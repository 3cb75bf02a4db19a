"""LMGC-M: which words of contexts and glosses are masked, and what the teachers are asked (section 3.2).

Every distinct text of a batch, a context or a `target : gloss`, is a passage of its own and goes through the
text side's `Collator`: the same mask plan, the same 80-10-10, the same teachers' inputs as in distillation.
The plan follows from the text and the epoch, so neither layout nor batch changes it, and a gloss is masked
alike beside every context of the epoch. Every word may be selected, the target as well, as published (arXiv
2301.08130 masks 15% of all words): where it is masked in the context it is as a rule named on the gloss side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from limbeck.distill.step import Placed
from limbeck.gloss.layout import Arranged, GlossBatch, Masking
from limbeck.gloss.texts import Text
from limbeck.text.align import BOUNDARIES, GOLD
from limbeck.text.batches import Batch, Collator
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import prepare_texts
from limbeck.text.prepared import PreparedPassage, Side, TeacherSide

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GlossTrainingBatch:
    """What a step of gloss training is given.

    gloss: the model's input; its S slots are those of all rows. words: the distinct texts with their slots,
    as the teachers see them; None in plain LMGC. slot: int64 [S], for each slot of `gloss` that of `words`.
    weight: float32 [S]; the weights of an instance's slots sum to 1, shared evenly by its distinct slots and
    then by the copies of each (in layout `pairs` every candidate brings the context again).
    """

    gloss: GlossBatch
    words: Batch | None
    slot: torch.Tensor
    weight: torch.Tensor

    @property
    def count(self) -> int:
        """Number of instances, the unit the loss is normalised by."""
        return self.gloss.count

    @property
    def tokens(self) -> int:
        """Pieces fed, padding excluded."""
        return self.gloss.tokens

    def to(self, device: torch.device | str) -> GlossTrainingBatch:
        """The same batch on `device`, except the teachers' parts."""
        return replace(
            self,
            gloss=self.gloss.to(device),
            words=None if self.words is None else self.words.to(device),
            slot=self.slot.to(device),
            weight=self.weight.to(device),
        )


def unmasked(arranged: Arranged) -> GlossTrainingBatch:
    """The batch of plain LMGC."""
    return GlossTrainingBatch(arranged.plain, None, torch.zeros(0, dtype=torch.long), torch.zeros(0))


class Masker:
    """Masks whole words of the texts of a batch.

    Args:
        student: tokenizer of the model. seed, rate: of the mask plan. student_sees: `mask` or `bert`, as in
            `Collator`. placed: the teachers of a cohesive training, none otherwise.
    """

    def __init__(
        self,
        student: PieceTokenizer,
        *,
        seed: int,
        rate: float,
        student_sees: str,
        placed: Sequence[Placed] = (),
    ) -> None:
        self.student, self.placed = student, list(placed)
        tokenizers = [p.teacher.tokenizer for p in placed]
        self.collator = Collator(student, tokenizers, seed=seed, rate=rate, student_sees=student_sees)

    def __call__(self, arranged: Arranged, variant: int) -> GlossTrainingBatch:
        """The batch with its words masked under the mask plan's `variant`."""
        texts, number = _distinct(arranged.texts)
        if not texts:
            return unmasked(arranged)
        words = self.collator(self._passages(texts), variant)
        slots = np.bincount(words.passage.numpy(), minlength=len(texts))  # of each distinct text
        first_slot = np.cumsum(slots) - slots
        held = np.where(number >= 0, slots[number], 0)  # of each text of the batch
        text = np.repeat(np.arange(len(held)), held)
        slot = first_slot[number[text]] + np.arange(len(text)) - np.repeat(np.cumsum(held) - held, held)
        first_piece = np.searchsorted(arranged.text, np.arange(len(held)))
        piece = first_piece[text] + self._places(words)[slot]
        masking = Masking(
            piece=piece,
            shown=words.input_ids.ravel()[words.position].numpy()[slot],
            masked=words.masked.numpy()[slot],
        )
        weight = _weights(_instances(arranged)[arranged.row[text]], slot, words.count)
        return GlossTrainingBatch(
            arranged.batch(masking), words, torch.from_numpy(slot), torch.from_numpy(weight)
        )

    def _places(self, words: Batch) -> Ints:
        """For each slot of `words` the index of its piece in its text."""
        width, fixed = words.input_ids.shape[1], len(self.student.prefix) + len(self.student.suffix)
        column = (words.position % width).numpy()
        if self.student.padding_side == "left":
            length = words.attention_mask.sum(1).numpy() - fixed
            column = column - (width - fixed - length)[words.passage.numpy()]
        places: Ints = column - len(self.student.prefix)
        return places

    def _passages(self, texts: Sequence[Text]) -> list[PreparedPassage]:
        sides: list[tuple[TeacherSide, ...]] = [()] * len(texts)
        if self.placed:
            found = prepare_texts(
                [text.text for text in texts],
                self.student,
                [p.teacher.tokenizer for p in self.placed],
                [p.projection.gold_map for p in self.placed],
            )
            sides = [_taught(text, passage) for text, passage in zip(texts, found, strict=True)]
        return [
            PreparedPassage(text.hash, text.words, Side(text.ids, text.first, text.last, text.kind), teachers)
            for text, teachers in zip(texts, sides, strict=True)
        ]


def _taught(text: Text, passage: PreparedPassage) -> tuple[TeacherSide, ...]:
    """The teachers' sides of a text, fitted to its own pieces.

    A context that was cut to the length limit keeps the pieces of the whole. Read alone, its first piece may
    be another one, or parted elsewhere: no teacher answers for a piece that is not the same.
    """
    if len(passage.student.ids) != len(text):
        none = np.full(len(text), BOUNDARIES, np.int16)
        return tuple(side._replace(map=none) for side in passage.teachers)
    same = passage.student.ids == text.ids
    return tuple(
        side._replace(map=np.where(same | (side.map < 0), side.map, GOLD)) for side in passage.teachers
    )


def _distinct(texts: Sequence[Text]) -> tuple[list[Text], Ints]:
    """The different texts with a word in them, and for each of `texts` its number among those, or −1."""
    numbers: dict[tuple[str, bytes], int] = {}
    found: list[Text] = []
    number = np.full(len(texts), -1, np.int64)
    for place, text in enumerate(texts):
        if text.words == 0:
            continue
        key = text.text, text.ids.tobytes()
        if key not in numbers:
            numbers[key] = len(found)
            found.append(text)
        number[place] = numbers[key]
    return found, number


def _instances(arranged: Arranged) -> Ints:
    """The instance of each row, [B]."""
    instance = np.zeros(len(arranged.plain.input_ids), np.int64)
    instance[arranged.row[arranged.is_gloss]] = arranged.plain.instance.numpy()
    return instance


def _weights(instance: Ints, slot: Ints, slots: int) -> npt.NDArray[np.float32]:
    """What each copy of a slot counts, [S]: within an instance its distinct slots count alike."""
    distinct, place, copies = np.unique(instance * slots + slot, return_inverse=True, return_counts=True)
    held = np.bincount(distinct // slots, minlength=int(instance.max(initial=-1)) + 1)
    weights: npt.NDArray[np.float32] = (1.0 / (copies[place] * held[instance])).astype(np.float32)
    return weights
