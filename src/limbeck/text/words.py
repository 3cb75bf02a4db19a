"""Words of a text and the mask plan: which words are selected, what the student is shown there (section 2).

Both are the same for every tokenizer, machine, batch order and process count. A change of either changes
every experiment, so it needs a new `WORD_RULE_VERSION`.
"""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import regex

WORD_RULE_VERSION: int = 1
"""Version of the word rule and of the mask plan; part of every fingerprint that depends on them."""

SHOW_MASK, SHOW_RANDOM, SHOW_KEEP = 0, 1, 2
"""What the student is shown at a selected word: the mask, a random word, the word itself."""

# Classes of characters. A mark is ranked before everything else, so that each character has one class.
_NONE, _RUN, _IDEOGRAPH, _OTHER, _MARK = 0, 1, 2, 3, 4
_CLASSES = regex.compile(r"(?V1)(\p{M}+)|([\s\p{C}]+)|(\p{Han}+)|([\p{L}\p{N}]+)|([^\s\p{C}])")
_CLASS_OF_GROUP = (_NONE, _MARK, _NONE, _IDEOGRAPH, _RUN, _OTHER)

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15
_LOW_32 = np.uint64(0xFFFF_FFFF)
_SHARE_MASK = np.uint64(round(0.8 * 2**32))
_SHARE_MASK_OR_RANDOM = np.uint64(round(0.9 * 2**32))
_M1, _M2 = np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def _classify(characters: str) -> npt.NDArray[np.uint8]:
    classes = np.full(len(characters), _OTHER, dtype=np.uint8)
    for match in _CLASSES.finditer(characters):
        classes[match.start() : match.end()] = _CLASS_OF_GROUP[match.lastindex or 0]
    return classes


@functools.cache
def _table(size: int) -> npt.NDArray[np.uint8]:
    """Class of each character below `size`; made when first needed (all of Unicode: 0.04 s)."""
    everything = np.arange(size, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return _classify(everything)


def word_spans(text: str) -> npt.NDArray[np.int64]:
    r"""Finds the words of a text.

    A word is a run of letters, marks and digits; every ideograph and every other visible character is a
    word of its own, with the marks that follow it. White space, control and format characters belong to
    no word. As a regular expression:
    `[\p{Han}--\p{M}]\p{M}*|[[\p{L}\p{M}\p{N}]--[\p{Han}--\p{M}]]+|[^\s\p{C}]\p{M}*`.

    Returns:
        int64 [n, 2]: start and end of each word in characters, ascending.
    """
    if text.isascii():
        classes = _table(128)[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        classes = _table(0x110000)[codes]
        if (classes == _MARK).any():
            classes = _resolve_marks(classes)
    length = len(classes)
    if length == 0:
        return np.empty((0, 2), dtype=np.int64)
    visible = classes != _NONE
    opens = visible & (classes != _MARK)  # a mark that goes on what stands before it never opens
    run = classes == _RUN
    opens[1:] &= ~(run[1:] & run[:-1])
    # A word ends where the next one opens or where something invisible stands.
    starts = np.flatnonzero(opens)
    closes = np.empty(length, dtype=bool)
    closes[-1] = visible[-1]
    closes[:-1] = visible[:-1] & (opens[1:] | ~visible[1:])
    spans = np.empty((len(starts), 2), dtype=np.int64)
    spans[:, 0] = starts
    spans[:, 1] = np.flatnonzero(closes) + 1
    return spans


def _resolve_marks(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Makes a mark part of a run where it goes on one or stands alone; the others stay marks."""
    marks = classes == _MARK
    # The last character that is no mark, for each character.
    before = np.maximum.accumulate(np.where(marks, -1, np.arange(len(classes))))
    base = np.where(before >= 0, classes[before], _NONE)
    resolved = classes.copy()
    resolved[marks & ((base == _RUN) | (base == _NONE))] = _RUN
    return resolved


def passage_hash(text: str) -> int:
    """Identity of a passage: blake2b of its UTF-8 text, 8 bytes, as an unsigned number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class MaskPlan(NamedTuple):
    """Selected words of one passage.

    `selected`: int64 [m], ascending indices of words. `show`: uint8 [m], one of `SHOW_MASK`, `SHOW_RANDOM`,
    `SHOW_KEEP`.
    """

    selected: npt.NDArray[np.int64]
    show: npt.NDArray[np.uint8]


def _mix(value: int) -> int:
    """The finaliser of splitmix64 for one number."""
    value &= _U64
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _U64
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _U64
    return value ^ (value >> 31)


@functools.lru_cache(maxsize=256)
def _base(seed: int, variant: int) -> int:
    return _mix(_mix(_mix(WORD_RULE_VERSION + _GAMMA) ^ (seed & _U64)) + _GAMMA * (variant + 1))


@functools.cache
def _steps(size: int) -> npt.NDArray[np.uint64]:
    """The first `size` multiples of splitmix64's increment, modulo 2^64."""
    steps = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GAMMA)
    steps.setflags(write=False)
    return steps


def mask_plan(n_words: int, passage_hash: int, *, seed: int, variant: int, rate: float) -> MaskPlan:
    """Selects `max(1, round(rate * n_words))` words of a passage; a pure function of its arguments.

    Every word has a 64-bit key (splitmix64 of seed, variant, passage and index); the words of smallest
    key are selected, so the words of a smaller rate are among those of a larger one. What is shown is
    80% the mask, 10% a random word, 10% the word itself, from the key's lower half, which does not take
    part in the selection.

    Args:
        n_words: at least 1.
        passage_hash: of `passage_hash`.
        seed: of the recipe; any integer, taken modulo 2^64.
        variant: 0, 1, …: another plan of the same passage.
        rate: share of the words, above 0 and at most 1.
    """
    assert n_words >= 1
    assert 0 < rate <= 1
    state = _mix(_base(seed, variant) ^ passage_hash)
    keys = _steps(1024 if n_words <= 1024 else 65536)[:n_words] + np.uint64(state)
    keys ^= keys >> _30
    keys *= _M1
    keys ^= keys >> _27
    keys *= _M2
    keys ^= keys >> _31
    # splitmix64 is one to one and the steps differ, so no two words share a key: no ties to break.
    selected = keys.argsort()[: max(1, round(rate * n_words))]
    selected.sort()
    low = keys[selected] & _LOW_32
    show = (low >= _SHARE_MASK).view(np.uint8) + (low >= _SHARE_MASK_OR_RANDOM).view(np.uint8)
    return MaskPlan(selected, show)
