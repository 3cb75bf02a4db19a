"""Princeton WordNet's own files: where they are, their synsets one by one, and how to get them.

The format is that of `wndb(5WN)`: one synset per line of `data.noun`, `data.verb`, `data.adj`,
`data.adv`, behind a licence whose lines start with two spaces.
"""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from limbeck.errors import UserError
from limbeck.files import atomic_folder, cache_dir

POS_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
"""Part of speech → data file. Satellite adjectives (`s`) stand in the adjectives' file and count as `a`."""

PRINCETON_URL = "https://wordnetcode.princeton.edu/3.0/WordNet-3.0.tar.bz2"
PRINCETON_SHA256 = "6c492d0c7b4a40e7674d088191d3aa11f373bb1da60762e098b8ee2dda96ef22"
"""SHA-256 of Princeton's archive, as two package collections (Homebrew, Nixpkgs) publish it."""

_TYPES = {"n": "n", "v": "v", "a": "as", "r": "r"}
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand: "galore(ip)"
_HEAD = re.compile(r"(\d{8}) \d\d ([nvasr]) ([0-9a-f]{2}) (.+)")
_PART = re.compile(r'(?:"[^"]*"|[^";])+|"[^"]*$')
_EXAMPLE = re.compile(r'"([^"]*)"?')
_DICT_FILE = re.compile(r"(?:[^/]+/)?dict/([A-Za-z][A-Za-z.]*)")
# What a folder of WordNet may hold, in any of its versions and distributions.
_WORDNET_FILE = re.compile(
    r"(?:data|index|cntlist|log|verb|sents|frames|sentidx)\.[A-Za-z0-9.]+|(?:adj|adv|noun|verb|cousin)\.[a-z]{3}"
    r"|cntlist|lexnames|LICENSE|COPYING|README"
)
_LICENCE = re.compile(r"(?:[^/]+/)?(?:dict/)?(LICENSE|COPYING)")
_OTHER_WAYS = "install Debian's wordnet-base instead, or point LIMBECK_WORDNET to a folder that has WordNet"
_MOST_BYTES = 1 << 28  # of the archive and of what comes out of it; Princeton's are 12 MB and 36 MB


class Synset(NamedTuple):
    """One concept: `offset` and `pos` (`n`, `v`, `a`, `r`) name it; lemmas have spaces, not underscores."""

    offset: int
    pos: str
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


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


def synsets(folder: Path, pos: str = "nvar") -> Iterator[Synset]:
    """Reads the synsets of the given parts of speech, in that order, one at a time.

    Args:
        folder: of `find_wordnet`.
        pos: letters of `nvar`.

    Raises:
        UserError: a data file of the set is missing, a line is damaged (names both), a file has no synset.
    """
    for letter in pos:
        if letter not in POS_FILES:
            raise UserError(f"unknown part of speech {letter!r}; WordNet has n, v, a and r")
    missing = [POS_FILES[letter] for letter in pos if not (folder / POS_FILES[letter]).is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}; install WordNet again or point LIMBECK_WORDNET elsewhere"
        )
    for letter in pos:
        yield from _read(folder / POS_FILES[letter], letter)


def _read(path: Path, pos: str) -> Iterator[Synset]:
    found = False
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.startswith(b"  "):
                continue
            synset = _parse(raw, pos)
            if synset is None:
                raise UserError(
                    f"{path}, line {number} is no line of a WordNet data file; install WordNet again"
                )
            found = True
            yield synset
    if not found:
        raise UserError(f"{path} has no synset in it; install WordNet again")


def _parse(raw: bytes, pos: str) -> Synset | None:
    """One line of a data file; None where it is not as the format has it, or cut short."""
    if not raw.endswith(b"\n"):
        return None
    try:
        head, bar, gloss = raw.decode("utf-8").partition("| ")
    except UnicodeDecodeError:
        return None
    match = _HEAD.fullmatch(head.rstrip())
    gloss = gloss.strip()
    if not bar or not match or match[2] not in _TYPES[pos] or not gloss or "\0" in gloss:
        return None
    count = int(match[3], 16)
    fields = match[4].split(" ")
    lemmas, behind = fields[: 2 * count : 2], fields[2 * count :]
    if count == 0 or len(lemmas) != count or not behind or not _pointers_and_frames(behind, pos):
        return None
    definition, examples = _split_gloss(gloss)
    names = tuple(_MARKER.sub("", lemma).replace("_", " ") for lemma in lemmas)
    return Synset(int(match[1]), pos, names, definition, examples)


def _pointers_and_frames(fields: list[str], pos: str) -> bool:
    """Whether this is a count of pointers, that many of four fields, and for verbs the frames."""
    if not fields[0].isdigit():
        return False
    rest = fields[1 + 4 * int(fields[0]) :]
    if len(fields) < 1 + 4 * int(fields[0]):
        return False
    if pos != "v" or not rest:
        return not rest
    return rest[0].isdigit() and len(rest) == 1 + 3 * int(rest[0])


def _split_gloss(gloss: str) -> tuple[str, tuple[str, ...]]:
    """Parts between semicolons: those that open with a quotation mark are examples, the rest the definition.

    What follows the quotation in its part (a source, as in `"…"- Shakespeare`) is left out. The first
    part is the definition whatever it opens with.
    """
    parts = [part.strip() for part in _PART.findall(gloss)]
    parts = [part for part in parts if part.strip('" ')] or [gloss]
    definition, examples = [parts[0]], []
    for part in parts[1:]:
        if part.startswith('"'):
            quoted = _EXAMPLE.match(part)
            assert quoted is not None
            if quoted[1].strip():
                examples.append(quoted[1].strip())
        else:
            definition.append(part)
    return "; ".join(definition), tuple(examples)


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
