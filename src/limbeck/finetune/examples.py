"""Labelled texts in memory, and the tables (TSV) that they are read from (docs/evaluate.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError, columns_told
from limbeck.text.documents import file_lines

Column = str | int
"""A column by its name in the header, or by its number from 0 where there is no header."""


@dataclass(frozen=True)
class Examples:
    """N texts, or pairs of texts, and what each is labelled.

    texts, labels: [N]; labels as they are written. seconds: [N], the second texts; None where there are none.
    name: how messages call them, such as the path of their file.
    """

    texts: Sequence[str]
    seconds: Sequence[str] | None
    labels: Sequence[str]
    name: str

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.labels)
        assert self.seconds is None or len(self.seconds) == len(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Text, second text ("" without one) and label of each."""
        return zip(self.texts, self.seconds or [""] * len(self), self.labels, strict=True)

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """uint64 [N] of the texts without their label: what order and shares of the rows hang on."""
        found = (
            hashlib.blake2b(f"{text}\0{second}".encode(), digest_size=8) for text, second, _ in self.rows()
        )
        return np.array([int.from_bytes(one.digest(), "little") for one in found], np.uint64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all rows in their order."""
        digest = hashlib.sha256()
        for row in self.rows():
            digest.update("\0".join(row).encode() + b"\n")
        return digest.hexdigest()

    def take(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Those of these indices, in that order."""
        chosen = rows.tolist()
        seconds = None if self.seconds is None else [self.seconds[i] for i in chosen]
        return Examples([self.texts[i] for i in chosen], seconds, [self.labels[i] for i in chosen], self.name)


def overlap(train: Examples, other: Examples) -> int:
    """How many of `other` have texts that stand in `train`, whatever their label."""
    return int(np.isin(other.hashes, train.hashes).sum())


def read_table(
    path: Path,
    *,
    text: Column = "text",
    second: Column | None = None,
    label: Column = "label",
    lenient: bool = False,
) -> Examples:
    """The rows of a tab-separated file, plain or packed (.zst .gz .xz), UTF-8, with a header of column names.

    Nothing is quoted: a tab parts columns, a line end rows, and every other character is text.

    Args:
        text, second, label: the columns; numbers: the file has no header. second: None: `text2` where there
            is such a column.
        lenient: rows with too few columns are left out, blank texts stay (QQP's own file has both).

    Raises:
        UserError: not readable, not UTF-8, no row, a column that is not there, a row with another number of
            columns than the header, a row without text or without label.
    """
    lines = file_lines(path)
    named = isinstance(text, str)
    header = next(lines, None)
    if header is None:
        raise UserError(f"{path} is empty; give it {'a header and ' if named else ''}labelled rows")
    if named:
        names = header.split("\t")
        if second is None and "text2" in names:
            second = "text2"
        width, first = len(names), 2
    else:
        lines = _behind(header, lines)
        names, width, first = [], len(header.split("\t")), 1
    wanted = [column for column in (text, second, label) if column is not None]
    places = [_place(column, names, width, path) for column in wanted]
    columns: list[list[str]] = [[] for _ in places]
    for number, line in enumerate(lines, first):
        cells = line.split("\t")
        if len(cells) != width:
            if lenient and len(cells) < width:
                continue
            raise UserError(
                f"{path}, line {number:,}, has {len(cells)} columns instead of {width}; a row is one "
                "line, and no text may hold a tab"
            )
        for column, place in zip(columns, places, strict=True):
            column.append(cells[place])
    if not columns[0]:
        raise UserError(f"{path} has no row; give it labelled texts")
    if not lenient:
        _check_filled(columns[0], "text", text, path, first)
    labels = [one.strip() for one in columns[-1]]
    _check_filled(labels, "label", label, path, first)
    return Examples(columns[0], columns[1] if len(columns) == 3 else None, labels, str(path))


def _behind(line: str, lines: Iterator[str]) -> Iterator[str]:
    yield line
    yield from lines


def _place(column: Column, names: Sequence[str], width: int, path: Path) -> int:
    """Index of a column."""
    if isinstance(column, int):
        if column < width:
            return column
        raise UserError(
            f"{path} has {width} columns, so there is no column {column + 1}; is it the right file?"
        )
    if names.count(column) == 1:
        return names.index(column)
    if column in names:
        raise UserError(f"{path} has {names.count(column)} columns named {column!r}; rename all but one")
    raise UserError(f"{path} has no column {column!r}; its header (the first line) has {columns_told(names)}")


def _check_filled(cells: Sequence[str], what: str, column: Column, path: Path, first: int) -> None:
    """Refuses blank cells."""
    blank = [number for number, cell in enumerate(cells, first) if not cell.strip()]
    if not blank:
        return
    where = f"column {column!r}" if isinstance(column, str) else f"column {column + 1}"
    mend = "give a labelled file" if what == "label" else "take such rows out"
    if len(blank) == len(cells):
        raise UserError(f"{path} has no {what} at all in {where}; {mend}")
    raise UserError(
        f"{path} has {len(blank):,} rows without a {what} in {where}, the first in line {blank[0]:,}; {mend}"
    )
