"""Texts as pieces that know the words they overlap: what the model is fed, and what can be masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.text.align import Words, kinds, locate
from limbeck.text.pieces import Characters, PieceTokenizer
from limbeck.text.words import passage_hash, word_spans

Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Text:
    """One text as pieces, special ones left out: a context, or `target : gloss`.

    text: the characters the pieces stand for (what a teacher would read); table: int32 [4, n], the rows
    `ids`, `first`, `last`, `kind` below; words: their number.
    """

    text: str
    table: Table
    words: int

    def __len__(self) -> int:
        return int(self.table.shape[1])

    @property
    def ids(self) -> Table:
        """int32 [n], the pieces."""
        row: Table = self.table[0]
        return row

    @property
    def first(self) -> Table:
        """int32 [n], first word of this text that the piece overlaps."""
        row: Table = self.table[1]
        return row

    @property
    def last(self) -> Table:
        """int32 [n], last word the piece overlaps; below `first`: none."""
        row: Table = self.table[2]
        return row

    @property
    def kind(self) -> Table:
        """int32 [n], KIND_* of text/align.py."""
        row: Table = self.table[3]
        return row

    @property
    def hash(self) -> int:
        """`passage_hash` of the text, for the mask plan."""
        return passage_hash(self.text)

    def head(self, most: int) -> Text:
        """Its first pieces, at most so many and as a rule whole words."""
        starts = word_starts(self.table)
        stop = int(starts[np.searchsorted(starts, most, side="right") - 1]) or most
        table = self.table[:, :stop].copy()
        words = int(table[2].max()) + 1 if (table[1] <= table[2]).any() else 0
        end = int(word_spans(self.text)[words - 1, 1]) if words else 0
        return Text(self.text[:end], table, words)


def word_starts(table: Table) -> Ints:
    """Where a text may be cut, of its n pieces: before those that reach into no word before them; 0 and n."""
    first, last = table[1:3]
    reach = np.maximum.accumulate(np.where(last >= first, last, -1))
    opens = (last >= first)[1:] & (first[1:] > reach[:-1])
    return np.flatnonzero(np.concatenate([[True], opens, [True]]))


@dataclass(frozen=True)
class Located:
    """The pieces of N texts on one axis, words and characters counted within each text.

    table: int32 [4, P] as in `Text`; start, end: int64 [P]; offsets: int64 [N+1]; words: int64 [N].
    """

    texts: Sequence[str]
    table: Table
    start: Ints
    end: Ints
    offsets: Ints
    words: Ints

    @classmethod
    def of(cls, tokenizer: PieceTokenizer, texts: Sequence[str]) -> Located:
        """Tokenize the texts and find the words of each piece."""
        characters = Characters(texts)
        words = Words.of(texts, characters)
        pieces = locate(tokenizer.encode(texts, characters), characters, words)
        kind = kinds(pieces, words, tokenizer.starts_word, tokenizer.marks_spaces)
        base, shift = words.offsets[pieces.row], characters.base[pieces.row]
        none = pieces.last < pieces.first
        first, last = np.where(none, 1, pieces.first - base), np.where(none, 0, pieces.last - base)
        table = np.stack([pieces.ids.astype(np.int32), first, last, kind]).astype(np.int32)
        start, end = pieces.start - shift, pieces.end - shift
        return cls(texts, table, start, end, pieces.offsets, np.diff(words.offsets))

    def text(self, number: int, low: int, high: int | None) -> Text:
        """Text `number`, or its pieces low…high (None: its end) alone, with the words they overlap."""
        begin, stop = int(self.offsets[number]), int(self.offsets[number + 1])
        size = stop - begin
        high = size if high is None else high
        if (low, high) == (0, size):
            # A copy: a view would keep the pieces of all texts alive.
            return Text(self.texts[number], self.table[:, begin:stop].copy(), int(self.words[number]))
        part = self.table[:, begin + low : begin + high].copy()
        real = part[1] <= part[2]
        first = int(part[1, real].min()) if real.any() else 0
        words = int(part[2, real].max()) + 1 - first if real.any() else 0
        part[1:3, real] -= first
        characters = slice(int(self.start[begin + low]), int(self.end[begin + low : begin + high].max()))
        return Text(self.texts[number][characters], part, words)

    def overlapping(self, number: int, start: int, end: int) -> tuple[int, int]:
        """The pieces `[low, high)` of a text that overlap these of its characters; low = high: none."""
        pieces = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        found = np.flatnonzero((self.start[pieces] < end) & (self.end[pieces] > start))
        if len(found):
            return int(found[0]), int(found[-1]) + 1
        before = int((self.end[pieces] <= start).sum())  # the tokenizer drops these characters
        return before, before
