"""Key files: a line for each instance, its id and then its sense keys, with white space between.

The gold standard and everybody's predictions are written so (Raganato et al. 2017).
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write

_UNPACKED: dict[str, Callable[[Any], BufferedIOBase]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
}

NAMED = 5
"""So many ids or keys at most are named in an error; the rest are counted."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """The bytes of a file, unpacked where its name ends in .xz or .gz.

    Raises:
        UserError: it cannot be read, or its compression is damaged; also while it is being read.
    """
    try:
        with path.open("rb") as raw:
            yield _UNPACKED[path.suffix](raw) if path.suffix in _UNPACKED else raw
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"cannot read {path}: {error.strerror}; correct the path") from error
        raise UserError(f"{path} is damaged or no {path.suffix} file ({error}); get it again") from error


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, each with its number from 1.

    Raises:
        UserError: as `opened`; a line is not UTF-8 text.
    """
    with opened(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}, line {number} is not UTF-8 text; save it as UTF-8") from error
            if "\0" in line:
                raise UserError(f"{path}, line {number} has a NUL byte, so this is no text; check the path")
            if line := line.strip():
                yield number, line


def read_keys(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The ids of a key file with their sense keys, one line at a time; a key given twice counts once.

    Raises:
        UserError: as `lines`; a line with an id alone.
    """
    for number, line in lines(path):
        name, *keys = line.split()
        if not keys:
            raise UserError(
                f"{path}, line {number}: {name!r} has no sense key behind it; write one, or take the line out"
            )
        yield name, tuple(dict.fromkeys(keys))


def load_keys(path: Path) -> dict[str, tuple[str, ...]]:
    """All of a key file, in its order.

    Raises:
        UserError: as `read_keys`; an id has two lines; there is no line.
    """
    found: dict[str, tuple[str, ...]] = {}
    twice: list[str] = []
    for name, keys in read_keys(path):
        if name in found:
            twice.append(name)
        found[name] = keys
    if twice:
        raise UserError(f"{path} has more than one line for {named(twice)}; leave one for each")
    if not found:
        raise UserError(f"{path} is empty; a line is an instance's id and its sense keys")
    return found


def write_keys(path: Path, answers: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Writes a key file, whole or not at all; an instance without a sense gets no line.

    Raises:
        UserError: the file cannot be written.
    """
    rows = ((name, " ".join(keys)) for name, keys in answers)
    atomic_write(path, "".join(f"{name} {keys}\n" for name, keys in rows if keys))


def named(names: Iterable[str]) -> str:
    """`3 instances (a, b, c)`: how many there are, and the first of them by name."""
    names = list(names)
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"{len(names):,} instance{'s' if len(names) != 1 else ''} ({shown})"
