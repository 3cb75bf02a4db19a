"""Raw text → passages, once: cut by words, no duplicates, kept as a memory-mapped Arrow file (section 2).

A passage never crosses a document and is cut by words, never by a tokenizer. It starts at its first word
and ends behind its last one; inside it is the document's text as it stands.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.files import atomic_folder
from limbeck.text.documents import Counts, OnError
from limbeck.text.passages import LONGEST_PASSAGE, ROWS, Writer, cut
from limbeck.text.readers import Source, contents_digest, find_sources
from limbeck.text.words import WORD_RULE_VERSION

FORMAT_VERSION = 1
"""Version of the files and of the way from text to passages, other than the word rule."""

_CHARACTERS = 1 << 20  # of documents that are cut together
_FILE, _ABOUT = "passages.arrow", "corpus.json"
_log = logging.getLogger("limbeck")

Progress = Callable[[int, int], None]
"""Called with the bytes of the sources that are done and with those in all."""


@dataclass(frozen=True)
class CorpusStats:
    """What became of the text.

    Documents; passages kept and their words; passages dropped as exact duplicates or as shorter than
    `min_words`; lines dropped because they are not UTF-8, and runs dropped as far too long.
    """

    documents: int
    passages: int
    words: int
    duplicates: int
    too_short: int
    bad_lines: int


class Corpus:
    """Passages on disk, memory-mapped. Can be sent to another process, which maps the same file."""

    def __init__(self, folder: Path) -> None:
        """Opens what `build_corpus` made in `folder`."""
        import pyarrow as pa

        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        self.folder = folder
        self.fingerprint: str = about["fingerprint"]
        self.stats = CorpusStats(**about["stats"])
        reader = pa.ipc.open_file(pa.memory_map(str(folder / _FILE)))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._texts = [batch.column(0) for batch in self._batches]

    def __len__(self) -> int:
        return self.stats.passages

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path]]:
        return Corpus, (self.folder,)

    def text(self, index: int) -> str:
        """The passage at `index`, 0 to `len(self) - 1`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        batch, row = divmod(index, ROWS)
        return str(self._texts[batch][row].as_py())

    def texts(self, indices: Iterable[int]) -> list[str]:
        """The passages at `indices`, in that order."""
        return [self.text(int(index)) for index in indices]

    @functools.cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """uint64 [N]: `passage_hash` of every passage."""
        return self._numbers(1, np.uint64)

    @functools.cached_property
    def n_words(self) -> npt.NDArray[np.int64]:
        """int64 [N]: words of every passage."""
        return self._numbers(2, np.int64)

    def _numbers(self, column: int, kind: type[Any]) -> npt.NDArray[Any]:
        parts = [batch.column(column).to_numpy() for batch in self._batches]
        return np.concatenate(parts).astype(kind, copy=False)


def build_corpus(
    patterns: Sequence[str],
    *,
    base: Path,
    words: int,
    min_words: int,
    on_error: OnError,
    cache: Path,
    label: str,
    progress: Progress | None = None,
) -> Corpus:
    """Reads text into passages, or opens what an earlier call made of the same text with the same settings.

    Args:
        patterns: files, folders, patterns, compressed files (.zst .gz .xz), addresses and datasets
            (text/remote.py), or `wordnet:` with parts of speech and `/train` or `/valid`, such as
            `wordnet:verb,adj/valid`.
        base: folder that relative patterns start at.
        words: most words of a passage, up to 60,000. A passage has at most 60,000 characters as well.
        min_words: passages of fewer words are dropped and counted.
        on_error: `stop` at a line that is not UTF-8 or a run without white space that is far too long, or
            `skip` and count it.
        cache: folder to keep corpora in, one folder per fingerprint.
        label: where the patterns were given, for messages: `text.train`.

    Raises:
        UserError: no text there, text that cannot be read (see `readers`), no passage long enough, full disk.
    """
    assert 1 <= min_words <= words <= LONGEST_PASSAGE
    sources = find_sources(patterns, base, label, cache)
    settings = [FORMAT_VERSION, WORD_RULE_VERSION, words, min_words, on_error, contents_digest(sources)]
    fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    folder = cache / f"corpus-{fingerprint[:20]}"
    if _is_whole(folder, fingerprint):
        return Corpus(folder)
    with atomic_folder(folder) as temporary:
        stats = _write(sources, temporary / _FILE, words, min_words, on_error, label, progress)
        size = (temporary / _FILE).stat().st_size
        about = {"fingerprint": fingerprint, "bytes": size, "words_at_most": words, "min_words": min_words}
        about |= {"sources": [source.pattern for source in sources], "stats": asdict(stats)}
        (temporary / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Corpus(folder)


def corpus_of(documents: Iterable[str], content: str, *, words: int, min_words: int, cache: Path) -> Corpus:
    """Passages of documents that are made on the way, or what an earlier call with the same `content` made.

    Args:
        content: tells the documents apart from all others, such as a fingerprint of what they are made of.
        words, min_words, cache: as in `build_corpus`.

    Raises:
        UserError: no passage is long enough, full disk.
    """
    settings = [FORMAT_VERSION, WORD_RULE_VERSION, words, min_words, "made", content]
    fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    folder = cache / f"corpus-{fingerprint[:20]}"
    if _is_whole(folder, fingerprint):
        return Corpus(folder)
    number = 0
    with atomic_folder(folder) as temporary:
        with Writer(temporary / _FILE) as writer:
            for together in _grouped(documents):
                number += len(together)
                writer.add(*cut(together, words), min_words)
        if writer.passages == 0:
            raise UserError(f"no text has {min_words} words; give more text")
        stats = CorpusStats(number, writer.passages, writer.words, writer.duplicates, writer.too_short, 0)
        about = {"fingerprint": fingerprint, "bytes": (temporary / _FILE).stat().st_size}
        (temporary / _ABOUT).write_text(json.dumps(about | {"stats": asdict(stats)}) + "\n", encoding="utf-8")
    return Corpus(folder)


def overlap(a: Corpus, b: Corpus) -> int:
    """How many passages of `a` stand in `b` as well, word for word."""
    return int(np.isin(a.hashes, b.hashes).sum())


def _is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` holds the corpus of `fingerprint`, none of it cut off since."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if about["fingerprint"] == fingerprint and (folder / _FILE).stat().st_size == about["bytes"]:
            return True
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            return False
    except (ValueError, KeyError, TypeError):
        _log.info("%s in %s cannot be read", _ABOUT, folder)
    _log.warning("%s is damaged; it is made again", folder)
    return False


def _write(
    sources: Sequence[Source],
    path: Path,
    words: int,
    min_words: int,
    on_error: OnError,
    label: str,
    progress: Progress | None,
) -> CorpusStats:
    total = sum(file.stat().st_size for source in sources for file in source.files)
    counts = Counts()
    with Writer(path) as writer:
        for pattern, group in itertools.groupby(sources, key=lambda source: source.pattern):
            before, members = counts.documents, list(group)
            documents = (text for source in members for text in source.documents(on_error, counts))
            for together in _grouped(documents):
                writer.add(*cut(together, words), min_words)
                if progress is not None:
                    progress(min(counts.done_bytes, total), total)
            if counts.documents == before:
                empty = all(file.stat().st_size == 0 for source in members for file in source.files)
                what = "is empty" if empty else "has nothing but white space"
                if counts.bad_lines and not empty:
                    what = "has no line that is valid UTF-8 text and not far too long"
                raise UserError(f"{label}: {pattern} {what}; give it text")
    if writer.passages == 0:
        raise UserError(f"{label}: no passage has {min_words} words; give more text or lower text.min_words")
    if progress is not None:
        progress(total, total)
    return CorpusStats(
        documents=counts.documents,
        passages=writer.passages,
        words=writer.words,
        duplicates=writer.duplicates,
        too_short=writer.too_short,
        bad_lines=counts.bad_lines,
    )


def _grouped(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents in lists of about a million characters, to make what is done per list cheap."""
    group: list[str] = []
    size = 0
    for document in documents:
        group.append(document)
        size += len(document)
        if size >= _CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group
