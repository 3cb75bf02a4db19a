"""The files of a store: where they lie, which of them are whole, and who may write them (docs/store.md)."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.files import clean_temporary, writing
from limbeck.teachers.store_chunk import Chunk, check_head
from limbeck.teachers.store_format import DamagedError
from limbeck.teachers.store_header import PASSAGES, Plan

CHUNKS, LOCK = "chunks", ".lock"

Hashes = npt.NDArray[np.uint64]
Progress = Callable[[str, int, int], None]


class Place(NamedTuple):
    """A chunk: its mask variant, and its number among the chunks of that variant."""

    variant: int
    number: int

    def path(self, folder: Path) -> Path:
        """Its file in the store's folder."""
        return folder / CHUNKS / f"{self.variant:03d}-{self.number:06d}"


class Fault(NamedTuple):
    """A chunk that is not as it should be, and how."""

    place: Place
    what: str


def places(plan: Plan, variants: int) -> list[Place]:
    """All chunks, in order."""
    return [Place(variant, number) for variant in range(variants) for number in range(plan.chunks)]


def shard_of(count: int, index: int, of: int) -> range:
    """Shard `index` (from 1) of `of` of so many chunks: neighbours, and as many as in any other ± 1.

    Raises:
        UserError: there is no such shard.
    """
    if of < 1 or not 1 <= index <= of:
        raise UserError(f"--shard {index}/{of}: there is no such shard; the first of 4 is 1/4, the last 4/4")
    return range(count * (index - 1) // of, count * index // of)


def faults(
    folder: Path, plan: Plan, wanted: Iterable[Place], *, whole: bool, progress: Progress | None = None
) -> Iterator[Fault]:
    """The chunks among `wanted` that are missing or damaged; with `whole` every byte of them is looked at."""
    chosen, key = list(wanted), plan.key
    for done, place in enumerate(chosen):
        if progress is not None:
            progress(f"checking {folder.name}", done, len(chosen))
        try:
            (Chunk if whole else check_head)(place.path(folder), plan.layout, key, *place)
        except DamagedError as error:
            yield Fault(place, str(error))


def passages_content(hashes: Hashes) -> bytes:
    """The sorted hashes of the store's passages as they stand in its file."""
    assert bool((hashes[1:] > hashes[:-1]).all()), "a corpus has no passage twice"
    return hashes.astype("<u8").tobytes()


def text_digest(hashes: Hashes) -> str:
    """Of the sorted hashes of passages."""
    return hashlib.blake2b(hashes.astype("<u8").tobytes(), digest_size=16).hexdigest()


def read_passages(folder: Path, plan: Plan) -> Hashes:
    """uint64 [N], the passages' hashes, ascending; mapped into memory.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = folder / PASSAGES
    try:
        hashes: Hashes = np.memmap(path, "<u8", mode="r")
    except (OSError, ValueError):  # ValueError: empty, or no multiple of eight bytes
        hashes = np.zeros(0, np.uint64)
    if text_digest(hashes) != plan.text:
        raise UserError(
            f"store {folder}: {PASSAGES} is {'damaged' if path.exists() else 'missing'}; "
            "`limbeck store verify RECIPE --repair` makes it again"
        )
    return hashes


class Lock:
    """Who writes what in a store: the header is a byte of the lock file, each chunk another.

    Bytes of a file and not files, so that shards that overlap are found out whatever their number, and
    nothing is left behind. A context manager; the system takes the locks of a killed process away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[Any] | None = None

    def __enter__(self) -> Self:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / LOCK).open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def _take(self, start: int, count: int, *, wait: bool = False) -> bool:
        assert self._file is not None
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), count, start)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def header(self) -> None:
        """Waits for the right to make or change the header, and cleans up where nobody else is at work."""
        self._take(0, 1, wait=True)
        if self._take(1, 0):  # every byte there could be
            for part in (self.folder, self.folder / CHUNKS):
                clean_temporary(part)
            self._release(1, 0)

    def release_header(self) -> None:
        """Lets the next process have it."""
        self._release(0, 1)

    def _release(self, start: int, count: int) -> None:
        assert self._file is not None
        fcntl.lockf(self._file, fcntl.LOCK_UN, count, start)

    def alone(self) -> bool:
        """Takes all chunks, if nobody else builds any."""
        return self._take(1, 0)

    def chunks(self, some: range, shown: str) -> None:
        """Takes chunks, counted over all variants.

        Raises:
            UserError: another process builds some of them.
        """
        if len(some) and not self._take(1 + some.start, len(some)):
            raise UserError(
                f"store {self.folder}: another process builds {shown}; wait for it, or take another shard"
            )
