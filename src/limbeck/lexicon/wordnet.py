"""Princeton WordNet's own files: where they are, and how to get them. What is in them: `wordnet_data.py`."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from limbeck.errors import UserError
from limbeck.files import atomic_folder, cache_dir
from limbeck.lexicon.wordnet_data import POS_FILES, Synset, synsets

__all__ = ["POS_FILES", "Synset", "download_wordnet", "find_wordnet", "synsets"]

PRINCETON_URL = "https://wordnetcode.princeton.edu/3.0/WordNet-3.0.tar.bz2"
PRINCETON_SHA256 = "6c492d0c7b4a40e7674d088191d3aa11f373bb1da60762e098b8ee2dda96ef22"
"""SHA-256 of Princeton's archive, as two package collections (Homebrew, Nixpkgs) publish it."""

_DICT_FILE = re.compile(r"(?:[^/]+/)?dict/([A-Za-z][A-Za-z.]*)")
# What a folder of WordNet may hold, in any of its versions and distributions.
_WORDNET_FILE = re.compile(
    r"(?:data|index|cntlist|log|verb|sents|frames|sentidx)\.[A-Za-z0-9.]+|(?:adj|adv|noun|verb|cousin)\.[a-z]{3}"
    r"|cntlist|lexnames|LICENSE|COPYING|README"
)
_LICENCE = re.compile(r"(?:[^/]+/)?(?:dict/)?(LICENSE|COPYING)")
_OTHER_WAYS = "install Debian's wordnet-base instead, or point LIMBECK_WORDNET to a folder that has WordNet"
_MOST_BYTES = 1 << 28  # of the archive and of what comes out of it; Princeton's are 12 MB and 36 MB


def find_wordnet() -> Path:
    """Finds the folder with WordNet's data files.

    Looks at `LIMBECK_WORDNET`, then `WNHOME` (itself or its `dict`), then Debian's `/usr/share/wordnet`,
    then what `limbeck data wordnet` downloaded. A variable that is set but points elsewhere is an error,
    not a reason to go on.

    Raises:
        UserError: none has it; the message tells all four ways.
    """
    for variable in ("LIMBECK_WORDNET", "WNHOME"):
        value = os.environ.get(variable)
        if not value:
            continue
        home = Path(value).expanduser()
        for folder in (home, home / "dict"):
            if (folder / "data.noun").is_file():
                return folder
        raise UserError(
            f"{variable} is {value}, without a data.noun in it; point it to WordNet's folder or unset it"
        )
    downloaded = cache_dir() / "wordnet"
    for folder in (Path("/usr/share/wordnet"), downloaded):
        if (folder / "data.noun").is_file():
            return folder
    raise UserError(
        "WordNet is not found; set LIMBECK_WORDNET to the folder with its data.noun, or set WNHOME, or "
        "apt-get install wordnet-base, or run `limbeck data wordnet` to download it"
    )


def download_wordnet(
    target: Path,
    url: str = PRINCETON_URL,
    sha256: str = PRINCETON_SHA256,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Downloads Princeton's archive and puts its data files into the folder `target`, whole or not at all.

    The folder must be new, empty, or an older WordNet, which is replaced; nothing else is ever deleted.
    Nothing of the archive is read before its checksum is right. Only plain files of its `dict` folder
    and the licence are taken, by their bare names.

    Args:
        progress: called with the bytes so far and the bytes in all (0: not known).

    Returns:
        `target`, made absolute.

    Raises:
        UserError: no connection, wrong checksum, an archive without data files, `target` cannot be written
            or holds something else.
    """
    target = target.expanduser().resolve()
    _check_target(target)
    with atomic_folder(target) as folder:
        archive = folder / "archive"
        found = _fetch(url, archive, progress)
        if found != sha256.lower():
            raise UserError(f"{url} has SHA-256 {found}, expected {sha256}; nothing was kept, {_OTHER_WAYS}")
        try:
            _extract(archive, folder)
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, not of the archive
            raise UserError(f"{url} is no tar archive that can be read ({error}); {_OTHER_WAYS}") from error
        missing = [name for name in POS_FILES.values() if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{url} has no {', '.join(missing)} in a folder dict; {_OTHER_WAYS}")
        archive.unlink()
    return target


def _check_target(target: Path) -> None:
    """Refuses what a swap of folders would lose or pull from under the user's feet."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file, not a folder; name a new or an empty folder")
    here = Path.cwd()
    if target == here or target in here.parents:
        raise UserError(
            f"{target} is the folder you work in, so it cannot be replaced; name a new one, such as "
            f"{target / 'wordnet'}"
        )
    held = sorted(entry.name for entry in target.iterdir()) if target.exists() else []
    foreign = [name for name in held if not _WORDNET_FILE.fullmatch(name)]
    if held and (foreign or "data.noun" not in held):
        what = f"{foreign[0]}, which is no file of WordNet" if foreign else f"{held[0]} but no data.noun"
        raise UserError(f"{target} holds {what}; name a new or an empty folder")


def _fetch(url: str, path: Path, progress: Callable[[int, int], None] | None) -> str:
    """Streams `url` to `path`; returns the SHA-256 of what came."""
    digest, done = hashlib.sha256(), 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "limbeck"})
        with urllib.request.urlopen(request, timeout=60) as answer, path.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(1 << 18):
                done += len(block)
                if done > _MOST_BYTES:
                    raise UserError(
                        f"{url} is larger than {_MOST_BYTES} bytes, so it is not WordNet; {_OTHER_WAYS}"
                    )
                digest.update(block)
                file.write(block)
                if progress is not None:
                    progress(done, total)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        ValueError,
    ) as error:
        raise UserError(f"cannot download {url}: {error}; {_OTHER_WAYS}") from error
    if done < total:
        raise UserError(f"{url} broke off after {done} of {total} bytes; try again, or {_OTHER_WAYS}")
    return digest.hexdigest()


def _extract(archive: Path, folder: Path) -> None:
    """Writes the plain files of the archive's `dict` and its licence into `folder`, by their bare names.

    Names are matched whole and links are never followed, which is stricter than tarfile's `data` filter.
    """
    left = _MOST_BYTES
    with tarfile.open(archive) as tar:
        for member in tar:
            match = _DICT_FILE.fullmatch(member.name) or _LICENCE.fullmatch(member.name)
            if match is None or not member.isreg():
                continue
            left -= member.size
            if left < 0:
                raise tarfile.ReadError(f"it unpacks to more than {_MOST_BYTES} bytes")
            content = tar.extractfile(member)
            assert content is not None
            with (folder / match[1]).open("wb") as file:
                shutil.copyfileobj(content, file)
