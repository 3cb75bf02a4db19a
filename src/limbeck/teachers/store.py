"""A store of predictions, and the teacher that it stands in for: no model is loaded (docs/store.md)."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.teachers.masked_lm import load_tokenizer
from limbeck.teachers.store_chunk import Chunk, Head
from limbeck.teachers.store_files import Fault, Hashes, Place, faults, places, read_passages
from limbeck.teachers.store_format import DamagedError, Decoded, decode
from limbeck.teachers.store_header import TOKENIZER, Header
from limbeck.text.pieces import PieceTokenizer

Ints = npt.NDArray[np.int64]


class Store:
    """Reads the store in a folder; chunks are mapped into memory, and checked when first touched.

    Raises:
        UserError: no store there, or its header is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header = Header.read(folder)
        self.plan = self.header.plan
        self._variant = -1
        self._chunks: dict[int, Chunk] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.folder,)

    @cached_property
    def hashes(self) -> Hashes:
        """uint64 [N], the passages' hashes, ascending."""
        return read_passages(self.folder, self.plan)

    @cached_property
    def tokenizer(self) -> PieceTokenizer:
        """The teacher's.

        Raises:
            UserError: it is missing, damaged, or not read as it was when the store was built.
        """
        mend = "`limbeck store verify RECIPE --repair` mends it"
        try:
            hf = load_tokenizer(self.folder / TOKENIZER)
        except UserError as error:
            raise UserError(f"store {self.folder}: its tokenizer is missing or damaged; {mend}") from error
        found = PieceTokenizer.from_hf(hf, limit=self.header.limit, name=f"teacher {self.header.name!r}")
        if found.fingerprint != self.plan.tokenizer:
            raise UserError(
                f"store {self.folder}: its tokenizer is damaged, or read otherwise than by tokenizers "
                f"{self.header.versions.get('tokenizers')}; {mend}"
            )
        return found

    def lacking(self, hashes: Hashes) -> int:
        """How many of these passages the store does not hold."""
        return len(hashes) - int(np.isin(hashes, self.hashes).sum())

    def faults(self, variants: int) -> list[Fault]:
        """Chunks of the first so many variants that are missing or of a wrong length."""
        return list(faults(self.folder, self.plan, places(self.plan, variants), whole=False))

    def contents(self, variants: int) -> str:
        """Fingerprint of all that these variants' chunks hold, made of their checksums."""
        digest = hashlib.blake2b(self.plan.key, digest_size=16)
        for place in places(self.plan, variants):
            digest.update(Head.read(place.path(self.folder)).checksum)
        return digest.hexdigest()

    def read(self, variant: int, hashes: Hashes, counts: Ints) -> Decoded:
        """What the teacher says of all masked pieces of some passages, one passage behind the other.

        Args:
            hashes: uint64 [B]. counts: int64 [B], masked pieces of each passage.

        Raises:
            UserError: a passage is not there, a chunk is damaged.
        """
        if variant != self._variant:
            self._variant, self._chunks = variant, {}
        index = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        if bool((self.hashes[index] != hashes).any()):
            raise UserError(f"store {self.folder} lacks passages of this text; `limbeck store build RECIPE`")
        touched: dict[int, int] = {}
        records, rare, table = [], [], []
        for number, row, count in zip(*np.divmod(index, self.plan.chunk), counts, strict=True):
            chunk = self._chunk(variant, int(number))
            some, ids = chunk.passage(int(row))
            if len(some) != count:
                raise UserError(
                    f"store {self.folder} holds {len(some)} predictions for a passage with {count} masked "
                    "pieces; it was built by another version, `limbeck store build RECIPE --rebuild`"
                )
            records.append(some)
            rare.append(ids)
            table.append(np.full(len(some), touched.setdefault(int(number), len(touched)), np.int64))
        tables = np.stack([self._chunks[number].table for number in touched])
        try:
            return decode(
                np.concatenate(records),
                np.concatenate(rare),
                tables,
                np.concatenate(table),
                self.plan.layout,
            )
        except DamagedError as error:
            raise UserError(f"store {self.folder} is damaged: {error}") from error

    def _chunk(self, variant: int, number: int) -> Chunk:
        if number not in self._chunks:
            place = Place(variant, number)
            path = place.path(self.folder)
            try:
                self._chunks[number] = Chunk(path, self.plan.layout, self.plan.key, *place)
            except DamagedError as error:
                raise UserError(
                    f"store {self.folder}: {path.name} is {error}; `limbeck store verify RECIPE --repair` "
                    "makes it again"
                ) from error
        return self._chunks[number]


class StoredTeacher:
    """A teacher whose predictions lie in a store: what the step asks of a teacher but its logits.

    temperature: the calibration temperature c_t.
    """

    def __init__(self, name: str, store: Store, *, calibrated: bool) -> None:
        self.name, self.store = name, store
        self.temperature = store.plan.calibration if calibrated else 1.0

    @property
    def tokenizer(self) -> PieceTokenizer:
        """The teacher's own."""
        return self.store.tokenizer

    @property
    def width(self) -> int:
        """Of the teacher's logits."""
        return self.store.plan.width

    def tail_of(self, temperature: float) -> int | None:
        """Which of the store's tail masses is that at this temperature; None: it has none."""
        for index, kept in enumerate(self.store.plan.temperatures):
            if math.isclose(kept, temperature, rel_tol=1e-9):
                return index
        return None

    def read(self, variant: int, hashes: Hashes, counts: Ints) -> Decoded:
        """As `Store.read`."""
        return self.store.read(variant, hashes, counts)
