"""Prepared text on disk: passages of pieces, read without copying (written by text/prepare.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError

ROWS = 4096
"""Passages in a record batch; only the last may be shorter."""

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Side(NamedTuple):
    """The student's pieces of one passage, special tokens left out.

    ids: uint16 or uint32 [P]; first, last: uint16 [P], first and last word the piece overlaps (last < first:
    none);
    kind: uint8 [P], KIND_* of text/align.py.
    """

    ids: Array
    first: Array
    last: Array
    kind: Array


class TeacherSide(NamedTuple):
    """One teacher's pieces of one passage, special tokens left out.

    ids, first, last: as in `Side`; map: int16 [P_student], for each of the student's pieces the index of the
    teacher's piece that answers for it, or a negative code of text/align.py.
    """

    ids: Array
    first: Array
    last: Array
    map: Array


@dataclass(frozen=True, slots=True)
class PreparedPassage:
    """One passage; all arrays are read-only views of the file."""

    hash: int
    n_words: int
    student: Side
    teachers: tuple[TeacherSide, ...]


class Prepared:
    """Prepared text on disk, memory-mapped; passages are those of the corpus, in its order.

    hashes: uint64 [N]; n_words: int64 [N]; lengths: int64 [N], the student's pieces; teacher_lengths: the
    same per teacher; cut_passages, cut_words: what the student's longest input left out; fingerprint: of the
    corpus, the tokenizers and the maps.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        import pyarrow as pa

        self.folder, self.fingerprint = folder, fingerprint
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            self._reader = pa.ipc.open_file(pa.memory_map(str(folder / "data.arrow")))
            batches = [self._reader.get_batch(b) for b in range(self._reader.num_record_batches)]
            sound = (
                meta["fingerprint"] == fingerprint
                and "cut_words" in meta
                and sum(b.num_rows for b in batches) == meta["passages"]
            )
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise UserError(
                f"prepared text is damaged: delete the folder {folder} and run again ({error})"
            ) from error
        if not sound:
            raise UserError(f"prepared text is incomplete: delete the folder {folder} and run again")
        self.cut_passages, self.cut_words = int(meta["cut_passages"]), int(meta["cut_words"])
        self._blocks = [_Block(b, meta["teachers"]) for b in batches]
        self.hashes: npt.NDArray[np.uint64] = _joined([b.hash for b in self._blocks], np.uint64)
        self.n_words: Ints = _joined([b.words for b in self._blocks], np.int64)
        self.lengths: Ints = _joined([np.diff(b.offsets[0]) for b in self._blocks], np.int64)
        self.teacher_lengths: list[Ints] = [
            _joined([np.diff(b.offsets[t + 1]) for b in self._blocks], np.int64)
            for t in range(meta["teachers"])
        ]

    def __len__(self) -> int:
        return len(self.hashes)

    def passage(self, index: int) -> PreparedPassage:
        """Passage `index`, without copying."""
        block, row = divmod(index, ROWS)
        return self._blocks[block].passage(row)


def _joined(parts: list[Array], dtype: Any) -> Array:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


class _Block:
    """The columns of one record batch as numpy views."""

    def __init__(self, batch: Any, teachers: int) -> None:
        self.hash = batch.column("hash").to_numpy()
        self.words = batch.column("words").to_numpy()
        self.offsets = [batch.column(f"ids{t}").offsets.to_numpy() for t in ("", *range(teachers))]

        def values(*names: str) -> list[Array]:
            return [batch.column(name).values.to_numpy() for name in names]

        self._student = values("ids", "first", "last", "kind")
        self._teachers = [values(f"ids{t}", f"first{t}", f"last{t}", f"map{t}") for t in range(teachers)]

    def passage(self, row: int) -> PreparedPassage:
        """Row `row` of this batch."""
        low, high = self.offsets[0][row : row + 2].tolist()
        ids, first, last, kind = self._student
        teachers = []
        for (t_ids, t_first, t_last, mapping), offsets in zip(self._teachers, self.offsets[1:], strict=True):
            a, b = offsets[row : row + 2].tolist()
            teachers.append(TeacherSide(t_ids[a:b], t_first[a:b], t_last[a:b], mapping[low:high]))
        student = Side(ids[low:high], first[low:high], last[low:high], kind[low:high])
        return PreparedPassage(int(self.hash[row]), int(self.words[row]), student, tuple(teachers))
