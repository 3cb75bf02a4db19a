"""Blocks of Markdown and HTML: their text without marks and tags. Nothing in them is executed or fetched."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

import regex

from limbeck.tools.detect_tags import Markup, Piece
from limbeck.tools.detect_text import LONGEST, Block, one_line

_log = logging.getLogger("limbeck")

SECTION = 1 << 17
"""Characters of Markdown that are parsed at once, about; a section ends at a blank line."""

_MOST_FRONT = 200  # lines of front matter
_SETTING = regex.compile(
    r"""["'\w][^:]*:(\s|$)|#"""
)  # how front matter begins, and a rule's next line does not
_NAME_ENDS = regex.compile(r"[\s/>]")
_FENCE = regex.compile(r"\s{0,3}(`{3,}|~{3,})")
_PARAGRAPH = frozenset(
    """
    address article aside blockquote body center dd div dl dt fieldset figcaption figure footer form header hr
    html legend main nav ol p section summary details table tbody tfoot thead ul
    """.split()  # noqa: SIM905 - it reads as the list it is
)
_KINDS = {f"h{n}": "heading" for n in range(1, 7)} | {
    "li": "item", "pre": "code", "tr": "table", "caption": "heading", "title": "heading",
}  # fmt: skip
_HOLDERS = frozenset(("ul", "ol", "table"))
_DEEPEST = 256  # open elements; deeper ones are of the kind of the deepest
_LEFT_OUT = frozenset(
    """
    script style template noscript svg math iframe object embed canvas audio video select textarea button head
    """.split()  # noqa: SIM905
)
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905


class _Text(HTMLParser):
    """Collects the blocks of a page; `take` gives those that are whole."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[Block] = []
        self._parts: list[str] = []
        self._size = 0
        self._open: list[str] = []  # the open elements that name a kind or hold such
        self._out, self._depth = "", 0  # the element that is left out, and how deep in ones of its name
        self._lost = ""  # one that only the end of the page has closed

    def take(self) -> list[Block]:
        found, self._found = self._found, []
        return found

    def read(self, pieces: Iterable[Piece]) -> None:
        """Reads the next pieces of the page."""
        for piece in pieces:
            if piece.is_tag and piece.content[1] == "/":
                self.handle_endtag(_NAME_ENDS.split(piece.content[2:], 1)[0].lower())
            elif piece.is_tag:
                self.feed(piece.content)
                self.rawdata = ""  # of a tag that the parser takes for one that goes on
            else:
                self.handle_data(piece.content)

    def set_cdata_mode(self, elem: str, **_: object) -> None:
        """Nothing: the content of scripts does not come here."""

    def finish(self) -> list[Block]:
        self._flush()
        return self.take()

    @property
    def left_open(self) -> str:
        """The element that is left out and was never closed, or ""."""
        return self._out or self._lost

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a block, or something that is left out."""
        block = tag in _PARAGRAPH or (tag in _KINDS and tag != "title")
        if self._out in ("p", "head") and block:
            self._out = ""  # their ends need not be written
        if self._out:
            self._depth += tag == self._out
            return
        if tag in _PARAGRAPH or tag in _KINDS:
            self._flush()
        if tag in _VOID:
            self._parts.append(" " if tag in ("br", "img", "wbr") else "")
            self._size += 1
        elif tag in _LEFT_OUT or any(name == "hidden" for name, _ in attrs):
            self._out, self._depth = tag, 1
        elif tag in _KINDS or tag in _HOLDERS:
            while self._open and self._open[-1] == tag and tag in _KINDS:
                self._open.pop()  # nor that of an item
            if len(self._open) < _DEEPEST:
                self._open.append(tag)
        elif tag in ("td", "th"):
            self._parts.append(" ")
            self._size += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<br/>`; in HTML the slash closes nothing else, but `<div/>` is meant so."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes a block."""
        if self._out:
            self._depth -= tag == self._out
            if not self._depth or tag in ("body", "html"):
                self._lost = self._lost or (self._out if self._depth else "")
                self._out = ""
            return
        if tag in _PARAGRAPH or tag in _KINDS:
            self._flush()
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._out:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > 4 * LONGEST or (self._size > LONGEST and data[-1:].isspace()):
            self._flush()

    def _flush(self) -> None:
        text = "".join(self._parts)
        self._parts, self._size = [], 0
        kind = next((_KINDS[tag] for tag in reversed(self._open) if tag in _KINDS), "text")
        text = text.strip("\n") if kind == "code" else one_line(text)
        if text.strip():
            self._found.append(Block(kind, text))


def html_blocks(chunks: Iterable[str], name: str) -> Iterator[Block]:
    """The blocks of a page that comes in chunks; scripts, styles, forms and what is `hidden` are left out.

    The time is linear in the length of the page, whatever stands in it.

    Raises:
        UserError: a tag, comment or script of more than 16 million characters.
    """
    markup, page = Markup(name), _Text()
    for chunk in chunks:
        page.read(markup.feed(chunk))
        yield from page.take()
    page.read(markup.feed("", last=True))
    yield from page.finish()
    if opened := "!--" if markup.comment_is_open else page.left_open:
        _log.warning("%s: <%s> is opened and never closed; what follows it is not looked at", name, opened)


def html_text(fragment: str) -> list[Block]:
    """The blocks of a piece of HTML in Markdown."""
    return list(html_blocks([fragment], "HTML in Markdown"))


def markdown_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """The blocks of Markdown (CommonMark with tables) that comes in chunks, parsed section by section.

    A file's opening lines between `---` (front matter) are left out: settings, or a comment, up to a line
    that closes them. Any other `---` there is a horizontal rule, and what follows it is text.
    """
    from markdown_it import MarkdownIt

    parse = MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable("table")
    for section in _sections(chunks):
        yield from _markdown(parse.parse(section))


def _sections(chunks: Iterable[str]) -> Iterator[str]:
    """Pieces of Markdown that end at a blank line outside fenced code, before a line that is not indented."""
    held: list[str] = []
    size, fence, blank = 0, "", False
    for line in _behind_front_matter(_lines(chunks)):
        found = _FENCE.match(line)
        if fence:
            closes = found is not None and found[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = "" if closes else fence
        elif found is not None:
            fence = found[1]
        indented = line[:1].isspace()
        if size > SECTION and (size > 8 * SECTION or (blank and not fence and not indented)):
            yield "".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
        blank = not line.strip()
    yield "".join(held)


def _behind_front_matter(lines: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) == 1 and line.rstrip() != "---":
            break
        if len(held) == 2 and not _SETTING.match(line):
            break
        if len(held) > 2 and line.rstrip() in ("---", "..."):
            held = []
            break
        if len(held) > _MOST_FRONT:
            break
    yield from held
    yield from lines


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """Lines with their line feed, in pieces where they are endless."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace("\r\n", "\n").split("\n")
        yield from (f"{line}\n" for line in whole)
        if len(rest) > SECTION:
            cut = rest.rfind(" ") + 1 or len(rest)
            yield rest[:cut]
            rest = rest[cut:]
    yield rest


def _markdown(tokens: Iterable[object]) -> Iterator[Block]:
    """The blocks of markdown-it's tokens."""
    within: list[str] = []
    cells: list[str] = []
    for token in tokens:
        kind, content = str(token.type), str(token.content)  # type: ignore[attr-defined]
        if kind in ("heading_open", "list_item_open", "tr_open"):
            within.append(kind)
        elif kind in ("heading_close", "list_item_close", "tr_close"):
            within.pop()
            if kind == "tr_close":
                yield from _block("table", " ".join(cells))
                cells = []
        elif kind == "inline":
            text = _inline(token.children)  # type: ignore[attr-defined]
            if "tr_open" in within:
                cells.append(text)
                continue
            place = "heading" if "heading_open" in within else "item" if within else "text"
            yield from _block(place, text)
        elif kind in ("fence", "code_block"):
            yield from _block("code", content)
        elif kind == "html_block":
            yield from html_text(content)


def _block(kind: str, text: str) -> Iterator[Block]:
    text = text.strip("\n") if kind == "code" else one_line(text)
    if text.strip():
        yield Block(kind, text)


def _inline(children: Iterable[object]) -> str:
    """The text of a line: links by their words, images by their description, no tags."""
    found = []
    for child in children:
        kind, content = str(child.type), str(child.content)  # type: ignore[attr-defined]
        if kind in ("text", "code_inline", "image"):
            found.append(content)
        elif kind in ("softbreak", "hardbreak", "html_inline"):
            found.append(" " if kind != "html_inline" or content.startswith("<br") else "")
    return "".join(found)
