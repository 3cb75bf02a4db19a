"""Which piece of a teacher answers for which piece of the student (architecture section 3.1, "covered").

Pure numpy over many passages at once: every array runs over the pieces or words of all passages, and
character offsets are counted from the first passage's first character. No loop over passages or pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.text.pieces import Characters, Pieces
from limbeck.text.words import word_spans

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Kinds of a student's piece. A piece with a start-of-word mark is OPEN_SPACED, a `##` piece INSIDE; an
# unmarked piece of a space-marking vocabulary is OPEN_BARE where a word starts ("(hello", or the passage's
# first word in byte-level BPE) and INSIDE elsewhere. The piece's own mark decides, not the text before it:
# the two agree but for oddities (a lone "▁" before a rare letter, a WordPiece that runs on over "°"), and
# there only the mark says which variants fit the slot.
KIND_OPEN_SPACED, KIND_OPEN_BARE, KIND_INSIDE, KIND_NONE = 0, 1, 2, 3

# Why a student's piece has no teacher piece.
BOUNDARIES, GOLD, TRUNCATED = -1, -2, -3


@dataclass(frozen=True)
class Words:
    """The words of N passages on one axis.

    start, end: int64 [W], characters on the common axis; offsets: int64 [N+1], passage i has words
    offsets[i]:offsets[i+1]; until, since: int64 [C+1], the number of words that end at or before a character,
    and that start at or before it.
    """

    start: Ints
    end: Ints
    offsets: Ints
    until: Ints
    since: Ints

    @classmethod
    def of(cls, texts: Sequence[str], characters: Characters) -> Words:
        """Find the words of `texts`."""
        spans = [word_spans(text) for text in texts]
        counts = np.fromiter(map(len, spans), np.int64, len(spans))
        base = np.repeat(characters.base[:-1], counts)
        flat = np.concatenate([*spans, np.zeros((0, 2), np.int64)])
        start, end = flat[:, 0] + base, flat[:, 1] + base
        size = int(characters.base[-1]) + 1
        until = np.cumsum(np.bincount(end, minlength=size))
        since = np.cumsum(np.bincount(start, minlength=size))
        return cls(start, end, np.concatenate([[0], np.cumsum(counts)]), until, since)


@dataclass(frozen=True)
class Located:
    """The pieces of N passages, and the words they overlap.

    ids: uint32 [P]; start, end: int64 [P], characters on the common axis; row: int64 [P], the passage;
    offsets: int64 [N+1]; first, last: int64 [P], first and last word on the common axis, last < first where a
    piece overlaps none.
    """

    ids: npt.NDArray[np.uint32]
    start: Ints
    end: Ints
    row: Ints
    offsets: Ints
    first: Ints
    last: Ints


def locate(pieces: Pieces, characters: Characters, words: Words) -> Located:
    """Find the words each piece overlaps."""
    row = np.repeat(np.arange(len(pieces.offsets) - 1), np.diff(pieces.offsets))
    base = characters.base[row]
    start, end = pieces.start + base, pieces.end + base
    empty = start == end
    first = words.until[start]
    # An empty piece may stand inside a word's span; it overlaps nothing all the same.
    last = np.where(empty, first - 1, words.since[np.maximum(end - 1, 0)] - 1)
    return Located(pieces.ids, start, end, row, pieces.offsets, first, last)


def kinds(
    pieces: Located, words: Words, starts_word: npt.NDArray[np.int8], marks_spaces: bool
) -> npt.NDArray[np.uint8]:
    """KIND_* of each of the student's pieces: uint8 [P].

    starts_word: int8 [V], `PieceTokenizer.starts_word`; marks_spaces: of the same tokenizer. A vocabulary
    without space marks has one way to open a word, so it knows no OPEN_BARE.
    """
    mark = starts_word[pieces.ids]
    if not len(words.start):
        return np.full(len(mark), KIND_NONE, np.uint8)
    opens = words.start[np.minimum(pieces.first, len(words.start) - 1)] == pieces.start
    bare = KIND_OPEN_BARE if marks_spaces else KIND_OPEN_SPACED
    kind = np.where(mark == 1, KIND_OPEN_SPACED, np.where((mark == 0) | ~opens, KIND_INSIDE, bare))
    return np.where(pieces.last < pieces.first, KIND_NONE, kind).astype(np.uint8)


def cut(pieces: Located, words: Words, limit: int) -> tuple[Bools, Ints]:
    """Cut passages of more than `limit` pieces at a word.

    Returns: keep, bool [P]; lost, int64 [N], the first word (common axis) that is not wholly kept in a
    passage, the passage's end where nothing is lost.
    """
    lost = words.offsets[1:].copy()
    counts = np.diff(pieces.offsets)
    long = np.flatnonzero(counts > limit)
    keep = np.ones(len(pieces.ids), bool)
    if not len(long):
        return keep, lost
    # A cut may stand before a piece that starts a new word: nothing before it reaches into that word.
    has_word = pieces.last >= pieces.first
    reach = np.maximum.accumulate(np.where(has_word, pieces.last, -1))
    before = np.concatenate([[-1], reach[:-1]])
    index = np.arange(len(pieces.ids))
    candidate = np.maximum.accumulate(np.where(has_word & (pieces.first > before), index, -1))
    at = np.maximum(candidate[pieces.offsets[long] + limit], pieces.offsets[long])
    stop = pieces.offsets[1:].copy()
    stop[long] = at
    keep = index < stop[pieces.row]
    # The piece at the cut opens the first lost word; where the passage's very first word is too long that is
    # word 0.
    lost[long] = np.where(at > pieces.offsets[long], pieces.first[at], words.offsets[long])
    return keep, lost


def _ordinal(start: Ints, end: Ints) -> Ints:
    """How many pieces of the same span stand before this one (byte-level BPE splits characters)."""
    index = np.arange(len(start))
    new = np.ones(len(start), bool)
    new[1:] = (start[1:] != start[:-1]) | (end[1:] != end[:-1])
    return index - np.maximum.accumulate(np.where(new, index, 0))


def _match(student: Located, teacher: Located) -> Ints:
    """The teacher's piece of the same span and ordinal among equal spans, or -1: int64 [P_student]."""
    found = np.full(len(student.ids), -1, np.int64)
    there = np.flatnonzero(teacher.last >= teacher.first)
    here = np.flatnonzero(student.last >= student.first)
    if not len(there) or not len(here):
        return found

    def keys(side: Located, index: Ints) -> tuple[Ints, Ints, Ints]:
        start, end = side.start[index], side.end[index]
        ordinal = _ordinal(start, end)
        # 32 bits of position, 16 of length, 15 of ordinal; what does not fit is compared in full below.
        return (
            (start << 31) | (np.minimum(end - start, 0xFFFF) << 15) | np.minimum(ordinal, 0x7FFF),
            end,
            ordinal,
        )

    key, end, ordinal = keys(teacher, there)
    if (key[1:] < key[:-1]).any():  # a normaliser that moves characters about
        order = np.argsort(key, kind="stable")
        there, key, end, ordinal = there[order], key[order], end[order], ordinal[order]
    wanted, wanted_end, wanted_ordinal = keys(student, here)
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    equal = (key[at] == wanted) & (end[at] == wanted_end) & (ordinal[at] == wanted_ordinal)
    found[here[equal]] = there[at[equal]]
    return found


def _spoilt(words: int, pieces: Located, bad: Bools) -> Ints:
    """Which words a bad piece overlaps: int64 [W], counts above 0."""
    index = np.flatnonzero(bad & (pieces.last >= pieces.first))
    opened = np.bincount(pieces.first[index], minlength=words + 1)
    closed = np.bincount(pieces.last[index] + 1, minlength=words + 1)
    return np.cumsum(opened - closed)[:words]


def align(
    student: Located,
    teacher: Located,
    words: Words,
    kind: npt.NDArray[np.uint8],
    gold_map: Ints,
    lost: Ints,
) -> npt.NDArray[np.int16]:
    """The teacher's piece that answers for each of the student's.

    A piece is covered if the pieces of both sides over every word it overlaps have the same character
    boundaries, and the teacher's own piece there projects to the student's.

    Args:
        student, teacher: all pieces, before any cut. kind: uint8 [P_student]. gold_map: int64 [3, V_teacher],
        student id by kind and teacher id, -1 for none. lost: int64 [N], first word the teacher does not read
        (`cut`).
    Returns: int16 [P_student], position among the teacher's pieces of that passage (special tokens not
        counted), or BOUNDARIES, GOLD, TRUNCATED. Pieces that overlap no word are BOUNDARIES: they are never
        slots.
    """
    n_words = len(words.start)
    found = _match(student, teacher)
    matched = np.zeros(len(teacher.ids), bool)
    matched[found[found >= 0]] = True
    spoilt = (_spoilt(n_words, student, found < 0) + _spoilt(n_words, teacher, ~matched)) > 0
    before = np.concatenate([[0], np.cumsum(spoilt)])
    has_word = student.last >= student.first
    same = has_word & (found >= 0)
    same &= before[np.maximum(student.last + 1, 0)] == before[student.first]
    index = np.flatnonzero(same)
    there = found[index]
    gold = gold_map[kind[index], teacher.ids[there]] == student.ids[index]
    answer = np.full(len(student.ids), BOUNDARIES, np.int64)
    answer[index] = np.where(gold, there - teacher.offsets[teacher.row[there]], GOLD)
    answer[has_word & (student.last >= lost[student.row])] = TRUNCATED
    return answer.astype(np.int16)
