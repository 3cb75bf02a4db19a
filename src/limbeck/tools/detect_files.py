"""The files that `limbeck detect` is given, as blocks, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from limbeck.errors import UserError
from limbeck.files import shown
from limbeck.text.documents import opened
from limbeck.tools.detect_text import Block, text_blocks, words
from limbeck.tools.reading import decoded

KINDS = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown", ".html": "html",
    ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
}  # fmt: skip
"""How a file is read, by the ending of its name."""


class Document(NamedTuple):
    """A file to look at: its name for people, which is UTF-8, its path, and its kind of `KINDS`."""

    name: str
    path: Path
    kind: str


def find_documents(files: Sequence[Path]) -> list[Document]:
    """The files, each once.

    Raises:
        UserError: none given; one that is not there, a folder, or of another kind.
    """
    if not files:
        raise UserError("no file is given; name one or more of .txt, .md, .html or .pdf")
    found = []
    for path in dict.fromkeys(files):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name the files in it")
        if not path.exists():
            raise UserError(f"there is no file {path}; correct the path")
        kind = KINDS.get(path.suffix.lower())
        if kind is None:
            raise UserError(
                f"{path} is of an unknown kind; it must end in .txt, .md, .html or .pdf: convert or rename it"
            )
        found.append(Document(shown(path), path, kind))
    return found


def read_blocks(document: Document) -> Iterator[Block]:
    """The blocks of a file; it is never all in memory.

    Raises:
        UserError: not readable, not UTF-8, no word in it, or what `detect_pdf.pdf_blocks` raises.
    """
    empty = True
    for block in _blocks(document):
        empty = empty and not words(block.text)
        yield block
    if empty:
        raise UserError(f"{document.name} is empty; give it text with words in it")


def _blocks(document: Document) -> Iterator[Block]:
    if document.kind == "pdf":
        from limbeck.tools.detect_pdf import pdf_blocks

        yield from pdf_blocks(document.path)
        return
    from limbeck.tools.detect_markup import html_blocks, markdown_blocks

    with opened(document.path) as file:
        chunks = decoded(file, document.name)
        if document.kind == "html":
            yield from html_blocks(chunks, document.name)
        else:
            yield from (markdown_blocks if document.kind == "markdown" else text_blocks)(chunks)
