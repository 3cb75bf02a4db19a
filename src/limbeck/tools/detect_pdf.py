"""Blocks of PDFs, page by page: the text layer's lines put together to paragraphs again (extra `pdf`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import regex

from limbeck.errors import UserError
from limbeck.tools.detect_text import LONGEST, PROSE, Block, is_title, one_line, whole_characters, words

_log = logging.getLogger("limbeck")
_ENDED = regex.compile(r"""[.!?…:]["'”’»)\]]*(?:\[\d+\])*$""")
_ROMAN = r"(?=[ivxlc])c{0,3}(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})"  # well-formed: "civil" and "ill" are words
_PAGE_NUMBER = regex.compile(rf"(?i)\W*(?:page\s*)?(?:\d{{1,4}}|{_ROMAN})(?:\s*(?:of|/)\s*\d{{1,4}})?\W*")
_DIGITS = regex.compile(r"\d+")
_ITEM = regex.compile(r"\s*(?:[•‣▪◦]|\(?\d{1,3}[.)]\s|[-–*]\s)")
_SHORT = 0.85  # of the page's usual line: a shorter one that ends a sentence ends a paragraph
_TITLE = 0.7


def pdf_blocks(path: Path) -> Iterator[Block]:
    """The blocks of a PDF's text layer; no more than a page and a paragraph are held.

    Page numbers are left out, and a line that heads or ends every page, from the second page on. A word that
    a hyphen parts at a line's end is put together. A paragraph that goes on over a page's end is of its first
    page.

    Raises:
        UserError: pypdf is not installed; the file is no PDF, is damaged, is encrypted, or has no text, as
            scans have not.
    """
    rest: Block | None = None
    edges: tuple[str, str] = ("", "")
    pages = lacking = 0
    for number, text in _pages(path):
        pages += 1
        lines, edges = _without_edges(text.splitlines(), edges)
        blocks = list(_paragraphs(lines, number))
        if not any(words(block.text) for block in blocks):
            lacking += 1
            continue
        if rest is not None and _goes_on(rest, blocks[0]):
            blocks[0] = Block(rest.kind, _joined([rest.text, blocks[0].text]), rest.page)
        elif rest is not None:
            yield rest
        yield from blocks[:-1]
        rest = blocks[-1]
    if rest is None:
        raise UserError(
            f"{path} has no text on its {pages:,} pages, as a scan has not; "
            "run text recognition (OCR) on it first"
        )
    yield rest
    if lacking:
        _log.warning("%s: %s of %s pages have no text and were not looked at", path, lacking, pages)


def _pages(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each page."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ImportError as error:
        raise UserError(f"{path}: reading PDF needs pypdf; pip install 'limbeck[pdf]'") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its remarks on small faults of files
    number = 0
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError(f"{path} is encrypted; save a copy without a password")
        for number in range(1, len(reader.pages) + 1):
            yield number, _text(reader, number - 1)
    except DependencyError as error:
        raise UserError(f"{path} is encrypted; save a copy without encryption") from error
    except (UserError, GeneratorExit, MemoryError):
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes the parser fail in any way: KeyError, zlib.error, …
        where = f" (page {number:,})" if number else ""
        told = one_line(str(error))[:120] or type(error).__name__
        raise UserError(f"{path} is damaged or no PDF{where}: {told}; save it again") from error


def _text(reader: Any, index: int) -> str:
    """A page's text; what was read for it is forgotten, or memory would grow with the pages."""
    text = str(reader.pages[index].extract_text())
    reader.resolved_objects.clear()
    return whole_characters(text)


def _without_edges(lines: Sequence[str], before: tuple[str, str]) -> tuple[list[str], tuple[str, str]]:
    """Lines without page numbers and running heads; and what heads and ends this page, page numbers aside."""
    kept = [number for number, line in enumerate(lines) if line.strip()]
    foot = _without_edge(lines, kept, -1, before[1])
    head = _without_edge(lines, kept, 0, before[0])
    return list(lines[kept[0] : kept[-1] + 1]) if kept else [], (head, foot)


def _without_edge(lines: Sequence[str], kept: list[int], place: int, before: str) -> str:
    """Takes page numbers and the line `before` from an end of a page's lines; returns the line found there.

    kept: which lines are left, in their order; place: 0 for their head, -1 for their foot.
    """
    found = None
    while kept:
        line = _DIGITS.sub("#", one_line(lines[kept[place]]))
        if not _PAGE_NUMBER.fullmatch(lines[kept[place]]):
            found = line if found is None else found
            if line != before:
                break
        kept.pop(place)
    return found or ""


def _paragraphs(lines: Sequence[str], page: int) -> Iterator[Block]:
    lengths = sorted(len(line.strip()) for line in lines if line.strip())
    usual = lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0
    held: list[str] = []
    for place, line in enumerate(lines):
        text = line.strip()
        following = lines[place + 1].strip() if place + 1 < len(lines) else ""
        if not text:
            continue
        if held and _ITEM.match(text):
            yield _block(held, page)
            held = []
        capital = not following or not following[0].islower()
        if not held and len(text) < _TITLE * usual and capital and is_title(text):
            yield Block("heading", one_line(text), page)
            continue
        held.append(text)
        ends = bool(_ENDED.search(text)) and (len(text) < _SHORT * usual or not following)
        if ends or (place + 1 < len(lines) and not following and capital):
            yield _block(held, page)
            held = []
    if held:
        yield _block(held, page)


def _block(lines: Sequence[str], page: int) -> Block:
    return Block("item" if _ITEM.match(lines[0]) else "text", _joined(lines), page)


def _joined(lines: Sequence[str]) -> str:
    """Lines as one text; a hyphen between a letter and a small letter of the next line goes."""
    text = lines[0]
    for line in lines[1:]:
        if text[-1:] == "-" and text[-2:-1].isalpha() and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}"
    return one_line(text)


def _goes_on(before: Block, after: Block) -> bool:
    """Whether a page's first block is the rest of the last one's paragraph."""
    unfinished = before.kind in PROSE and len(before.text) < LONGEST and not _ENDED.search(before.text)
    return unfinished and after.kind == "text" and (after.text[:1].islower() or before.text.endswith("-"))
