"""Blocks of documents, their words, and parts of them that a detector can read whole (docs/detect.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import regex

from limbeck.tools.sentences import segments

PROSE = ("text", "item")
"""Kinds of blocks that are scored: running text and the items of lists; not headings, code and tables."""

LONGEST = 1 << 16
"""Characters of a block that is held at once; a longer one goes on in the next block."""

_LONG_LINE = 200  # characters: a longer line of a text file is no wrapped line but a paragraph of its own
_TITLE_WORDS = 12
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*|[\p{L}\p{M}\p{N}]+(?:['’.\-‐][\p{L}\p{M}\p{N}]+)*"
)
_ITEM = regex.compile(r"\s*(?:[-*+•‣▪◦–]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)])\s+(?=\S)")
_ENDED = regex.compile(r"""[.!?…。！？:;,]["'”’»)\]]*$""")
_INVISIBLE = regex.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LIGATURE = regex.compile(r"[\ufb00-\ufb06]")
_LIGATURES = dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″«»", '"')})
_DASH = regex.compile(r"\s*[–—―]\s*")


class Block(NamedTuple):
    """A paragraph of a document, or what else stands by itself in it.

    kind: `text`, `item` (of a list), `heading`, `code` or `table`. text: without markup. page: of a PDF, from
    1; else None.
    """

    kind: str
    text: str
    page: int | None = None


def words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word: letters and digits, joined by `'`, `-` or a full stop; each ideograph."""
    return [found.span() for found in _WORD.finditer(text)]


def plain(text: str) -> str:
    """A text as a detector reads it, in training and use: one line, and nothing of how it was typeset.

    Quotes are straight, dashes are ` - `, ligatures are letters, and invisible characters are gone, so that
    none of them tells one text from another.
    """
    text = _LIGATURE.sub(lambda found: _LIGATURES[found[0]], _INVISIBLE.sub("", text))
    return one_line(_DASH.sub(" - ", text.translate(_QUOTES)))


def whole_characters(text: str) -> str:
    """Text without halves of UTF-16 pairs, as some PDFs have: a pair becomes its character, a half "�"."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: str) -> str:
    """The same text with single spaces for white space, and none around it."""
    return " ".join(text.split())


def text_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """The blocks of plain text that comes in chunks.

    A blank line ends a block; so does a line of more than 200 characters, which nobody wraps, and the mark
    of a list's item opens one. A block of one short line without a sentence's end is a heading.
    """
    held: list[str] = []
    size = 0
    for line in _lines(chunks):
        blank, alone = not line.strip(), len(line) > _LONG_LINE
        if held and (blank or alone or _ITEM.match(line) or size > LONGEST):
            yield _paragraph(held, blank)
            held, size = [], 0
        if alone:
            yield _paragraph([line], False)
        elif not blank:
            held.append(line)
            size += len(line)
    if held:
        yield _paragraph(held, True)


def _paragraph(lines: list[str], before_blank: bool) -> Block:
    text = one_line(" ".join(lines))
    mark = _ITEM.match(lines[0])
    if mark is not None:
        return Block("item", text)
    if len(lines) == 1 and before_blank and is_title(text):
        return Block("heading", text)
    return Block("text", text)


def is_title(text: str) -> bool:
    """Whether a line that stands alone looks like a heading: short, and no sentence ends there."""
    return not _ENDED.search(text) and len(words(text)) <= _TITLE_WORDS


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """The lines, without their ends; of an endless one pieces of about `LONGEST` characters."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace("\r\n", "\n").split("\n")
        for line in whole:
            yield from _pieces(line)
        while len(rest) > 2 * LONGEST:
            cut = _place_to_cut(rest)
            yield rest[:cut]
            rest = rest[cut:]
    yield from _pieces(rest)


def _pieces(line: str) -> Iterator[str]:
    while len(line) > 2 * LONGEST:
        cut = _place_to_cut(line)
        yield line[:cut]
        line = line[cut:]
    yield line


def _place_to_cut(text: str) -> int:
    """Where a text longer than `LONGEST` is cut: behind white space, if there is any in its second half."""
    space = text.rfind(" ", LONGEST // 2, LONGEST)
    return space + 1 if space >= 0 else LONGEST


def parts(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """A text in parts that fit, all of it: halved at the sentence's end next to its middle until they do.

    Where no sentence ends in the middle half it is cut before a word, and within one where there is but
    one. Parts are without white space around them.
    """
    text = text.strip()
    if not text:
        return
    if len(text) < 2 or fits(text):
        yield text
        return
    cut = _middle(text)
    yield from parts(text[:cut], fits)
    yield from parts(text[cut:], fits)


def _middle(text: str) -> int:
    """Where a text of two characters or more is halved; neither half is empty."""
    half = len(text) / 2

    def nearest(places: Iterable[int], low: float, high: float) -> int | None:
        inside = [place for place in places if low <= place <= high]
        return min(inside, key=lambda place: abs(place - half), default=None)

    ends = nearest((one.start for one in segments([text])), half / 2, len(text) - half / 2)
    if ends is not None:
        return ends
    found = nearest((start for start, _ in words(text)), 1, len(text) - 1)
    return len(text) // 2 if found is None else found
