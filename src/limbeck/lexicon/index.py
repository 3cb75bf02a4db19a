"""A lexicon's index on disk: built once from any kind of lexicon, then mapped into memory and read in place.

One file of plain arrays and text behind each other, and a `meta.json` that says where each begins. Opening
it reads nothing but the latter, lookups touch a few pages, and processes share them. Words and keys are found
by bisecting their sorted CRC-32 sums; the text itself is compared, so equal sums do no harm.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from zlib import crc32

from limbeck.files import atomic_folder, cache_dir
from limbeck.lexicon.lexicon import POS, Sense, fold, pos_letters
from limbeck.lexicon.morphy import Exceptions, Morphy

FORMAT = f"1-{sys.byteorder}"
"""Of the file; another one is another folder in the cache."""

_LETTERS = tuple("".join(POS[i] for i in range(4) if mask >> i & 1) for mask in range(16))
_ALIGN = 8
_RECENT_WORDS = 1 << 14  # words whose parts of speech are remembered
_RECENT_SENSES = 1 << 12  # lemmas whose senses are


class IndexBuilder:
    """Takes in a lexicon, synsets first, and writes its index.

    `rules`: whether Morphy's rules of English apply to its forms.
    """

    def __init__(self, name: str, version: str, exceptions: Exceptions, *, rules: bool) -> None:
        self._about = {"name": name, "version": version, "rules": rules, "exceptions": exceptions}
        self._synsets, self._ends = bytearray(), array("I", [0])
        self._senses: list[tuple[str, int, int, bytes, int, int, int]] = []
        self._seen: dict[tuple[str, str], int] = {}

    def add_synset(
        self, identity: str, definition: str, examples: Sequence[str], lemmas: Sequence[str]
    ) -> int:
        """Adds a synset; returns its number. White space in its texts becomes single spaces."""
        members = "\t".join(map(_line, lemmas))
        texts = [_line(identity), _line(definition), members, *map(_line, examples)]
        self._synsets += "\n".join(texts).encode()
        self._ends.append(len(self._synsets))
        return len(self._ends) - 2

    def add_sense(self, lemma: str, pos: str, key: str, synset: int, word: int, frequency: int) -> None:
        """Adds a sense behind those of the same lemma (folded here) and part of speech.

        Args:
            synset: its number.
            word: which of the synset's lemmas it is, from 0.
        """
        lemma = fold(lemma)
        rank = self._seen.get((lemma, pos), 0)
        self._seen[lemma, pos] = rank + 1
        self._senses.append((lemma, POS.index(pos), rank, key.encode(), synset, word, frequency))

    def write(self, folder: Path) -> None:
        """Writes `index` and `meta.json` into `folder`."""
        self._senses.sort()
        lemmas = sorted({sense[0] for sense in self._senses})
        rows = {lemma: row for row, lemma in enumerate(lemmas)}
        counts, masks = array("I", bytes(16 * len(lemmas))), bytearray(len(lemmas))
        for lemma, pos, *_ in self._senses:
            counts[4 * rows[lemma] + pos] += 1
            masks[rows[lemma]] |= 1 << pos
        sections: dict[str, array[int] | bytearray] = {
            **_text_sections("lemma", [lemma.encode() for lemma in lemmas]),
            "lemma_pos": masks,
            "first": array("I", accumulate(counts, initial=0)),
            **_text_sections("key", [sense[3] for sense in self._senses]),
            "sense_synset": array("I", (sense[4] for sense in self._senses)),
            "sense_word": array("H", (sense[5] for sense in self._senses)),
            "sense_frequency": array("I", (sense[6] for sense in self._senses)),
            "synset_start": self._ends,
            "synset_text": self._synsets,
        }
        longest = max((lemma.count(" ") + 1 for lemma in lemmas), default=0)
        meta: dict[str, Any] = {**self._about, "longest": longest}
        digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
        places, size = {}, 0
        with (folder / "index").open("wb") as file:
            for name, content in sections.items():
                code = content.typecode if isinstance(content, array) else "B"
                raw = content.tobytes() if isinstance(content, array) else bytes(content)
                places[name] = [size, len(raw), code]
                padded = raw + bytes(-len(raw) % _ALIGN)
                size += file.write(padded)
                digest.update(padded)
        meta |= {"fingerprint": digest.hexdigest(), "sections": places, "bytes": size}
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _line(text: str) -> str:
    return " ".join(text.split())


def _encoded(text: str) -> bytes:
    """UTF-8, also of half a surrogate pair, which no lexicon has but a text may."""
    return text.encode("utf-8", "surrogatepass")


def _text_sections(name: str, texts: Sequence[bytes]) -> dict[str, array[int] | bytearray]:
    """The texts one behind the other, where each starts, their sums in order, and whose each sum is."""
    sums = [crc32(text) for text in texts]
    order = sorted(range(len(texts)), key=sums.__getitem__)
    return {
        f"{name}_start": array("I", accumulate(map(len, texts), initial=0)),
        f"{name}_text": bytearray().join(texts),
        f"{name}_hash": array("I", (sums[row] for row in order)),
        f"{name}_row": array("I", order),
    }


def open_index(key: str, build: Callable[[], IndexBuilder]) -> IndexedLexicon:
    """The lexicon kept in the cache under `key`; built first where it is not there, or is not whole.

    Raises:
        UserError: of building, or the cache cannot be written.
    """
    folder = cache_dir() / "lexicons" / hashlib.sha256(f"{FORMAT}\0{key}".encode()).hexdigest()[:32]
    if not _is_whole(folder):
        builder = build()
        with atomic_folder(folder) as temporary:
            builder.write(temporary)
    return IndexedLexicon(folder)


def _is_whole(folder: Path) -> bool:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return (folder / "index").stat().st_size == int(meta["bytes"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False  # it is made again


class _Texts:
    """Numbered texts of an index; `find` needs the sections of their sums."""

    __slots__ = ("_base", "_map", "_rows", "_starts", "_sums")

    def __init__(
        self, mapped: mmap.mmap, sections: Mapping[str, memoryview[int]], base: int, name: str
    ) -> None:
        self._map, self._base, self._starts = mapped, base, sections[f"{name}_start"]
        self._sums, self._rows = sections.get(f"{name}_hash"), sections.get(f"{name}_row")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, row: int) -> bytes:
        base, starts = self._base, self._starts
        return self._map[base + starts[row] : base + starts[row + 1]]

    def find(self, text: bytes) -> int:
        """Number of a text, or -1."""
        sums, rows = self._sums, self._rows
        assert sums is not None and rows is not None
        wanted = crc32(text)
        place = bisect_left(sums, wanted)
        while place < len(sums) and sums[place] == wanted:
            if self[rows[place]] == text:
                return rows[place]
            place += 1
        return -1


class IndexedLexicon:
    """A `Lexicon` (see there) read from its index. May be sent to another process, which maps it anew."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        with (folder / "index").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        whole = memoryview(mapped)
        places = meta["sections"]
        sections = {n: whole[start : start + size].cast(code) for n, (start, size, code) in places.items()}
        self.name: str = meta["name"]
        self.version: str = meta["version"]
        self.fingerprint: str = meta["fingerprint"]
        self.longest_lemma: int = meta["longest"]
        self.exceptions: Exceptions = meta["exceptions"]
        self._folder = folder
        self._lemmas, self._keys, self._synsets = (
            _Texts(mapped, sections, places[f"{name}_text"][0], name) for name in ("lemma", "key", "synset")
        )
        self._lemma_pos, self._first = sections["lemma_pos"], sections["first"]
        self._synset, self._word = sections["sense_synset"], sections["sense_word"]
        self._frequency = sections["sense_frequency"]
        self._recent = lru_cache(maxsize=_RECENT_SENSES)(self._senses)
        known = lru_cache(maxsize=_RECENT_WORDS)(self._parts_of_speech)
        self._morphy = Morphy(known, self.exceptions, rules=meta["rules"])

    def __reduce__(self) -> tuple[type[IndexedLexicon], tuple[Path]]:
        return IndexedLexicon, (self._folder,)

    def __repr__(self) -> str:
        return f"<lexicon {self.name} {self.version}: {len(self._keys):,} senses>"

    def senses(self, lemma: str, pos: str | None = None) -> tuple[Sense, ...]:
        """Senses of a lemma, as in `Lexicon`."""
        return self._recent(fold(lemma), pos_letters(pos))

    def sense(self, key: str) -> Sense | None:
        """The sense of a key, as in `Lexicon`."""
        place = self._keys.find(_encoded(key))
        if place < 0:
            return None
        group = bisect_right(self._first, place) - 1
        return next(self._made(place, place + 1, group))

    def base_forms(self, form: str, pos: str | None = None) -> tuple[tuple[str, str], ...]:
        """What a form may be a form of, as in `Lexicon`."""
        return self._morphy(form, pos)

    def keys(self) -> Iterator[str]:
        """Keys of all senses, as in `Lexicon`."""
        for place in range(len(self._keys)):
            yield self._keys[place].decode()

    def _senses(self, lemma: str, letters: str) -> tuple[Sense, ...]:
        row = self._lemmas.find(_encoded(lemma))
        if row < 0:
            return ()
        found: list[Sense] = []
        for letter in letters:
            group = 4 * row + POS.index(letter)
            found += self._made(self._first[group], self._first[group + 1], group)
        return tuple(found)

    def _made(self, low: int, high: int, group: int) -> Iterator[Sense]:
        """Senses numbered from `low` up to `high`, all of one lemma and part of speech, its `group`."""
        pos, before = POS[group % 4], self._first[group] - 1
        keys, synsets, synset_of = self._keys, self._synsets, self._synset
        for place in range(low, high):
            identity, gloss, members, *examples = synsets[synset_of[place]].decode().split("\n")
            lemmas = tuple(members.split("\t"))
            lemma, key = lemmas[self._word[place]], keys[place].decode()
            yield Sense(
                key,
                identity,
                lemma,
                pos,
                place - before,
                gloss,
                tuple(examples),
                lemmas,
                self._frequency[place],
            )

    def _parts_of_speech(self, lemma: str) -> str:
        row = self._lemmas.find(_encoded(lemma))
        return _LETTERS[self._lemma_pos[row]] if row >= 0 else ""
