"""Text that lies elsewhere: files behind an address (fsspec), and datasets of the Hugging Face hub.

It is streamed once into a folder of the cache and is a file like any other from there on: its fingerprint is
that of its bytes, so a resume is as exact, and several processes share it, as with text that was always here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_folder
from limbeck.text.documents import BLANK_LINES

HUB = "hf:"
FORM = "hf:DATASET[/CONFIG]:SPLIT:COLUMN, with a split such as train or train[:10000]"
_ENDINGS = (".txt", ".txt.zst", ".txt.gz", ".txt.xz")
_BLOCK = 1 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EVERY = 10.0
"""Seconds between two lines of the log."""
_NAMED = re.compile(
    r"hf:(?P<where>[^:]+):(?P<split>[^\[\]:]+)(?:\[:(?P<rows>[1-9][0-9]*)\])?:(?P<column>[^:]+)"
)

_log = logging.getLogger("limbeck")


def is_remote(pattern: str) -> bool:
    """Whether what the user wrote is an address or a dataset, and no path."""
    return pattern.startswith(HUB) or "://" in pattern


def fetch(pattern: str, cache: Path, label: str) -> list[Path]:
    """The files of an address or a dataset, fetched unless this version of them is in `cache` already.

    Where the other side cannot be asked, what was fetched last is taken, and the log says so.

    Raises:
        UserError: nothing there, no way to get it, a package that it needs is missing, full disk.
    """
    found = _dataset(pattern, label) if pattern.startswith(HUB) else _addresses(pattern, label)
    return [_kept(one, cache, label) for one in found]


@dataclass(frozen=True)
class _Remote:
    """One file to be: its name, what tells its versions apart (None: unknown for now), and how to get it.

    packed: its blocks are to be compressed on the way to the disk.
    """

    name: str
    version: str | None
    ending: str = ""
    blocks: Callable[[], Iterator[bytes]] = lambda: iter(())
    packed: bool = False


def _kept(one: _Remote, cache: Path, label: str) -> Path:
    key = hashlib.sha256(one.name.encode()).hexdigest()[:20]
    known = sorted(cache.glob(f"remote-{key}-*/source.json"), key=lambda path: path.stat().st_mtime)
    if one.version is None:
        if not known:
            raise UserError(f"{label}: {one.name} cannot be reached, and no copy of it is here; try again")
        _log.warning("%s: %s cannot be reached; the copy that is here is used", label, one.name)
        return _file_in(known[-1].parent)
    folder = cache / f"remote-{key}-{hashlib.sha256(one.version.encode()).hexdigest()[:20]}"
    if not (folder / "source.json").is_file():
        with atomic_folder(folder) as temporary:
            size = _download(one, temporary / f"text{one.ending}", label)
            about = {"source": one.name, "version": one.version, "bytes": size}
            (temporary / "source.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return _file_in(folder)


def _file_in(folder: Path) -> Path:
    (file,) = folder.glob("text*")
    return file


def _download(one: _Remote, path: Path, label: str) -> int:
    """Writes the file; returns its bytes before any packing."""
    import pyarrow as pa

    size, told = 0, time.monotonic()
    _log.info("%s: fetching %s", label, one.name)
    with _told(one.name, label), path.open("xb") as file:
        stream: Any = pa.CompressedOutputStream(file, "zstd") if one.packed else file
        with stream:
            for block in one.blocks():
                stream.write(block)
                size += len(block)
                if time.monotonic() - told > _EVERY:
                    told = time.monotonic()
                    _log.info("%s: %.1f MB of %s are here", label, size / 1e6, one.name)
    return size


@contextmanager
def _told(name: str, label: str) -> Iterator[None]:
    """What libraries raise about something that is not to be had, as one line."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{label}: {name} needs another package ({_line(error)}); install it") from error
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise  # told by whoever makes the folder
        raise UserError(f"{label}: {name} cannot be read: {_line(error)}; correct or remove it") from error


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _addresses(pattern: str, label: str) -> list[_Remote]:
    """The files of an address: itself, those in a folder, or those that match."""
    from fsspec.core import url_to_fs

    with _told(pattern, label):
        system, path = url_to_fs(pattern)
    try:  # by `info`, because `exists` and `isdir` take a lost connection for an answer
        if any(sign in path for sign in "*?["):
            names = sorted(system.glob(path))
        elif system.info(path)["type"] == "directory":
            names = sorted(name for name in system.find(path) if name.lower().endswith(_ENDINGS))
        else:
            names = [path]
        infos = [system.info(name) for name in names]
    except FileNotFoundError:
        names, infos = [], []
    except (OSError, RuntimeError):
        return [_Remote(pattern, None)]
    if not names:
        raise UserError(f"{label}: there is no text at {pattern}; correct the address")

    def blocks(name: str) -> Iterator[bytes]:
        with system.open(name, "rb") as file:
            while block := file.read(_BLOCK):
                yield block

    found = []
    for name, info in zip(names, infos, strict=True):
        told = {key: value for key, value in info.items() if isinstance(value, str | int | float)}
        told |= {key: str(value) for key, value in info.items() if key in ("created", "LastModified")}
        version = json.dumps(told, sort_keys=True)
        ending = "".join(PurePosixPath(name).suffixes[-2:])
        shown = pattern if len(names) == 1 else system.unstrip_protocol(name)
        found.append(_Remote(shown, version, ending, partial(blocks, name)))
    return found


def _dataset(pattern: str, label: str) -> list[_Remote]:
    """The rows of one column of a dataset, a document each."""
    matched = _NAMED.fullmatch(pattern)
    if matched is None:
        raise UserError(f"{label}: {pattern!r} is not understood; write {FORM}")
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{label}: {pattern} needs the package datasets; install limbeck with its extra: limbeck[hub]"
        ) from error
    datasets.utils.logging.set_verbosity_error()
    where, column = matched["where"], matched["column"]
    local = Path(where).expanduser().is_dir()
    name, config = (where, None) if local or where.count("/") < 2 else tuple(where.rsplit("/", 1))
    rows = int(matched["rows"]) if matched["rows"] else None

    def documents() -> Iterator[bytes]:
        stream = datasets.load_dataset(name, config, split=matched["split"], streaming=True)
        columns = stream.column_names or []
        if columns and column not in columns:
            raise UserError(f"{label}: {pattern} has no column {column!r}; it has: {', '.join(columns)}")
        for row in stream if rows is None else stream.take(rows):
            text = row[column]
            if not isinstance(text, str):
                kind = type(text).__name__
                raise UserError(
                    f"{label}: column {column!r} of {pattern} holds {kind}, not text; name another"
                )
            text = BLANK_LINES.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
            if text:  # a blank line ends a document, and only that
                yield text.replace("\0", " ").encode() + b"\n\n"

    return [_Remote(pattern, _version(name, local), ".txt.zst", documents, packed=True)]


def _version(name: str, local: bool) -> str | None:
    """The commit of a dataset on the hub, or the files of a folder; None where the hub does not answer."""
    if local:
        folder = Path(name).expanduser()
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return json.dumps(
            [[str(p.relative_to(folder)), (s := p.stat()).st_size, s.st_mtime_ns] for p in files]
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return str(HfApi().dataset_info(name, timeout=20).sha)
    except HfHubHTTPError as error:
        raise UserError(f"the dataset {name!r} is not to be had: {_line(error)}; correct its name") from error
    except (OSError, OfflineModeIsEnabled, RuntimeError):
        return None
