"""The files that records lie in: chunks, each with a checksum, mapped into memory (docs/store.md)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from limbeck.teachers.store_format import COMMON, Bytes, DamagedError, Ints, Layout, Said, encode

MAGIC = b"LIMBECK1"
# magic, checksum of all that follows it, key of the store, variant, number, passages, records, rare, pieces
_HEAD = struct.Struct("<8s16s16sIIIIIQ")
_CHECKED_FROM = 24  # bytes of magic and checksum


def pack(
    said: Said, counts: Ints, pieces: int, layout: Layout, key: bytes, variant: int, number: int
) -> bytes:
    """The whole file of a chunk.

    Args:
        counts: int64 [P], records of each passage. pieces: of the passages' text, masked or not.
    """
    assert len(counts) and int(counts.max()) < 1 << 16, "the longest passage has 4096 words"
    assert int(counts.sum()) == len(said.ids)
    table, rare, records = encode(said, layout)
    parts = table.astype(layout.id_type), counts.astype("<u2"), rare, records
    numbers = key, variant, number, len(counts), len(records), len(rare), pieces
    unchecked = _HEAD.pack(MAGIC, b"", *numbers)[_CHECKED_FROM:] + b"".join(part.tobytes() for part in parts)
    return MAGIC + _digest(unchecked) + unchecked


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(frozen=True)
class Head:
    """What stands at the start of a chunk. pieces: of the passages' text, masked or not."""

    checksum: bytes
    key: bytes
    variant: int
    number: int
    passages: int
    records: int
    rare: int
    pieces: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of the file at `path`.

        Raises:
            FileNotFoundError: there is none. DamagedError: it is not the start of a chunk.
        """
        with path.open("rb") as file:
            content = file.read(_HEAD.size)
        if len(content) < _HEAD.size:
            raise DamagedError(f"cut off after {len(content)} bytes")
        magic, *rest = _HEAD.unpack(content)
        if magic != MAGIC:
            raise DamagedError("damaged (it does not start as a chunk does)")
        return cls(*rest)

    def size(self, layout: Layout) -> int:
        """Bytes that the file should have."""
        wide = np.dtype(layout.id_type).itemsize
        tables = COMMON * wide + 2 * self.passages
        return _HEAD.size + tables + wide * self.rare + layout.record * self.records


def check_head(path: Path, layout: Layout, key: bytes, variant: int, number: int) -> Head:
    """The head of a chunk that is there, of this place in this store, and as long as it should be.

    Raises:
        DamagedError: it is not, and why.
    """
    try:
        head = Head.read(path)
        size = path.stat().st_size
    except FileNotFoundError:
        raise DamagedError("missing") from None
    if head.key != key:
        raise DamagedError("of another store, or damaged")
    if (head.variant, head.number) != (variant, number):
        raise DamagedError("damaged (it says that it belongs elsewhere)")
    if size != head.size(layout):
        raise DamagedError(f"cut off or damaged ({size} bytes instead of {head.size(layout)})")
    return head


class Chunk:
    """A chunk, mapped into memory, whose checksum was compared."""

    def __init__(self, path: Path, layout: Layout, key: bytes, variant: int, number: int) -> None:
        """Raises DamagedError: the file is missing or not as it was written."""
        self.head = check_head(path, layout, key, variant, number)
        self._content = np.memmap(path, np.uint8, mode="r")
        if _digest(self._content[_CHECKED_FROM:].data) != self.head.checksum:
            raise DamagedError("damaged (its checksum does not fit)")
        self._layout = layout
        wide = np.dtype(layout.id_type).itemsize
        counts_at = _HEAD.size + COMMON * wide
        rare_at = counts_at + 2 * self.head.passages
        records_at = rare_at + wide * self.head.rare
        self.table: npt.NDArray[Any] = np.array(self._view(_HEAD.size, counts_at, layout.id_type))
        self._starts = _starts(self._view(counts_at, rare_at, np.dtype("<u2")))
        self._rare = self._view(rare_at, records_at, layout.id_type)
        self._records = self._content[records_at:].reshape(-1, layout.record)

    def _view(self, start: int, stop: int, kind: npt.DTypeLike) -> npt.NDArray[Any]:
        kind = np.dtype(kind)  # its numbers need not stand at even places
        return np.ndarray(((stop - start) // kind.itemsize,), kind, self._content, start)

    @cached_property
    def _rare_starts(self) -> Ints:
        """int64 [P+1], places of the passages' rare ids."""
        per_record = _starts((self._records[:, : self._layout.likeliest] == COMMON).sum(1))
        return per_record[self._starts]

    def passage(self, row: int) -> tuple[Bytes, npt.NDArray[Any]]:
        """Records [n, bytes] of the passage at `row` and their rare ids."""
        first, last = self._starts[row : row + 2]
        low, high = self._rare_starts[row : row + 2]
        return self._records[first:last], self._rare[low:high]


def _starts(counts: npt.NDArray[Any]) -> Ints:
    """int64 [n+1]: sums of all counts before each."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
