"""The documents of one file, plain or compressed, streamed (section 2).

A document is a run of lines that are not blank. Nothing here holds more than a few million characters at
a time, whatever the size of the file or of its lines.
"""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

from limbeck.errors import UserError

OnError = Literal["stop", "skip"]
"""What is done about a line that is not valid UTF-8, and about a run of more than `LONGEST` characters
without white space: an error, or it is dropped and counted."""

BLOCK = 1 << 20
"""Bytes read at once."""

LONGEST = 1_000_000
"""Most characters of a piece of a document; a longer document is cut at white space."""

KINDS = {".zst": "zst", ".gz": "gz", ".xz": "xz"}
"""How a file is packed, by the ending of its name; any other is plain."""

_SPACE = re.compile(r"\s")
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
"""What lies between two documents."""


@dataclass
class Counts:
    """What was met while reading: documents, dropped lines and endless runs, bytes of files.

    The bytes are those that lie on disk.
    """

    documents: int = 0
    bad_lines: int = 0
    done_bytes: int = 0


def file_documents(path: Path, kind: str, on_error: OnError, counts: Counts) -> Iterator[str]:
    """The documents of a file, or pieces of at most `LONGEST` characters, as `Source.documents` has them."""
    return _split(_decoded(path, kind, on_error, counts), path, on_error, counts)


def file_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or packed, streamed, without line ends (LF or CR LF) and mark (BOM).

    Raises:
        UserError: not readable, not UTF-8 (the line is named), damaged compression.
    """
    number, rest = 0, b""
    for block in blocks(path, KINDS.get(path.suffix.lower(), "plain"), Counts()):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number += 1
            yield _line(line, path, number)
    if rest:
        yield _line(rest, path, number + 1)


def _line(line: bytes, path: Path, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number:,}, is not UTF-8; save the file as UTF-8") from error


def opened(path: Path) -> BufferedReader:
    """A file to read bytes from; raises UserError where it cannot be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _reader(file: IO[bytes], kind: str) -> Callable[[int], bytes]:
    """`read(size)` of the unpacked bytes. Arrow reads zstd, because it tells when a file is cut short."""
    if kind == "zst":
        import pyarrow as pa

        stream: Any = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return lambda size: bytes(stream.read(size))
    if kind == "gz":
        return gzip.GzipFile(fileobj=file).read
    return lzma.LZMAFile(file).read if kind == "xz" else file.read


def blocks(path: Path, kind: str, counts: Counts) -> Iterator[bytes]:
    """Unpacked bytes in blocks that end behind a line; inside one only where it is longer than a block.

    Raises:
        UserError: the file cannot be read, its compression is damaged, or it has NUL bytes.
    """
    carry = b""
    with opened(path) as file:
        start = counts.done_bytes
        try:
            read = _reader(file, kind)
            while block := read(BLOCK):
                if b"\0" in block:
                    raise UserError(f"{path} is not UTF-8 text (NUL bytes in it); save it as UTF-8 text")
                counts.done_bytes = start + file.tell()
                carry += block
                cut = carry.rfind(b"\n") + 1 or _character_boundary(carry)
                yield carry[:cut]
                carry = carry[cut:]
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(f"cannot read {path}: {error.strerror}") from error
            raise UserError(f"{path} is damaged or no .{kind} file ({error}); make it again") from error
    yield carry


def _character_boundary(block: bytes) -> int:
    """Length of `block` without a last character that may be cut, or that is half of a line end."""
    for back in range(1, min(4, len(block)) + 1):
        if block[-back] & 0xC0 != 0x80:  # the first byte of a character
            whole = block[-back] < 0x80 and block[-back] != 0x0D
            return len(block) if whole else len(block) - back
    return len(block)


def _decoded(path: Path, kind: str, on_error: OnError, counts: Counts) -> Iterator[tuple[int, str]]:
    """Text with line feeds for line ends, each block with the number of line ends before it."""
    offset = lines = 0
    for block in blocks(path, kind, counts):
        begin = 3 if offset == 0 and block.startswith(b"\xef\xbb\xbf") else 0
        try:
            text = block[begin:].decode()
        except UnicodeDecodeError as error:
            if on_error == "stop":
                raise UserError(
                    f"{path}: the byte at {offset + begin + error.start} is not valid UTF-8; save it as "
                    f'UTF-8, or drop such lines with text.on_error = "skip"'
                ) from error
            text = _without_bad_lines(block[begin:], counts)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield lines, text
        offset += len(block)
        lines += block.count(b"\n")


def _without_bad_lines(block: bytes, counts: Counts) -> str:
    good = []
    for line in block.split(b"\n"):
        try:
            good.append(line.decode())
        except UnicodeDecodeError:
            counts.bad_lines += 1
    return "\n".join(good)


def _split(blocks: Iterator[tuple[int, str]], path: Path, on_error: OnError, counts: Counts) -> Iterator[str]:
    """Cuts text into documents at blank lines, and those of more than `LONGEST` characters at white space."""
    rest, begun = "", False  # what is not yet given out of a document, and whether a piece of it was
    dropping = False  # whether the run being dropped goes on in the next block
    for lines, text in blocks:
        if dropping:
            dropping, text = _behind_run(text)
        buffer, first_line = rest + text, lines + 1 - rest.count("\n")
        *whole, last = BLANK_LINES.split(buffer)
        for part, ends in [*((part, True) for part in whole), (last, False)]:
            pieces, rest = _cut(part.lstrip())
            while len(rest) > LONGEST:
                if on_error == "stop":
                    line = first_line + buffer.count("\n", 0, buffer.find(rest))
                    raise UserError(
                        f"{path}, line {line}: more than {LONGEST:,} characters without white space, so this "
                        f"is no text; take the file out, break the line, or drop it with text.on_error = "
                        f'"skip"'
                    )
                counts.bad_lines += 1
                endless, rest = _behind_run(rest)
                dropping = endless and not ends
                more, rest = _cut(rest.lstrip())
                pieces += more
            if ends:
                pieces.append(rest.rstrip())
                rest = ""
            for piece in filter(None, pieces):
                counts.documents += not begun
                begun = True
                yield piece
            begun = begun and not ends
    if rest := rest.rstrip():
        counts.documents += not begun
        yield rest


def _behind_run(text: str) -> tuple[bool, str]:
    """Whether `text` has no white space, and what it has from its first white space on."""
    found = _SPACE.search(text)
    return found is None, text[found.start() :] if found else ""


def _cut(document: str) -> tuple[list[str], str]:
    """Pieces of at most `LONGEST` characters, and the rest: longer only where it has no white space."""
    pieces = []
    while len(document) > LONGEST:
        cut = LONGEST
        if not (document[cut - 1].isspace() or document[cut].isspace()):
            head = document[:LONGEST].rsplit(maxsplit=1)
            if len(head) == 1:
                break
            cut -= len(head[1])
        pieces.append(document[:cut].rstrip())
        document = document[cut:].lstrip()
    return pieces, document
