"""Raw text, streamed: files, folders, patterns, compressed files and WordNet, as documents (section 2).

A document is a run of lines that are not blank. Nothing here holds more than a few million characters at
a time, whatever the size of the file or of its lines.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

from limbeck.errors import UserError
from limbeck.files import cache_dir
from limbeck.lexicon.wordnet import POS_FILES, Synset, find_wordnet, synsets
from limbeck.text.remote import fetch, is_remote

OnError = Literal["stop", "skip"]
"""What is done about a line that is not valid UTF-8, and about a run of more than `LONGEST` characters
without white space: an error, or it is dropped and counted."""

BLOCK = 1 << 20
"""Bytes read at once."""

LONGEST = 1_000_000
"""Most characters of a piece of a document; a longer document is cut at white space."""

WORDNET = "wordnet:"
VALID_SHARE = 20
"""One synset in so many is held out as WordNet's valid part."""

_KINDS = {".zst": "zst", ".gz": "gz", ".xz": "xz"}
_IN_FOLDERS = (".txt", *(f".txt{ending}" for ending in _KINDS))
_SPACE = re.compile(r"\s")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_POS_NAMES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r", "n": "n", "v": "v", "a": "a", "r": "r"}


@dataclass
class Counts:
    """What was met while reading: documents, dropped lines and endless runs, bytes of files.

    The bytes are those that lie on disk.
    """

    documents: int = 0
    bad_lines: int = 0
    done_bytes: int = 0


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
            return _wordnet_documents(self, counts)
        return _split(_decoded(self.path, self.kind, on_error, counts), self.path, on_error, counts)


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
            kind = _KINDS.get(path.suffix.lower(), "plain")
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
            with _opened(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _reader(file: IO[bytes], kind: str) -> Callable[[int], bytes]:
    """`read(size)` of the unpacked bytes. Arrow reads zstd, because it tells when a file is cut short."""
    if kind == "zst":
        import pyarrow as pa

        stream: Any = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return lambda size: bytes(stream.read(size))
    if kind == "gz":
        return gzip.GzipFile(fileobj=file).read
    return lzma.LZMAFile(file).read if kind == "xz" else file.read


def _blocks(path: Path, kind: str, counts: Counts) -> Iterator[bytes]:
    """Unpacked bytes in blocks that end behind a line; inside one only where it is longer than a block."""
    carry = b""
    with _opened(path) as file:
        start = counts.done_bytes
        try:
            read = _reader(file, kind)
            while block := read(BLOCK):
                if b"\0" in block:
                    raise UserError(f"{path} is not UTF-8 text (NUL bytes in it); save it as UTF-8 text")
                counts.done_bytes = start + file.tell()
                carry += block
                cut = carry.rfind(b"\n") + 1 or _character_boundary(carry)
                yield carry[:cut]
                carry = carry[cut:]
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(f"cannot read {path}: {error.strerror}") from error
            raise UserError(f"{path} is damaged or no .{kind} file ({error}); make it again") from error
    yield carry


def _character_boundary(block: bytes) -> int:
    """Length of `block` without a last character that may be cut, or that is half of a line end."""
    for back in range(1, min(4, len(block)) + 1):
        if block[-back] & 0xC0 != 0x80:  # the first byte of a character
            whole = block[-back] < 0x80 and block[-back] != 0x0D
            return len(block) if whole else len(block) - back
    return len(block)


def _decoded(path: Path, kind: str, on_error: OnError, counts: Counts) -> Iterator[tuple[int, str]]:
    """Text with line feeds for line ends, each block with the number of line ends before it."""
    offset = lines = 0
    for block in _blocks(path, kind, counts):
        begin = 3 if offset == 0 and block.startswith(b"\xef\xbb\xbf") else 0
        try:
            text = block[begin:].decode()
        except UnicodeDecodeError as error:
            if on_error == "stop":
                raise UserError(
                    f"{path}: the byte at {offset + begin + error.start} is not valid UTF-8; save it as "
                    f'UTF-8, or drop such lines with text.on_error = "skip"'
                ) from error
            text = _without_bad_lines(block[begin:], counts)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield lines, text
        offset += len(block)
        lines += block.count(b"\n")


def _without_bad_lines(block: bytes, counts: Counts) -> str:
    good = []
    for line in block.split(b"\n"):
        try:
            good.append(line.decode())
        except UnicodeDecodeError:
            counts.bad_lines += 1
    return "\n".join(good)


def _split(blocks: Iterator[tuple[int, str]], path: Path, on_error: OnError, counts: Counts) -> Iterator[str]:
    """Cuts text into documents at blank lines, and those of more than `LONGEST` characters at white space."""
    rest, begun = "", False  # what is not yet given out of a document, and whether a piece of it was
    dropping = False  # whether the run being dropped goes on in the next block
    for lines, text in blocks:
        if dropping:
            dropping, text = _behind_run(text)
        buffer, first_line = rest + text, lines + 1 - rest.count("\n")
        *whole, last = _BLANK_LINES.split(buffer)
        for part, ends in [*((part, True) for part in whole), (last, False)]:
            pieces, rest = _cut(part.lstrip())
            while len(rest) > LONGEST:
                if on_error == "stop":
                    line = first_line + buffer.count("\n", 0, buffer.find(rest))
                    raise UserError(
                        f"{path}, line {line}: more than {LONGEST:,} characters without white space, so this "
                        f"is no text; take the file out, break the line, or drop it with text.on_error = "
                        f'"skip"'
                    )
                counts.bad_lines += 1
                endless, rest = _behind_run(rest)
                dropping = endless and not ends
                more, rest = _cut(rest.lstrip())
                pieces += more
            if ends:
                pieces.append(rest.rstrip())
                rest = ""
            for piece in filter(None, pieces):
                counts.documents += not begun
                begun = True
                yield piece
            begun = begun and not ends
    if rest := rest.rstrip():
        counts.documents += not begun
        yield rest


def _behind_run(text: str) -> tuple[bool, str]:
    """Whether `text` has no white space, and what it has from its first white space on."""
    found = _SPACE.search(text)
    return found is None, text[found.start() :] if found else ""


def _cut(document: str) -> tuple[list[str], str]:
    """Pieces of at most `LONGEST` characters, and the rest: longer only where it has no white space."""
    pieces = []
    while len(document) > LONGEST:
        cut = LONGEST
        if not (document[cut - 1].isspace() or document[cut].isspace()):
            head = document[:LONGEST].rsplit(maxsplit=1)
            if len(head) == 1:
                break
            cut -= len(head[1])
        pieces.append(document[:cut].rstrip())
        document = document[cut:].lstrip()
    return pieces, document


def synset_document(synset: Synset) -> str:
    """A synset as one line: its lemmas, its definition, its examples; the letters' case is WordNet's own."""
    sentences = [f"{', '.join(synset.lemmas)}: {synset.definition}", *synset.examples]
    return " ".join(text if text[-1] in ".!?" else f"{text}." for text in sentences)


def is_valid_synset(synset: Synset) -> bool:
    """Whether a synset is held out, by the hash of its part of speech and offset."""
    return is_held_out(f"{synset.pos}{synset.offset:08d}")


def is_held_out(synset: str) -> bool:
    """The same for a synset's name, such as `n00001740`."""
    key = hashlib.blake2b(synset.encode(), digest_size=8).digest()
    return int.from_bytes(key, "little") % VALID_SHARE == 0


def _wordnet_documents(source: Source, counts: Counts) -> Iterator[str]:
    for letter, path in zip(source.pos, source.files, strict=True):
        for synset in synsets(source.path, letter):
            if source.part == "" or is_valid_synset(synset) == (source.part == "valid"):
                counts.documents += 1
                yield synset_document(synset)
        counts.done_bytes += path.stat().st_size
