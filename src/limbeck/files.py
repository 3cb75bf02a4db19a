"""Files that are either whole or absent, and the folder for things that can be made again.

Everything another program may read is written to a temporary sibling first and renamed, so a reader never
meets half a file.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from limbeck.errors import UserError

TEMPORARY = ".tmp-"
"""Start of the name of a file or folder that is still being written."""

STALE = 24 * 3600
"""Seconds after which what is half written in the cache counts as left behind."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


def cache_dir() -> Path:
    """Folder for things that can be made again: `LIMBECK_CACHE`, or `~/.cache/limbeck`. Not created here."""
    chosen = os.environ.get("LIMBECK_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "limbeck"


def data_dir(name: str) -> Path | None:
    """Folder `name` of the user's evaluation data, `LIMBECK_DATA`; None where that is not set."""
    chosen = os.environ.get("LIMBECK_DATA")
    return Path(chosen).expanduser() / name if chosen else None


def shown(path: str | Path) -> str:
    """A path for people and for files in UTF-8: what of its name is not UTF-8 becomes "�"."""
    return os.fsencode(path).decode("utf-8", "replace")


def folder_name(name: str) -> str:
    """A model's path or hub id as the name of one folder: of letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def _system_error(error: BaseException) -> int | None:
    """The system's number of an error, also where a Rust library gives it as text only; or None."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the user can mend about writing `path` into one line; every other error passes unchanged.

    Raises:
        UserError: full disk, quota or file size limit, no permission, read-only file system, a file where a
            folder
            is needed.
    """
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number in _NO_SPACE:
            raise UserError(
                f"cannot write {path}: {os.strerror(number)}; free space there or write elsewhere"
            ) from error
        if number in _NOT_ALLOWED:
            raise UserError(
                f"cannot write {path}: {os.strerror(number)}; choose a folder that can be written"
            ) from error
        raise


def check_writable(path: Path) -> None:
    """Makes the parent folders of a file that is to be written later, and tries whether it can be.

    Raises:
        UserError: it cannot, or a folder is there.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent, prefix=TEMPORARY).close()
        except FileNotFoundError as error:  # in a folder of the system's own, like /proc
            raise UserError(
                f"cannot write {path}: no file can be made there; choose another folder"
            ) from error


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process has, on this machine or another that shares the folder."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(8)}")


def atomic_write(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Writes a file so that `path` holds the old content or all of the new, even after a power cut.

    Parent folders are made. Text is written as UTF-8 with its line ends as they are. Without `durable` the
    fsync is left out: a kill still never leaves half a file, a power cut may.

    Raises:
        UserError: the file cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = _temporary(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)


@contextlib.contextmanager
def atomic_file(
    path: Path, packed: Callable[[BinaryIO], BinaryIO] | None = None
) -> Iterator[Callable[[str], None]]:
    """Gives a function that adds text (UTF-8) to a file, which takes the place of `path` when all went well.

    For what is too large to be in memory. When the block raises, `path` is as it was.

    Args:
        packed: gives the file that compresses what is written to it into the one it is given.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = _temporary(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file: BinaryIO = temporary.open("xb")
    try:
        with file:
            inner = file if packed is None else packed(file)

            def write(text: str) -> None:
                with writing(path):
                    inner.write(text.encode("utf-8"))

            try:
                yield write
            finally:
                with writing(path):
                    inner.close()
        with writing(path):
            sync_file(temporary)
        with writing(path):
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path`; when the block ends well it takes the place of `path`.

    Everything in it is fsynced before the rename. A folder already at `path` is replaced; were the process
    killed in the middle of that, the old one would be left beside it under a temporary name and the new one
    would be whole. When the block raises, the temporary folder is deleted and `path` is as it was.

    In the cache runs share folders, whose names say what is in them. So what another process has made of
    `path` meanwhile stays, because it may be reading it already; and what a killed process left there more
    than a day ago is deleted.

    Raises:
        UserError: the folder cannot be made or written (a full disk met inside the block as well).
    """
    temporary = _temporary(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shared = cache_dir().resolve() in path.resolve().parents
        if shared:
            _clean_stale(path.parent)
        before = _inode(path)
        temporary.mkdir()  # by the user's umask, unlike tempfile's, so that others can read a shared cache
        try:
            yield temporary
            sync_tree(temporary)
            _swap(temporary, path, before, shared=shared)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def _inode(path: Path) -> int | None:
    """What tells a folder from another of its name; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _swap(new: Path, path: Path, before: int | None, *, shared: bool) -> None:
    """Renames `new` to `path`; an old folder is moved away first (a full one cannot be renamed over).

    before: the `_inode` of `path` when `new` was begun; in a shared place any other folder there stays.
    """
    while (there := _inode(path)) is None:
        try:
            new.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # otherwise another process made it in between
    if shared and there != before:
        shutil.rmtree(new)
        return
    old = _temporary(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Makes what was written to a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` durable."""
    sync_file(folder)  # to the system a folder is a file of names


def sync_tree(folder: Path) -> None:
    """Fsyncs every file and folder below `folder`."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(place, name))
        sync_folder(Path(place))


def clean_temporary(folder: Path) -> None:
    """Deletes what a killed process left half written in `folder`, which nobody else may be writing in."""
    for entry in half_written(folder):
        _delete(entry)


def _clean_stale(folder: Path) -> None:
    """Deletes what is half written in `folder` and has not grown for a day; others may be writing in it."""
    for entry in half_written(folder):
        if time.time() - _last_written(entry) > STALE:
            _delete(entry)


def half_written(folder: Path) -> list[Path]:
    """Temporary files and folders that an interrupted write left in `folder`."""
    return (
        [entry for entry in folder.iterdir() if entry.name.startswith(TEMPORARY)] if folder.is_dir() else []
    )


def _last_written(entry: Path) -> float:
    """Time of the last change of a file, or of a folder and all in it; now, if it goes away meanwhile."""
    try:
        return max(path.lstat().st_mtime for path in (entry, *entry.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _delete(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
