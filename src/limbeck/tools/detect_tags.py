"""HTML in chunks as text and whole tags, in time linear in its length whatever stands in it.

The standard library's parser looks to the end of the page again for every tag or comment that is not closed;
it is given whole tags alone. Comments, declarations and the content of scripts and styles are left out here.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

import regex

from limbeck.errors import UserError

_MOST_HELD = 1 << 24  # characters of a tag, comment or script that is not closed
_LONGEST_REFERENCE = 34  # characters of &name;, as the standard library takes it
_LONGEST_MARK = 16  # characters by which it is known what begins or ends, at most

# A `>` in a quoted value ends no tag. Nothing is tried twice: each part is taken whole or not at all.
_TAG = regex.compile(r"""</?[a-zA-Z](?>[^>=]++|=(?!\s*+["'])|=\s*+"[^"]*+"|=\s*+'[^']*+')*+>""")
_PLAIN_TAG = regex.compile(r"</?[a-zA-Z][^<>]*+>")
_NAMED = regex.compile(r"</?[a-zA-Z]")
_RAW = regex.compile(r"(?i)<(script|style)(?=[\s/>])")
_COMMENT_ENDS = regex.compile(r"--!?>")
_ENDS = {
    "<!--": _COMMENT_ENDS,
    "<![CDATA[": regex.compile(r"\]\]>"),
    "<!": regex.compile(">"),
    "<?": regex.compile(">"),
    "</": regex.compile(">"),
}
"""What ends that which begins so; the longer first."""


class Piece(NamedTuple):
    """Text, its character references read, or a tag as it stands."""

    content: str
    is_tag: bool


class Markup:
    """Reads the pieces of one page, which is fed in chunks."""

    def __init__(self, name: str) -> None:
        """name: of the page, for people."""
        self._name = name
        self._held = ""
        self._within: regex.Pattern[str] | None = None  # what ends that which is left out
        self._raw = False  # that is a script or style, whose end is a tag
        self._seen = 0  # characters held that have been searched for it
        self._wanted = 0  # characters held before a tag's end is looked for again
        self._tag = _TAG

    @property
    def comment_is_open(self) -> bool:
        """Whether a comment, or what is none but begins so, has not been closed."""
        return self._within is not None and not self._raw

    def feed(self, chunk: str, *, last: bool = False) -> Iterator[Piece]:
        """The pieces that are whole with this chunk; with the last one all the rest.

        Raises:
            UserError: a tag, comment or script of more than 16 million characters.
        """
        self._held += chunk
        at = 0
        while at < len(self._held):
            begun = at
            if self._within is not None:
                at = self._leave_out(at)
            elif self._held[at] != "<":
                low = self._held.find("<", at)
                at = low if low >= 0 else len(self._held) if last else self._whole_references(at)
                if at > begun:
                    yield Piece(unescape(self._held[begun:at]), False)
                if low < 0:
                    break
            elif len(self._held) - at < _LONGEST_MARK and not last:
                break
            elif _NAMED.match(self._held, at) is None:
                at = self._begin(at)
                if self._within is None:
                    yield Piece("<", False)
            else:
                at = self._end_of_tag(at, last)
                if at > begun:
                    yield Piece(self._held[begun:at], True)
                elif last and self._tag is _TAG:
                    self._tag = _PLAIN_TAG  # a quote is not closed: any `>` is an end then
                    continue
                elif last:
                    at += 1
                    yield Piece("<", False)
            if at == begun:
                break
        self._held = self._held[at:]
        self._seen = max(0, self._seen - at)
        if len(self._held) > _MOST_HELD:
            raise UserError(
                f"{self._name} has a tag, comment or script that is not closed within {_MOST_HELD:,} "
                "characters; is it HTML?"
            )

    def _leave_out(self, at: int) -> int:
        """Behind what is left out, or at its start while its end is not there."""
        assert self._within is not None
        found = self._within.search(self._held, max(at, self._seen))
        if found is None:
            self._seen = max(at, len(self._held) - _LONGEST_MARK)
            return at
        self._within = None
        return int(found.start() if self._raw else found.end())

    def _begin(self, at: int) -> int:
        """Begins what is left out, if something does; else a `<` is text."""
        for start, end in _ENDS.items():
            if self._held.startswith(start, at):
                self._within, self._raw, self._seen = end, False, 0
                return at + 2  # `<!-->` is a whole comment
        return at + 1

    def _end_of_tag(self, at: int, last: bool) -> int:
        """Behind a tag, or at its start while its end is not there."""
        if len(self._held) - at < min(self._wanted, _MOST_HELD) and not last:
            return at
        found = self._tag.match(self._held, at)
        if found is None:
            self._wanted = 2 * (len(self._held) - at)
            return at
        self._wanted = 0
        raw = _RAW.match(self._held, at)
        if raw is not None and not found[0].endswith("/>"):
            self._within = regex.compile(rf"(?i)</{raw[1]}(?=[\s/>])")
            self._raw, self._seen = True, 0
        return int(found.end())

    def _whole_references(self, at: int) -> int:
        """The end of the text held, but before a character reference that a chunk's end cuts."""
        place = self._held.rfind("&", max(at, len(self._held) - _LONGEST_REFERENCE))
        cut = place >= 0 and not any(mark.isspace() or mark == ";" for mark in self._held[place:])
        return place if cut else len(self._held)
