"""Princeton's WordNet as a `Lexicon`: an index built once from the folder's own files.

Sense keys are derived from the data files (`senseidx(5WN)`: the lexicographer's file, the word's number in
it, and for satellites the first word of the head synset), sense numbers from the order in the `index.*`
files; so `index.sense`, which not every installation has, is not needed. Of two spellings of one word in one
synset ("Earth", "earth") the first one has the key, as there.

How often a sense was met in tagged text is read from `index.sense`, or else from `cntlist.rev`; without
either all frequencies are 0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from limbeck.errors import UserError
from limbeck.lexicon.index import IndexBuilder, IndexedLexicon, open_index
from limbeck.lexicon.lexicon import POS, Progress, fold
from limbeck.lexicon.wordnet_data import POS_FILES, Record, records

NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""Part of speech → how its files are called."""

INDEX_FILES = {pos: f"index.{name}" for pos, name in NAMES.items()}
EXCEPTION_FILES = {pos: f"{name}.exc" for pos, name in NAMES.items()}

_NEEDED = (*POS_FILES.values(), *INDEX_FILES.values(), *EXCEPTION_FILES.values())
_COUNTED = ("index.sense", "cntlist.rev")
_TYPE_NUMBERS = {"n": 1, "v": 2, "a": 3, "r": 4, "s": 5}
_VERSION = re.compile(rb"\bWordNet (\d+(?:\.\d+)*) Copyright")
_MARKERS = re.compile(r"\((?:a|p|ip)\)")  # cntlist.rev keeps them in the head words of satellites
_MEND = "install WordNet again"
_TOLD = 2048  # synsets between two reports of progress
_OFF = 0.01  # share of index.sense that may disagree with the other files before it is another version's


def open_wordnet(folder: Path, progress: Progress | None = None) -> IndexedLexicon:
    """Opens the WordNet in a folder; its index is in the cache, under the SHA-256 of all its files.

    Args:
        folder: with `data.*`, `index.*` and `*.exc` for noun, verb, adj and adv; of one version.
        progress: told the bytes of the data files done and in all while the index is built.

    Raises:
        UserError: a file is missing, damaged, cut short or of another version than the rest; each is named.
    """
    check_files(folder)
    digest = hashlib.sha256()
    for name in (*_NEEDED, *_COUNTED):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                digest.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return open_index(f"wordnet\0{digest.hexdigest()}", partial(_build, folder, progress))


def check_files(folder: Path) -> None:
    """Makes sure that a folder has all files of a WordNet.

    Raises:
        UserError: a file is missing; each is named.
    """
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}; {_MEND} or point LIMBECK_WORDNET elsewhere")


def _build(folder: Path, progress: Progress | None) -> IndexBuilder:
    exceptions = {pos: _exceptions(folder / name) for pos, name in EXCEPTION_FILES.items()}
    builder = IndexBuilder("wordnet", _version(folder), exceptions, rules=True)
    counts = _Counts(folder)
    sizes = [(folder / POS_FILES[pos]).stat().st_size for pos in POS]
    for number, pos in enumerate(POS):
        heads = _heads(folder) if pos == "a" else {}
        waiting: dict[tuple[str, int], tuple[str, int, int]] = {}
        for place, record in enumerate(records(folder, pos)):
            if progress is not None and place % _TOLD == 0:
                progress(sum(sizes[:number]) + record.offset, sum(sizes))
            lemmas = [word.replace("_", " ") for word in record.words]
            name = f"{pos}{record.offset:08d}"
            synset = builder.add_synset(name, record.definition, record.examples, lemmas)
            for word, key in enumerate(_keys(record, heads, folder)):
                waiting.setdefault((record.words[word].lower(), record.offset), (key, synset, word))
        for lemma, offset in _ordered(folder / INDEX_FILES[pos], pos):
            sense = waiting.pop((lemma, offset), None)
            if sense is None:
                raise _unequal(folder, INDEX_FILES[pos], POS_FILES[pos], lemma, offset)
            key, synset, word = sense
            builder.add_sense(lemma, pos, key, synset, word, counts.of(key, offset))
        if waiting:
            raise _unequal(folder, POS_FILES[pos], INDEX_FILES[pos], *next(iter(waiting)))
    counts.check()
    if progress is not None:
        progress(sum(sizes), sum(sizes))
    return builder


def _unequal(folder: Path, has: str, lacks: str, lemma: str, offset: int) -> UserError:
    return UserError(
        f"{lacks} of {folder} lacks {lemma!r} at {offset:08d}, which {has} has: it is cut short, or the "
        f"files are of two versions; {_MEND}"
    )


def _version(folder: Path) -> str:
    """The version that the licences of the data and index files name; empty if none does."""
    found: dict[str, str] = {}
    for name in (*POS_FILES.values(), *INDEX_FILES.values()):
        with (folder / name).open("rb") as file:
            match = _VERSION.search(file.read(4096))
        if match:
            found.setdefault(match[1].decode(), name)
    if len(found) > 1:
        told = " and ".join(f"{version} ({name})" for version, name in found.items())
        raise UserError(f"{folder} holds files of WordNet {told} together; {_MEND}")
    return next(iter(found), "")


def _heads(folder: Path) -> dict[int, str]:
    """For each head synset of adjectives what the sense keys of its satellites end in: "able:00"."""
    return {
        record.offset: f"{record.words[0].lower()}:{record.ids[0]:02d}"
        for record in records(folder, "a")
        if record.kind == "a"
    }


def _keys(record: Record, heads: dict[int, str], folder: Path) -> list[str]:
    """The sense keys of a synset's words, `senseidx(5WN)`."""
    tail: str | None = ":"
    if record.kind == "s":
        tail = heads.get(record.head) if record.head is not None else None
    if tail is None:
        raise UserError(
            f"{POS_FILES['a']} of {folder} has a satellite at {record.offset:08d} without its head: it is "
            f"damaged; {_MEND}"
        )
    number = _TYPE_NUMBERS[record.kind]
    return [
        f"{word.lower()}%{number}:{record.file}:{own:02d}:{tail}"
        for word, own in zip(record.words, record.ids, strict=True)
    ]


def _ordered(path: Path, pos: str) -> Iterator[tuple[str, int]]:
    """Lemmas (with underscores) of an `index.*` file, each with its synsets' offsets in sense order."""
    for number, fields in _lines(path):
        try:
            offsets = [int(field) for field in fields[6 + int(fields[3]) :]]
            sound = fields[1] == pos and len(offsets) == int(fields[2]) > 0
        except (IndexError, ValueError):
            sound = False
        if not sound:
            raise _damaged(path, number)
        for offset in offsets:
            yield fields[0], offset


def _exceptions(path: Path) -> dict[str, list[str]]:
    """Irregular form → base forms, folded, in the file's order."""
    found: dict[str, list[str]] = {}
    for number, fields in _lines(path):
        if len(fields) < 2:
            raise _damaged(path, number)
        form, *bases = (fold(field) for field in fields)
        found.setdefault(form, []).extend(bases)
    return found


class _Counts:
    """How often senses were met in tagged text, from `index.sense`, else from `cntlist.rev`, else 0."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[str, int] = {}
        self._offsets: dict[str, int] | None = None
        self._asked = self._off = 0
        name = next((name for name in _COUNTED if (folder / name).is_file()), None)
        if name is None:
            return
        if name == "index.sense":
            self._offsets = {}
        for number, fields in _lines(folder / name):
            try:
                key, middle, last = fields[0], int(fields[1]), int(fields[-1])
                sound = len(fields) == (3 if self._offsets is None else 4) and last >= 0
            except (IndexError, ValueError):
                sound = False
            if not sound:
                raise _damaged(folder / name, number)
            self._counts[_MARKERS.sub("", key)] = last
            if self._offsets is not None:
                self._offsets[key] = middle

    def of(self, key: str, offset: int) -> int:
        """Count of a sense, whose synset stands at `offset`."""
        self._asked += 1
        self._off += self._offsets is not None and self._offsets.get(key) != offset
        return self._counts.get(key, 0)

    def check(self) -> None:
        """Refuses an `index.sense` of another WordNet, after all senses were asked for."""
        if self._off > _OFF * self._asked:
            raise UserError(
                f"index.sense of {self._folder} lacks or misplaces {self._off:,} of {self._asked:,} senses "
                f"of the data files: it is cut short, or of another version; {_MEND}, or delete index.sense, "
                f"which is not needed"
            )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of an ASCII table as their fields, with their numbers; not those of the licence.

    Raises:
        UserError: a line is no text, or the last one is cut short.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.startswith(b"  "):
                continue
            try:
                fields = raw.decode("utf-8").split()
            except UnicodeDecodeError:
                fields = []
            if not raw.endswith(b"\n") or not fields:
                raise _damaged(path, number)
            yield number, fields


def _damaged(path: Path, number: int) -> UserError:
    return UserError(f"{path}, line {number} is damaged or cut short; {_MEND}")
