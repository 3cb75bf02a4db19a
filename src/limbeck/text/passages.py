"""Documents → passages → Arrow record batches, duplicates dropped; used through `corpus.py`."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from limbeck.text.words import passage_hash, word_spans

ROWS = 4096
"""Rows of a record batch; only the last one may have fewer."""

LONGEST_PASSAGE = 60_000
"""Most characters of a passage, so that a character offset fits 16 bits."""

Int64 = npt.NDArray[np.int64]


def cut(documents: list[str], words: int, longest: int = LONGEST_PASSAGE) -> tuple[list[str], Int64]:
    """Cuts documents into passages of at most `words` words and `longest` characters, in order.

    A word of more than `longest` characters is cut as well: each part is then one word of its passage.

    Returns:
        The passages, and int64 [passages]: the words of each.
    """
    joined = "\n".join(documents)  # white space between, so that no word crosses
    spans = word_spans(joined)
    if len(spans) == 0:
        return [], np.empty(0, dtype=np.int64)
    if int((spans[:, 1] - spans[:, 0]).max()) > longest:
        spans = _split_words(spans, longest)
    lengths = np.fromiter(map(len, documents), dtype=np.int64, count=len(documents))
    document_ends = np.cumsum(lengths + 1)
    limits = np.concatenate([[0], np.searchsorted(spans[:, 0], document_ends)])  # first word of each document
    counts = -(-np.diff(limits) // words)  # passages of each document
    document = np.repeat(np.arange(len(documents)), counts)
    within = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = limits[document] + within * words
    behind = np.minimum(first + words, limits[document + 1])
    if (spans[behind - 1, 1] - spans[first, 0] > longest).any():
        first, behind = _cut_by_both(spans, limits, words, longest)
    starts, ends = spans[first, 0].tolist(), spans[behind - 1, 1].tolist()
    return [joined[start:end] for start, end in zip(starts, ends, strict=True)], behind - first


def _split_words(spans: Int64, longest: int) -> Int64:
    parts = []
    for start, end in spans.tolist():
        parts += [(place, min(place + longest, end)) for place in range(start, end, longest)]
    return np.array(parts, dtype=np.int64)


def _cut_by_both(spans: Int64, limits: Int64, words: int, longest: int) -> tuple[Int64, Int64]:
    """First word and the word behind the last one of each passage, where the limit in characters matters."""
    first, behind = [], []
    for word, limit in zip(limits[:-1].tolist(), limits[1:].tolist(), strict=True):
        while word < limit:
            fitting = int(np.searchsorted(spans[word:limit, 1], spans[word, 0] + longest, side="right"))
            first.append(word)
            word += min(words, fitting)
            behind.append(word)
    return np.array(first, dtype=np.int64), np.array(behind, dtype=np.int64)


class Seen:
    """A growing set of 64-bit numbers in 8 bytes each: sorted arrays, of which like sizes are merged."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def add(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Adds numbers uint64 [n]; returns bool [n]: True where a number is met for the first time."""
        new = np.zeros(len(numbers), dtype=bool)
        new[np.unique(numbers, return_index=True)[1]] = True
        for run in self._runs:
            places = np.searchsorted(run, numbers)
            places[places == len(run)] = 0
            new &= run[places] != numbers
        if new.any():
            self._runs.append(np.sort(numbers[new]))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]))
        return new


class Writer:
    """Writes passages to an Arrow file: columns text (large_utf8), hash (uint64), words (uint16).

    A context manager. Counts what it takes and what it drops: `passages`, `words`, `duplicates`, `too_short`.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        types = [("text", pa.large_utf8()), ("hash", pa.uint64()), ("words", pa.uint16())]
        self._schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in types])
        self._file = pa.OSFile(str(path), mode="wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._texts: list[str] = []
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._words: list[Int64] = []
        self._seen = Seen()
        self.passages = self.words = self.duplicates = self.too_short = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush(1)
                self._writer.close()
        finally:
            self._file.close()

    def add(self, texts: list[str], n_words: Int64, min_words: int) -> None:
        """Takes passages and their words, int64 [n], in order; drops short ones and those it had before."""
        hashes = np.fromiter(map(passage_hash, texts), dtype=np.uint64, count=len(texts))
        long_enough = n_words >= min_words
        new = np.zeros(len(texts), dtype=bool)
        new[long_enough] = self._seen.add(hashes[long_enough])
        kept = int(new.sum())
        self.too_short += len(texts) - int(long_enough.sum())
        self.duplicates += int(long_enough.sum()) - kept
        self.passages += kept
        self.words += int(n_words[new].sum())
        self._texts += [texts[index] for index in np.flatnonzero(new).tolist()]
        self._hashes.append(hashes[new])
        self._words.append(n_words[new])
        if len(self._texts) >= ROWS:
            self._flush(ROWS)

    def _flush(self, least: int) -> None:
        """Writes batches of `ROWS` rows while at least `least` rows are waiting."""
        import pyarrow as pa

        if not self._texts:
            return
        hashes, words = np.concatenate(self._hashes), np.concatenate(self._words)
        place = 0
        while len(self._texts) - place >= least:
            rows = slice(place, place + ROWS)
            columns = [
                pa.array(self._texts[rows], pa.large_utf8()),
                pa.array(hashes[rows]),
                pa.array(words[rows].astype(np.uint16)),
            ]
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
            place += ROWS
        self._texts = self._texts[place:]
        self._hashes, self._words = [hashes[place:]], [words[place:]]
