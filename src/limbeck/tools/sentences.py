"""Running text cut into sentences, as it comes in: what a word's context is made of.

A sentence ends at `.`, `!`, `?` or `…`, with the quotes and brackets that close behind it, where white space
and then a capital, a digit or an opening mark follows; at the full stops of Chinese and Japanese; and at a
blank line. The full stop of an initial ("J. S. Bach"), of an abbreviation with stops in it ("U.S. Army") and
of a few others ("Dr. Watson") ends none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import regex

LONGEST = 2000
"""Characters of a sentence, at most; a longer one is cut at white space, or within a word if need be."""

ABBREVIATIONS = frozenset(
    """
    adm al approx apr aug ave bros ca capt cf cmdr co col corp dec dept dr ed eds est feb fig figs gen gov hon
    inc jan jr jul jun lt ltd maj mar messrs mr mrs ms mt nov oct op pp prof pt rep rev sen sept sgt sr st vol
    vs
    """.split()  # noqa: SIM905 - it reads as the list it is
)
"""Whose full stop ends no sentence, in lower case."""

_BEFORE_DIGITS = frozenset({"no", "nos", "p", "art", "ch", "sec"})  # abbreviations where a number follows

# The bounds on what follows keep a decision within `_AHEAD` characters of the end it is about.
_AHEAD = 128
_END = regex.compile(
    r"""
    (?P<stop>[.!?…]+) ["'”’»)\]]{0,4}
        (?= \s{1,64} ["'“‘«(\[¿¡—–-]{0,4} \s{0,4} (?P<next>[\p{Lu}\p{Lt}\p{Lo}\p{N}]) )
    | [。！？]+ [”’」』）]{0,4}
    | (?<=\S) (?= [^\S\n]{0,32} \n [^\S\n]{0,32} \n )
    """,
    regex.VERBOSE,
)
_WORD_BEFORE = regex.compile(r"[\p{L}\p{M}\p{N}.’'-]*$")
_SPACE = regex.compile(r"\s*")
_SPACES = regex.compile(r"\s+")


class Segment(NamedTuple):
    """A sentence and the white space behind it; all segments of a text together are the text.

    start: of its first character in the whole text.
    """

    start: int
    text: str


def segments(chunks: Iterable[str]) -> Iterator[Segment]:
    """The sentences of a text that comes in chunks; where these are cut does not matter.

    No more than a chunk and some `LONGEST` characters are in memory. White space before the first sentence is
    a segment of its own, as is what there is of it beyond `LONGEST` characters.
    """
    buffer, done, base = "", 0, 0  # `buffer` starts at `base`, and is segmented up to `done`
    for chunk in chunks:
        buffer, base, done = buffer[done:] + chunk, base + done, 0
        while len(buffer) - done > 2 * LONGEST + 2 * _AHEAD:
            end = _segment_end(buffer, done)
            yield Segment(base + done, buffer[done:end])
            done = end
    while done < len(buffer):
        end = _segment_end(buffer, done)
        yield Segment(base + done, buffer[done:end])
        done = end


def _segment_end(buffer: str, start: int) -> int:
    """Where the segment ends that starts there; looks at no more than 2·LONGEST + 2·_AHEAD characters."""
    found = _SPACE.match(buffer, start, start + LONGEST)
    assert found is not None
    if found.end() > start:
        return int(found.end())
    end = _sentence_end(buffer, start)
    space = _SPACE.match(buffer, end, end + LONGEST)
    assert space is not None
    return int(space.end())


def _sentence_end(buffer: str, start: int) -> int:
    limit = start + LONGEST
    for found in _END.finditer(buffer, start, limit + _AHEAD):
        if found.end() > limit:
            break
        if found.end() > start and not _goes_on(buffer, start, found):
            return int(found.end())
    if limit >= len(buffer):
        return len(buffer.rstrip())
    cut = max((space.start() for space in _SPACES.finditer(buffer, start + 1, limit + 1)), default=0)
    return cut or limit


def _goes_on(buffer: str, start: int, found: regex.Match[str]) -> bool:
    """Whether what looks like a sentence's end is the full stop of an initial or an abbreviation."""
    if found["stop"] != "." or found.end() > found.end("stop"):
        return False
    before = _WORD_BEFORE.search(buffer, max(start, found.start() - 32), found.start())
    assert before is not None
    word = before[0].lower()
    if len(word) == 1 and before[0].isupper() and before[0] != "I":
        return True
    if "." in word.strip("."):  # "U.S.", "e.g."; behind "p.m." a sentence ends as often as not
        return word not in ("a.m", "p.m")
    return word in ABBREVIATIONS or (word in _BEFORE_DIGITS and found["next"].isdigit())
