"""Running text from tokens: what a treebank has taken apart is put together as a person would write it.

The evaluation sets and SemCor are token by token, with Penn Treebank's marks. A language model has read
running text, so it is given running text. docs/wsd.md tells the rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# What stands for a bracket in treebanks, and an ampersand that was escaped twice.
_MEANT = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "&amp;": "&",
}
_OPENS = re.compile(r"[(\[{$£€]")
_CLOSES = re.compile(r"[)\]},.;:?!%…]+|\(\)")
_CLITIC = re.compile(r"(?:['’](?:s|m|d|re|ve|ll)|n['’]t)", re.IGNORECASE)
_WORD = re.compile(r"\w")
_PLURAL_OR_CUT = re.compile(r"(?:s|in)", re.IGNORECASE)  # "ladies ' man", "takin ' me"
_ELISION = re.compile(r"[DLO]", re.IGNORECASE)  # "O ' Connor", "L ' Arcade", "d ' etat"

_Glued = tuple[str, bool, bool]
"""A piece as it is written; whether it is written close to what stands before it, and behind it."""


def join(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Running text of one sentence, and where each token stands in it.

    Args:
        tokens: none without a visible character; white space inside one parts it into pieces, to which the
            same rule applies.

    Returns:
        The text, and for each token `[start, end)` in characters: from its first piece to its last.
    """
    pieces = [_MEANT.get(piece, piece) for token in tokens for piece in token.split()]
    written = _Quotes(pieces)
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    length, close = 0, True
    for number in range(len(pieces)):
        piece, close_before, close_behind = written.glued(number)
        if not (close or close_before):
            text.append(" ")
            length += 1
        text.append(piece)
        starts.append(length)
        length += len(piece)
        ends.append(length)
        close = close_behind
    spans, first = [], 0
    for token in tokens:
        last = first + len(token.split()) - 1
        assert last >= first, "a token without a visible character"
        spans.append((starts[first], ends[last]))
        first = last + 1
    return "".join(text), spans


class _Quotes:
    """Walks through the pieces of a sentence once, in order, and knows which quotation marks are open."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces
        self.directed = "''" in pieces  # else both ends of a quotation are written ``, as in Senseval
        self.double = self.single = False
        self.last_word = max((i for i, p in enumerate(pieces) if _WORD.search(p)), default=-1)
        self.last_single = max((i for i, p in enumerate(pieces) if p == "'"), default=-1)

    def glued(self, i: int) -> _Glued:
        """How the piece number `i` is written."""
        piece, before = self.pieces[i], self.pieces[i - 1] if i else ""
        if piece in ("``", "''", '"'):
            opens = piece == "``" if self.directed and piece != '"' else not self.double
            self.double = opens and i < self.last_word
            return '"', not self.double, self.double
        if piece == "`":
            self.single = i < self.last_single
            return ("'" if self.single else piece), not self.single, self.single
        if piece == "'":
            return self._single(i, before)
        piece = piece.replace("``", '"').replace("''", '"')
        if _CLITIC.fullmatch(piece):
            doubled = piece[0] in "nN" and before.lower() in ("can", "won")  # SemCor's "can n't", "won n't"
            return piece[doubled:], True, False
        if _OPENS.fullmatch(piece):
            return piece, False, True
        return piece, bool(_CLOSES.fullmatch(piece)) or piece == "/", piece == "/"

    def _single(self, i: int, before: str) -> _Glued:
        """A lone apostrophe: the end of a quotation, its beginning, or part of the word before it."""
        if self.single:
            self.single = False
            return "'", True, False
        if _ELISION.fullmatch(before):
            return "'", True, True
        part_of_word = _WORD.search(before) and (i == self.last_single or _ends(before))
        if part_of_word or i > self.last_word:
            return "'", True, False
        self.single = True
        return "'", False, True


def _ends(word: str) -> bool:
    """Whether an apostrophe behind this word is likely its own: a plural's, or that of a dropped letter."""
    return any(_PLURAL_OR_CUT.fullmatch(word[-length:]) for length in (1, 2))
