"""Writes a plain PDF of running text, so that no PDF need be kept and no library be installed for it."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path

LINES = 50
WIDTH = 90  # characters of a line


def write_pdf(path: Path, pages: Sequence[Sequence[str]]) -> Path:
    """A PDF of pages of lines, in Helvetica, ASCII; compressed as programs write them."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    kids = []
    for lines in pages:
        shown = b"".join(b"(" + _escaped(line) + b") Tj T*\n" for line in lines)
        content = zlib.compress(b"BT /F1 10 Tf 14 TL 60 760 Td\n" + shown + b"ET")
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(content) + content + b"\nendstream"
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [" + b" ".join(kids) + b"] /Count %d >>" % len(kids)
    body, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    body += b"".join(b"%010d 00000 n \n" % place for place in places)
    body += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    path.write_bytes(body)
    return path


def set_pages(paragraphs: Sequence[str], most: int | None = None) -> list[list[str]]:
    """Paragraphs as lines on pages, `most` pages at most; no blank line between them, as books are set."""
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, WIDTH)]
    pages = [lines[low : low + LINES] for low in range(0, len(lines), LINES)]
    return pages[:most]


def _escaped(line: str) -> bytes:
    plain = line.encode("ascii", "replace")
    return plain.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
