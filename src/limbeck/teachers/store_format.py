"""How predictions are written: records of a few bytes (docs/store.md).

A record is what a teacher says of one of its masked pieces, in k pieces: the gold one, the likeliest others,
and some drawn from all the rest by their mass, which stand for that rest. The gold piece itself is not
written, as whoever asks has the text. Pure numpy; N records, P passages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

FORMAT_VERSION = 1

COMMON = 255
"""Pieces of a chunk whose id is one byte; the byte 255 says that the id stands among the rare ones."""

# Of the others one in so many is kept for its own sake and not drawn, and at least so many.
_ONE_IN, _LEAST = 5, 2

# Gaps between one log-probability and the next: finer where they are small, as most of them are.
_FIRST_GAPS: Floats = (16 * (np.arange(256) / 255) ** 2).astype(np.float32)
_GAPS: Floats = (4 * (np.arange(16) / 15) ** 2).astype(np.float32)
# The gold piece against the likeliest other, in nats: from −20 in eighths.
_GOLD_LEAST, _GOLD_STEPS = -20.0, 8.0
# log r/(1 − r) of the mass r outside the k pieces, in tenths; the byte 0 is r = 0.
_TAIL_LEAST, _TAIL_STEPS = -12.7, 10.0


class DamagedError(Exception):
    """A file of a store is not as it was written; the message says how, without naming the file."""


@dataclass(frozen=True)
class Layout:
    """What the places of a record depend on.

    k: pieces of a record, at least 4; temperatures: their number; width: of the teacher's logits.
    """

    k: int
    temperatures: int
    width: int

    @property
    def likeliest(self) -> int:
        """Pieces beside the gold one whose own mass is kept: all of them where k is all there are."""
        return self.k - 1 if self.k >= self.width else max(_LEAST, self.k // _ONE_IN)

    @property
    def drawn(self) -> int:
        """Pieces drawn from the rest."""
        return self.k - 1 - self.likeliest

    @property
    def gaps(self) -> int:
        """Gaps of four bits: every one but the first."""
        return max(0, self.likeliest - 2)

    @property
    def record(self) -> int:
        """Bytes of a record: ids, first gap, other gaps, gold piece, tails, drawn ids."""
        own = self.likeliest + 1 + (self.gaps + 1) // 2 + 1 + self.temperatures
        return own + self.drawn * np.dtype(self.id_type).itemsize

    @property
    def id_type(self) -> npt.DTypeLike:
        """Of an id that is not one byte."""
        return np.dtype("<u2") if self.width <= 65536 else np.dtype("<u4")


@dataclass(frozen=True)
class Said:
    """What a teacher says of N of its masked pieces.

    ids: int64 [N, L], the L likeliest pieces but the gold one, in order; below: float32 [N, L], by how many
    nats each is less likely than the first; gold: float32 [N], log-probability of the gold piece less that of
    the first; tail: float32 [N, temperatures], mass outside these L + 1 pieces at each temperature; drawn:
    int64 [N, D], drawn from that rest, each for 1/D of it.
    """

    ids: Ints
    below: Floats
    gold: Floats
    tail: Floats
    drawn: Ints

    def ordered(self, order: npt.NDArray[np.intp]) -> Said:
        """The same records in another order."""
        return Said(*(array[order] for array in vars(self).values()))

    @classmethod
    def none(cls, layout: Layout) -> Said:
        """No records."""
        wide = np.zeros((0, layout.likeliest), np.float32)
        tail, drawn = np.zeros((0, layout.temperatures), np.float32), np.zeros((0, layout.drawn), np.int64)
        return cls(wide.astype(np.int64), wide, wide[:, 0], tail, drawn)


def encode(said: Said, layout: Layout) -> tuple[Ints, npt.NDArray[Any], Bytes]:
    """Records in bytes: the ids of the commonest pieces [COMMON], the rare ids in order, uint8 [N, bytes]."""
    assert (said.ids.shape[1], said.drawn.shape[1]) == (layout.likeliest, layout.drawn)
    table = _commonest(said.ids, layout.width)
    place = np.full(layout.width, COMMON, np.uint8)
    place[table] = np.arange(len(table))
    codes = place[said.ids]
    drawn = said.drawn.astype(layout.id_type)
    raw = drawn.view(np.uint8).reshape(len(drawn), layout.drawn * drawn.itemsize)
    records = np.concatenate([codes, _gap_codes(said.below, layout), _end_codes(said), raw], axis=1)
    assert records.shape[1] == layout.record
    padded = np.zeros(COMMON, np.int64)
    padded[: len(table)] = table
    return padded, said.ids[codes == COMMON].astype(layout.id_type), records


def _commonest(ids: Ints, width: int) -> Ints:
    """The most frequent ids, at most COMMON, ascending; of ids as frequent the lower ones."""
    counts = np.bincount(ids.ravel(), minlength=width)
    order = np.argsort(-counts, kind="stable")[:COMMON]
    return np.sort(order[counts[order] > 0])


def _nearest(values: Floats, levels: Floats) -> npt.NDArray[np.intp]:
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def _gap_codes(below: Floats, layout: Layout) -> Bytes:
    """uint8 [N, bytes]. Each gap is taken from where the last one led, so that errors do not add up."""
    reached = np.zeros(len(below), np.float32)
    gaps = np.zeros((len(below), 2 * ((layout.gaps + 1) // 2)), np.uint8)
    first: list[Bytes] = []
    for j in range(1, layout.likeliest):
        levels = _FIRST_GAPS if j == 1 else _GAPS
        code = _nearest(below[:, j] - reached, levels)
        reached += levels[code]
        if j == 1:
            first.append(code.astype(np.uint8)[:, None])
        else:
            gaps[:, j - 2] = code
    return np.concatenate([*first, gaps[:, ::2] << 4 | gaps[:, 1::2]], axis=1)


def _end_codes(said: Said) -> Bytes:
    """uint8 [N, 1 + temperatures]: the gold piece and the tails."""
    gold = np.clip(np.rint((said.gold - _GOLD_LEAST) * _GOLD_STEPS), 0, 255)
    tail = said.tail.astype(np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log(tail) - np.log1p(-np.minimum(tail, 1 - 1e-12))
    code = 1 + np.clip(np.rint((odds - _TAIL_LEAST) * _TAIL_STEPS), 0, 254)
    return np.concatenate([gold[:, None], np.where(tail > 0, code, 0)], axis=1).astype(np.uint8)


@dataclass(frozen=True)
class Decoded:
    """Records read back.

    others: int64 [N, L], the likeliest pieces but the gold one; logit: float32 [N, L + 1], log-probabilities
    up to a number per record, the gold piece's first; tail: float32 [N, temperatures]; drawn: int64 [N, D]:
    as in `Said`.
    """

    others: Ints
    logit: Floats
    tail: Floats
    drawn: Ints


def decode(records: Bytes, rare: npt.NDArray[Any], tables: Ints, table: Ints, layout: Layout) -> Decoded:
    """What `pack` made of the records.

    Args:
        records: [N, layout.record]. rare: all rare ids of these records, in order.
        tables: [M, COMMON], the commonest ids of M chunks. table: [N], each record's chunk.
    """
    count = layout.likeliest
    codes = records[:, :count]
    is_rare = codes == COMMON
    if int(is_rare.sum()) != len(rare):
        raise DamagedError("its rare ids are not as many as its records say")
    padded = np.concatenate([tables, np.zeros((len(tables), 1), tables.dtype)], axis=1)
    others = padded[table[:, None], codes].astype(np.int64)
    others[is_rare] = rare
    at = count + 1
    packed = records[:, at : at + (layout.gaps + 1) // 2]
    gaps = np.empty((len(records), 2 * packed.shape[1]), np.uint8)
    gaps[:, ::2], gaps[:, 1::2] = packed >> 4, packed & 15
    logit = np.zeros((len(records), count + 1), np.float32)
    logit[:, 2] = _FIRST_GAPS[records[:, count]]
    logit[:, 3:] = _GAPS[gaps[:, : layout.gaps]]
    np.cumsum(logit[:, 2:], axis=1, out=logit[:, 2:])
    np.negative(logit[:, 2:], out=logit[:, 2:])
    at += packed.shape[1]
    logit[:, 0] = records[:, at] / _GOLD_STEPS + _GOLD_LEAST
    tail = records[:, at + 1 : at + 1 + layout.temperatures].astype(np.float32)
    odds = (tail - 1) / _TAIL_STEPS + _TAIL_LEAST
    mass = np.where(tail > 0, 1 / (1 + np.exp(-odds)), 0).astype(np.float32)
    raw = np.ascontiguousarray(records[:, at + 1 + layout.temperatures :])
    drawn = raw.view(layout.id_type).reshape(len(records), layout.drawn).astype(np.int64)
    return Decoded(others, logit, mass, drawn)
