"""What `limbeck spin` reads and writes: text, TSV with a column to spin, JSON with the changes.

All of it streams; what is labelled carries a mark that it is synthetic.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from limbeck.errors import UserError, columns_told
from limbeck.files import atomic_file, shown
from limbeck.text.documents import Counts, blocks
from limbeck.tools.reading import decoded
from limbeck.tools.spin import Spinner, Spun

SPUN, SYNTHETIC = "spun", "synthetic"
"""Columns that a TSV gains: the spun text, and how it was made."""

_KINDS = {".zst": "zst", ".gz": "gz", ".xz": "xz"}
_LONGEST_LINE = 1 << 24  # characters of a line of a TSV
_QUIET = 2.0  # seconds without a word of progress

Progress = Callable[[str, int, int], None]


class Text(NamedTuple):
    """A text to read. name: for people; chunks: its text, read once."""

    name: str
    chunks: Iterable[str]


@dataclass
class Totals:
    """What was counted over all texts: words, those that could be changed, and those that were."""

    words: int = 0
    changeable: int = 0
    changed: int = 0

    def add(self, spun: Spun) -> None:
        """Counts a paragraph."""
        self.words += spun.words
        self.changeable += spun.changeable
        self.changed += spun.changed

    def record(self) -> dict[str, Any]:
        """The counts and the rate reached, JSON-ready."""
        reached = self.changed / self.words if self.words else 0.0
        return {
            "words": self.words,
            "changeable": self.changeable,
            "changed": self.changed,
            "rate_reached": reached,
        }


def find_texts(files: Sequence[Path], progress: Progress) -> list[Text]:
    """The texts of files (.zst, .gz and .xz unpacked), or of stdin where there is none or it is "-".

    Raises:
        UserError: a file that is not there, or stdin that is a terminal; while it is read: no UTF-8, NUL
            bytes, damaged compression.
    """
    if not files and sys.stdin.isatty():
        raise UserError('no text is given; name files, or give "-" for stdin')
    for file in files:
        if str(file) != "-" and not file.is_file():
            raise UserError(f"there is no file {file}; correct the path")
    total = sum(file.stat().st_size for file in files if str(file) != "-")
    counts = Counts()
    began = time.monotonic()

    def told(chunks: Iterable[str]) -> Iterator[str]:
        for chunk in chunks:
            yield chunk
            if time.monotonic() - began > _QUIET:
                progress("spinning, bytes", counts.done_bytes, total)

    found = []
    for file in files or [Path("-")]:
        if str(file) == "-":
            name = "the text on stdin"
            found.append(Text(name, told(decoded(sys.stdin.buffer, name, mark=True))))
        else:
            found.append(Text(shown(file), told(_read(file, counts))))
    return found


def _read(file: Path, counts: Counts) -> Iterator[str]:
    done = 0
    for block in blocks(file, _KINDS.get(file.suffix, "plain"), counts):
        try:
            yield block.decode()
        except UnicodeDecodeError as error:
            place = done + error.start
            raise UserError(f"{file} is not UTF-8 text (at byte {place:,}); save it as UTF-8") from error
        done += len(block)


@contextlib.contextmanager
def output(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Gives a function that writes text to a file, whole or absent and packed for .zst, or to stdout."""
    if path is None:
        sys.stdout.flush()
        out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=False)
        try:
            yield lambda text: _discard(out.write(text))
            out.flush()
        finally:
            out.detach()
        return
    with atomic_file(path, _zstd if path.suffix == ".zst" else None) as write:
        yield write


def _discard(_: int) -> None:
    """Nothing."""


def _zstd(file: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    stream: BinaryIO = pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd")
    return stream


def made_by(spinner: Spinner, rate: float, seed: int, model: str | None) -> dict[str, Any]:
    """How text was made, for the mark that it is synthetic."""
    from limbeck import __version__

    lexicon = f"{spinner.lexicon.name} {spinner.lexicon.version}".strip()
    return {
        "by": f"limbeck {__version__} spin",
        "rate": rate,
        "seed": seed,
        "lexicon": lexicon,
        "model": model,
    }


def spin_text(spinner: Spinner, texts: Iterable[Text], write: Callable[[str], None]) -> Totals:
    """Writes the spun texts one behind the other.

    Raises:
        UserError: there is no word in any of them.
    """
    totals = Totals()
    for _, spun in _paragraphs(spinner, texts, totals):
        write(spun.text)
    return totals


def spin_json(
    spinner: Spinner, texts: Iterable[Text], write: Callable[[str], None], made: dict[str, Any]
) -> Totals:
    """Writes a JSON object: how it was made, the paragraphs with their changes, a line each, and the counts.

    Raises:
        UserError: there is no word in any of them.
    """
    totals = Totals()
    before = json.dumps({SYNTHETIC: True, "made": made}, ensure_ascii=False)[:-1] + ', "paragraphs": [\n'
    for name, spun in _paragraphs(spinner, texts, totals):
        record = {
            "file": name,
            "start": spun.start,
            "original": spun.original,
            "text": spun.text,
            "words": spun.words,
            "changeable": spun.changeable,
            "changes": [
                {**change._asdict(), "start": spun.start + change.start, "end": spun.start + change.end}
                for change in spun.changes
            ],
        }
        write(before + json.dumps(record, ensure_ascii=False))
        before = ",\n"
    write("\n], " + json.dumps(totals.record())[1:] + "\n")
    return totals


def _paragraphs(spinner: Spinner, texts: Iterable[Text], totals: Totals) -> Iterator[tuple[str, Spun]]:
    names = []
    for text in texts:
        names.append(text.name)
        for spun in spinner.stream(text.chunks):
            totals.add(spun)
            yield text.name, spun
    _check_words(totals, names)


def _check_words(totals: Totals, names: Sequence[str]) -> None:
    if not totals.words:
        verb = "is" if len(names) == 1 else "are"
        raise UserError(f"{', '.join(names)} {verb} empty; give text with words in it")


def spin_tsv(
    spinner: Spinner, texts: Iterable[Text], column: str, write: Callable[[str], None], made: dict[str, Any]
) -> Totals:
    """Writes the rows of TSV files with two more columns, `spun` and `synthetic`, under one header.

    Fields are what stands between tabs, without quotes. Each cell is spun by itself, so that it becomes the
    same in whatever file and row it stands.

    Raises:
        UserError: no such column, or one that is to be added; files of different columns; a row with more or
            fewer fields than the header; there is no row, or no word in the column.
    """
    totals = Totals()
    mark = ", ".join(f"{name} {value}" for name, value in made.items() if value is not None)
    first: list[str] | None = None
    names = []
    for text in texts:
        names.append(text.name)
        place, width = -1, 0
        for number, (line, ending) in enumerate(_lines(text), 1):
            fields = line.split("\t")
            if number == 1:
                fields[0] = fields[0].removeprefix("\ufeff")
                place, width = _column(fields, column, text.name), len(fields)
                if first is None:
                    first = fields
                    write("\t".join([*fields, SPUN, SYNTHETIC]) + (ending or "\n"))
                elif fields != first:
                    raise UserError(f"{text.name} has other columns than {names[0]}; spin them one by one")
                continue
            if len(fields) != width:
                raise UserError(
                    f"{text.name}, line {number} has {len(fields)} fields and the header {width}; correct it"
                )
            spun = "".join(_counted(spinner.stream([fields[place]]), totals))
            write("\t".join([*fields, spun, mark]) + (ending or "\n"))
    _check_words(totals, names)
    return totals


def _counted(found: Iterable[Spun], totals: Totals) -> Iterator[str]:
    for spun in found:
        totals.add(spun)
        yield spun.text


def _column(header: list[str], column: str, name: str) -> int:
    for added in (SPUN, SYNTHETIC):
        if added in header:
            raise UserError(f"{name} has a column {added!r} already, as spun files have; take it out")
    if column not in header:
        raise UserError(f"{name} has no column {column!r}; it has {columns_told(header)}")
    return header.index(column)


def _lines(text: Text) -> Iterator[tuple[str, str]]:
    """The lines of a text, each with its line end; none for a last one without."""
    held = ""
    for chunk in text.chunks:
        *whole, held = (held + chunk).split("\n")
        if len(held) > _LONGEST_LINE:
            raise UserError(f"{text.name} has a line of more than {_LONGEST_LINE:,} characters; is it a TSV?")
        yield from ((line.removesuffix("\r"), "\r\n" if line.endswith("\r") else "\n") for line in whole)
    if held:
        yield held, ""
