"""The text that `limbeck wsd` is given: a string, a file or stdin, in chunks and never all in memory."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from limbeck.errors import UserError
from limbeck.gloss.keys import opened

if TYPE_CHECKING:
    from limbeck.tools.words import Sentence

CHUNK = 1 << 16
"""Bytes of a chunk, at most."""

_QUIET = 2.0  # seconds without a word of progress
_LONGEST_NAME = 1024  # characters; no longer text is looked for as a file
_STDIN = "the text on stdin"


class Source(NamedTuple):
    """A text to read. name: for people; chunks: its text, read once; bytes: how many, 0 where not known."""

    name: str
    chunks: Iterable[str]
    bytes: int


def find_source(text: str | None, file: Path | None) -> Source:
    """What the user means: `text`, `file`, or stdin for neither and for a text of "-".

    Raises:
        UserError: both, or stdin that is a terminal; a file that is not there, or given as the text; while
            it is read: text that is not UTF-8, or has NUL bytes; damaged compression (.xz, .gz).
    """
    if file is not None:
        if text is not None:
            raise UserError("a text and --file are given; leave one of them out")
        if not file.is_file():
            raise UserError(f"there is no file {file}; correct the path")
        packed = file.suffix in (".xz", ".gz")
        return Source(str(file), _read_file(file), 0 if packed else file.stat().st_size)
    if text in (None, "-"):
        if text is None and sys.stdin.isatty():
            raise UserError(
                'no text is given; write it in quotes ("…"), or give --file FILE, or "-" for stdin'
            )
        return Source(_STDIN, decoded(sys.stdin.buffer, _STDIN), 0)
    assert text is not None
    if not text.strip():
        raise UserError("the text is empty; give it words")
    if len(text) < _LONGEST_NAME and os.path.isfile(text):
        raise UserError(f"{text} is a file; to have it read, give --file {text}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("the text is not UTF-8; write it so")
    return Source("the text", [text], len(text.encode()))


def _read_file(path: Path) -> Iterator[str]:
    with opened(path) as file:
        yield from decoded(file, str(path))


def decoded(file: BufferedIOBase | BinaryIO, name: str, *, mark: bool = False) -> Iterator[str]:
    """The text of a file of bytes, in chunks as they come; a byte order mark is left out, unless `mark`.

    Raises:
        UserError: it is not UTF-8, or has a NUL byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8" if mark else "utf-8-sig")()
    done = 0  # bytes before the chunk
    while True:
        raw = file.read1(CHUNK)  # type: ignore[union-attr]
        held = decoder.getstate()[0]  # bytes of a character that the last chunk cut in two
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            place = done - len(held) + error.start
            raise UserError(f"{name} is not UTF-8 text (at byte {place:,}); save it as UTF-8") from error
        if "\0" in text:
            raise UserError(f"{name} has a NUL byte, so it is no text; check what it is")
        done += len(raw)
        if text:
            yield text
        if not raw:
            return


def checked(sentences: Iterable[Sentence], source: Source, lexicon: str) -> Iterator[Sentence]:
    """The same sentences.

    Raises:
        UserError: at the end: there was no text, or no word that the lexicon has a sense for.
    """
    first, words = "", 0
    for sentence in sentences:
        first = first or sentence.text.strip()[:40]
        words += len(sentence.words)
        yield sentence
    if not first:
        raise UserError(f"{source.name} is empty; give it words")
    if not words:
        raise UserError(
            f"no word of {source.name} ({first!r}) has a sense in the lexicon {lexicon}; give running text "
            "in its language"
        )


def told(
    sentences: Iterable[Sentence], source: Source, progress: Callable[[str, int, int], None]
) -> Iterator[Sentence]:
    """The same sentences; after two seconds the progress is told how many bytes are done."""
    began, done = time.monotonic(), 0
    for sentence in sentences:
        yield sentence
        done += len(sentence.text.encode())
        if time.monotonic() - began > _QUIET:
            progress("disambiguating, bytes", done, source.bytes)
