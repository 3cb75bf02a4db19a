"""One record batch of a corpus: encoded for the student, aligned with every teacher, as flat arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from limbeck.text.align import Words, align, cut, kinds, locate
from limbeck.text.characters import Characters
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepared import Array

Ints = npt.NDArray[np.int64]


class Job(NamedTuple):
    """What every worker holds: tokenizers and gold maps (int64 [3, V_t] each)."""

    student: PieceTokenizer
    teachers: tuple[PieceTokenizer, ...]
    gold_maps: tuple[Ints, ...]


def encode_block(job: Job, texts: list[str]) -> dict[str, Array]:
    """Encode and align one record batch: the columns that `prepare` writes, and the offsets of each side."""
    characters = Characters(texts)
    words = Words.of(texts, characters)
    student = locate(job.student.encode(texts, characters), characters, words)
    kind = kinds(student, words, job.student.starts_word, job.student.marks_spaces)
    keep, lost_at = cut(student, words, job.student.limit)
    arrays: dict[str, Array] = {"kind": kind[keep], "lost": words.offsets[1:] - lost_at}
    arrays |= _side(student, words, keep, "")
    for t, (tokenizer, gold_map) in enumerate(zip(job.teachers, job.gold_maps, strict=True)):
        teacher = locate(tokenizer.encode(texts, characters), characters, words)
        kept, lost = cut(teacher, words, tokenizer.limit)
        arrays |= _side(teacher, words, kept, str(t))
        arrays[f"map{t}"] = align(student, teacher, words, kind, gold_map, lost)[keep]
    return arrays


def _side(pieces: Any, words: Words, keep: npt.NDArray[np.bool_], number: str) -> dict[str, Array]:
    """The kept pieces of one side, words counted within the passage."""
    row = pieces.row[keep]
    base = words.offsets[row]
    none = (pieces.last < pieces.first)[keep]
    counts = np.bincount(row, minlength=len(words.offsets) - 1)
    return {
        f"offsets{number}": np.concatenate([[0], np.cumsum(counts)]),
        f"ids{number}": pieces.ids[keep],
        f"first{number}": np.where(none, 1, pieces.first[keep] - base).astype(np.uint16),
        f"last{number}": np.where(none, 0, pieces.last[keep] - base).astype(np.uint16),
    }
