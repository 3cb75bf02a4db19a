"""The characters of many passages on one axis, and the offsets a reader would give a piece of text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import regex

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@cache
def _character_table(pattern: str) -> Bools:
    """Which code points match `pattern`: bool [0x110000]. Text read as UTF-8 has no surrogates."""
    table = np.zeros(0x110000, bool)
    for low, high in ((0, 0xD800), (0xE000, 0x110000)):
        for match in regex.finditer(f"(?:{pattern})+", "".join(map(chr, range(low, high)))):
            table[low + match.start() : low + match.end()] = True
    return table


class Characters:
    """The characters of N passages on one axis, shared by all tokenizers that encode them.

    base: int64 [N+1], first character of each passage.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.base: Ints = np.concatenate([[0], np.cumsum(lengths)])
        self.codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)

    @cached_property
    def next_visible(self) -> Ints:
        """int64 [C+1]: the first character at or after this one that is not white space."""
        return _next_false(_character_table(r"\s")[self.codes])

    @cached_property
    def visible_end(self) -> Ints:
        """int64 [C+1]: the end of the last character before this one that is not white space."""
        visible = np.flatnonzero(~_character_table(r"\s")[self.codes])
        end = np.zeros(len(self.codes) + 1, np.int64)
        end[visible + 1] = visible + 1
        return np.maximum.accumulate(end)

    @cached_property
    def mark(self) -> Bools:
        """Which characters are combining marks: bool [C+1] (the one past the end is none)."""
        return np.append(_character_table(r"\p{M}")[self.codes], False)

    @cached_property
    def next_unmarked(self) -> Ints:
        """int64 [C+1]: the first character at or after this one that is no combining mark."""
        return _next_false(self.mark[:-1])


def _next_false(flags: Bools) -> Ints:
    """For every index 0..n the smallest index at or after it whose flag is False (n where there is none)."""
    index = np.arange(len(flags) + 1)
    index[:-1][flags] = len(flags)
    return np.minimum.accumulate(index[::-1])[::-1]


def trim(start: Ints, end: Ints, characters: Characters, passage_end: Ints) -> tuple[Ints, Ints]:
    """Offsets without white space, with the combining marks that follow and belong to no piece of their own.

    start, end, passage_end: int64 [P] on the common axis. Uncased tokenizers drop accents, and some
    normalisers report a composed character as its first half; the mark goes with the letter it stands on.
    """
    trimmed, end = characters.next_visible[start], characters.visible_end[end]
    empty = trimmed >= end
    start, end = np.where(empty, start, trimmed), np.where(empty, start, end)
    followed = np.flatnonzero(characters.mark[end] & ~empty & (end < passage_end))
    if len(followed):
        # Not simply the next piece: those of a split character share its span.
        starts = np.append(np.maximum.accumulate(start[~empty]), len(characters.codes))
        following = starts[np.searchsorted(starts, end[followed])]
        run = np.minimum(characters.next_unmarked[end[followed]], passage_end[followed])
        end[followed] = np.minimum(run, following)
    return start, end
