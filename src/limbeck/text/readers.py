"""What the recipe names as text, found: files, folders, patterns, addresses and WordNet (section 2)."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import UserError
from limbeck.files import cache_dir
from limbeck.lexicon.wordnet import POS_FILES, find_wordnet
from limbeck.text.documents import KINDS, Counts, OnError, file_documents, opened
from limbeck.text.remote import fetch, is_remote
from limbeck.text.wordnet_documents import wordnet_documents

WORDNET = "wordnet:"
_IN_FOLDERS = (".txt", *(f".txt{ending}" for ending in KINDS))
_POS_NAMES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r", "n": "n", "v": "v", "a": "a", "r": "r"}


@dataclass(frozen=True)
class Source:
    """One thing to read: a file, or parts of WordNet.

    `kind`: plain, zst, gz, xz, or wordnet (then `path` is its folder). `pattern` is what the user wrote;
    `pos` and `part` are for WordNet only.
    """

    path: Path
    kind: str
    pattern: str
    pos: str = ""
    part: str = ""

    @property
    def files(self) -> list[Path]:
        """The files behind it, in the order in which they are read."""
        return (
            [self.path / POS_FILES[letter] for letter in self.pos] if self.kind == "wordnet" else [self.path]
        )

    def documents(self, on_error: OnError, counts: Counts) -> Iterator[str]:
        """The documents, or pieces of at most `LONGEST` characters of longer ones, without outer white space.

        Raises:
            UserError: binary file, damaged compression, damaged WordNet; with `stop` also invalid UTF-8 or a
                run of more than `LONGEST` characters without white space.
        """
        if self.kind == "wordnet":
            return wordnet_documents(self.path, self.pos, self.part, counts)
        return file_documents(self.path, self.kind, on_error, counts)


def find_sources(patterns: Sequence[str], base: Path, label: str, cache: Path | None = None) -> list[Source]:
    """Turns what the user wrote into sources, in that order; files of a pattern or folder by their names.

    A file that two patterns name is taken once. `cache`: folder for what is fetched from elsewhere.

    Raises:
        UserError: nothing given, nothing found, not a plain file, a `wordnet:` that is not understood, what
            `remote.fetch` raises.
    """
    if not patterns:
        raise UserError(f"{label} names no text; give it files, folders, patterns or {WORDNET!r}")
    found: dict[Path | str, Source] = {}
    for pattern in patterns:
        if pattern.startswith(WORDNET):
            found.setdefault(pattern, _wordnet_source(pattern, label))
            continue
        remote = is_remote(pattern)
        paths = (
            fetch(pattern, cache or cache_dir() / "text", label) if remote else _matches(pattern, base, label)
        )
        for path in paths:
            kind = KINDS.get(path.suffix.lower(), "plain")
            found.setdefault(path.resolve(), Source(path, kind, pattern))
    return list(found.values())


def _matches(pattern: str, base: Path, label: str) -> list[Path]:
    place = base / Path(pattern).expanduser()
    if place.exists():
        matches = [place]
    elif glob.has_magic(str(place)):
        matches = [Path(name) for name in sorted(glob.glob(str(place), recursive=True))]
        if not matches:
            raise UserError(f"{label}: nothing matches {place}; correct the pattern")
    else:
        raise UserError(f"{label}: there is no {place}; correct the path (it starts at {base})")
    files = []
    for match in matches:
        if match.is_dir():
            files += sorted(path for path in match.rglob("*") if path.is_file() and _is_text(path, match))
        elif match.is_file():
            files.append(match)
        else:
            raise UserError(
                f"{label}: {match} is neither a file nor a folder; write its text to a file first"
            )
    if not files:
        raise UserError(f"{label}: no file in {place} ends in {', '.join(_IN_FOLDERS)}; rename or name them")
    return files


def _is_text(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.name.lower().endswith(_IN_FOLDERS)


def _wordnet_source(pattern: str, label: str) -> Source:
    names, _, part = pattern.removeprefix(WORDNET).partition("/")
    chosen = [name.strip() for name in names.split(",")] if names.strip() else list(POS_FILES)
    if part not in ("", "train", "valid") or any(name not in _POS_NAMES for name in chosen):
        raise UserError(
            f"{label}: {pattern!r} is not understood; write {WORDNET!r}, none or some of noun, verb, adj, "
            f"adv (with commas), then nothing, /train or /valid"
        )
    pos = "".join(dict.fromkeys(_POS_NAMES[name] for name in chosen))
    folder = find_wordnet()
    source = Source(folder, "wordnet", pattern, pos, part)
    for path in source.files:
        if not path.is_file():
            raise UserError(f"{label}: {folder} lacks {path.name}; install WordNet again")
    return source


def contents_digest(sources: Sequence[Source]) -> str:
    """SHA-256 of the bytes of all sources and of how they are read; their names do not matter."""
    digest = hashlib.sha256()
    group, before = 0, None  # what belongs to one pattern: each must have some text
    for source in sources:
        group += source.pattern != before
        before = source.pattern
        digest.update(f"\0{group}\0{source.kind}\0{source.pos}\0{source.part}\0".encode())
        for path in source.files:
            with opened(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
