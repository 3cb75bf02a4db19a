"""Machine paraphrase by synonyms: training and test sets for the detection of paraphrase (docs/spin.md).

    spinner = Spinner(open_lexicon(), rate=0.25)
    spun = spinner("The old car stopped at the bank of the river.")
    print(spun.text, spun.changes)

What it makes is synthetic, and marked so wherever labels are written. It reads worse than any person's or
language model's paraphrase, is recognised as easily, and is no way around a detector.

A paragraph's text, the seed, the rate, the lexicon and the model decide what becomes of it, wherever it
stands. The words changed at a smaller rate are among those changed at a larger one.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon
from limbeck.text.mixing import mix64
from limbeck.text.words import passage_hash
from limbeck.tools.inflect import starts_with_vowel_sound
from limbeck.tools.spin_places import Place, PlaceFinder
from limbeck.tools.spin_synonyms import Synonym, Synonyms
from limbeck.tools.spin_words import Shape

if TYPE_CHECKING:
    from limbeck.tools.spin_context import Ranker

LONGEST = 1 << 16
"""Characters of a paragraph, at most; a longer one is cut behind a line, or else behind white space."""

_SPACE = re.compile(r"(\s+)")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")


class Change(NamedTuple):
    """One replacement: characters `[start, end)` of the paragraph, and what stands there now.

    lemma, pos, synset, key: of the sense that the word was taken to have; empty where only *a* became *an*,
    or the reverse.
    """

    start: int
    end: int
    text: str
    replacement: str
    lemma: str
    pos: str
    synset: str
    key: str


class Spun(NamedTuple):
    """A paragraph with the white space behind it.

    start: of its first character in the whole text. original, text: before and after. words: runs of
    characters without white space that have a letter or digit. changeable, changed: how many of them could be
    changed, and were.
    """

    start: int
    original: str
    text: str
    changes: tuple[Change, ...]
    words: int
    changeable: int
    changed: int


class Spinner:
    """Replaces words of English texts by synonyms.

    Args:
        rate: share of all words that is to be changed: 0.25 is every fourth. Fewer are where fewer can be.
        ranker: a model that chooses among the synonyms; None: one of the likeliest by the lexicon is drawn.

    Raises:
        UserError: a rate outside (0, 1].
    """

    def __init__(
        self, lexicon: Lexicon, *, rate: float = 0.25, seed: int = 0, ranker: Ranker | None = None
    ) -> None:
        if not 0 < rate <= 1:
            raise UserError(f"rate is {rate}; it must be above 0 and at most 1; 0.25 is every fourth word")
        self.lexicon, self.rate, self.seed = lexicon, rate, seed
        self._ranker = ranker
        self._synonyms = Synonyms(lexicon, ranked=ranker is not None)
        self._places = PlaceFinder(lexicon, self._synonyms)
        self._state = mix64(np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF))

    def __call__(self, text: str) -> Spun:
        """A whole text, changed paragraph by paragraph.

        Raises:
            UserError: there is no word in it.
        """
        parts = list(self.stream([text]))
        if not any(part.words for part in parts):
            raise UserError("the text is empty; give it words")
        changes = tuple(
            one._replace(start=part.start + one.start, end=part.start + one.end)
            for part in parts
            for one in part.changes
        )
        return Spun(
            start=0,
            original=text,
            text="".join(part.text for part in parts),
            changes=changes,
            words=sum(part.words for part in parts),
            changeable=sum(part.changeable for part in parts),
            changed=sum(part.changed for part in parts),
        )

    def stream(self, chunks: Iterable[str]) -> Iterator[Spun]:
        """The paragraphs of one text that comes in chunks; it is never all in memory."""
        start = 0
        for paragraph in paragraphs(chunks):
            yield self.paragraph(paragraph, start)
            start += len(paragraph)

    def paragraph(self, text: str, start: int = 0) -> Spun:
        """One paragraph; `start` is only told."""
        parts = _SPACE.split(text)  # runs at even places, white space between them
        shapes = self._places.shapes(parts[::2])
        words = sum(one.word for one in shapes)
        places = self._places(shapes)
        offsets = [0, *accumulate(map(len, parts))][::2]
        if self._ranker is not None:
            places = self._ranker.of_sense(text, offsets, shapes, places, self._synonyms)
        if not places:
            return Spun(start, text, text, (), words, 0, 0)
        keys = self._keys(text, len(shapes))
        drawn = self._drawn(places, keys, words)
        if self._ranker is not None:
            chosen = self._ranker.best(text, offsets, shapes, drawn)
        else:
            chosen = [_draw(place.choice.synonyms, keys[place.first]) for place in drawn]
        changes = _replace(parts, shapes, offsets, drawn, chosen)
        changeable = sum(place.words for place in places)
        changed = sum(place.words for place in drawn)
        return Spun(start, text, "".join(parts), changes, words, changeable, changed)

    def _keys(self, text: str, count: int) -> list[int]:
        """A 64-bit number for each run of a paragraph, and one more for the paragraph itself."""
        state = mix64(self._state ^ np.uint64(passage_hash(text)))
        return [int(key) for key in mix64(state ^ mix64(np.arange(count + 1, dtype=np.uint64)))]

    def _drawn(self, places: Sequence[Place], keys: list[int], words: int) -> list[Place]:
        """The places that are changed, in order: as many words as the rate says, the likelier ones first.

        The draw is Efraimidis and Spirakis's ("Weighted random sampling with a reservoir", 2006) by the best
        synonyms' scores, so that a low rate leaves what is doubtful alone. The number is rounded up or
        down at random, so that the rate is right over many short paragraphs.
        """
        left = int(self.rate * words + keys[-1] / 2**64)
        drawn = []

        def turn(place: Place) -> float:
            return -log((keys[place.first] + 1) / 2**64) / place.choice.synonyms[0].score

        for place in sorted(places, key=turn):
            if place.words <= left:
                drawn.append(place)
                left -= place.words
            if not left:
                break
        return sorted(drawn)


@contextlib.contextmanager
def collecting_seldom() -> Iterator[None]:
    """Lets Python look for cycles of garbage only now and then.

    As more and more is remembered of words it would look at all of that again and again, a quarter of the
    time of the first million words; and spinning leaves no cycles. It is a setting of the whole process, so
    that a program that spins turns it on, and not `Spinner`.
    """
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def paragraphs(chunks: Iterable[str]) -> Iterator[str]:
    """The paragraphs of a text that comes in chunks, each with the blank lines behind it.

    All together are the text; where the chunks end does not matter. No more than a chunk and some `LONGEST`
    characters are in memory.
    """
    held = ""
    for chunk in chunks:
        held, done = held + chunk, 0
        while len(held) - done > LONGEST:
            cut = _end(held, done)
            yield held[done:cut]
            done = cut
        held = held[done:]
    done = 0
    while done < len(held):
        cut = _end(held, done)
        yield held[done:cut]
        done = cut


def _end(held: str, start: int) -> int:
    """Where the paragraph ends that begins at `start`; looks at no more than `LONGEST` characters."""
    most = start + LONGEST
    found = _BLANK_LINE.search(held, start, most)
    if found is not None and found.end() < most:
        return found.end()
    if len(held) <= most:
        return len(held)
    for mark in ("\n", " "):
        if (place := held.rfind(mark, start, most)) > start:
            return place + 1
    return most


def _draw(synonyms: Sequence[Synonym], key: int) -> Synonym:
    """One of them, by their scores and the lower half of a key, which takes no part in who is changed."""
    left = (key & 0xFFFF_FFFF) / 2**32 * sum(one.score for one in synonyms)
    for one in synonyms:
        left -= one.score
        if left < 0:
            return one
    return synonyms[-1]


def _replace(
    parts: list[str],
    shapes: Sequence[Shape],
    offsets: Sequence[int],
    places: Sequence[Place],
    chosen: Sequence[Synonym],
) -> tuple[Change, ...]:
    """Puts the synonyms into `parts` and mends the articles before them; what it changed, in order."""
    changes: list[Change] = []
    for place, synonym in zip(places, chosen, strict=True):
        first, last = shapes[place.first], shapes[place.last]
        head, tail = parts[2 * place.first], parts[2 * place.last]
        start, end = offsets[place.first] + first.start, offsets[place.last] + last.end
        new = synonym.text[:1].upper() + synonym.text[1:] if first.capital else synonym.text
        old = "".join(parts[2 * place.first : 2 * place.last + 1])
        old = old[first.start : len(old) - (len(tail) - last.end)]
        if place.first and not first.start:
            changes += _mended(parts, shapes, offsets, place.first - 1, old, new)
        parts[2 * place.first] = head[: first.start] + new + tail[last.end :]
        for at in range(2 * place.first + 1, 2 * place.last + 1):
            parts[at] = ""
        choice = place.choice
        changes.append(Change(start, end, old, new, choice.lemma, choice.pos, synonym.synset, synonym.key))
    return tuple(changes)


def _mended(
    parts: list[str], shapes: Sequence[Shape], offsets: Sequence[int], place: int, old: str, new: str
) -> Iterator[Change]:
    """Makes *a* of *an* and the reverse, where the word behind it has changed so."""
    one, run = shapes[place], parts[2 * place]
    if one.lower not in ("a", "an") or one.closed or not run:
        return
    vowel = starts_with_vowel_sound(new)
    if starts_with_vowel_sound(old) == vowel:
        return
    article = run[one.start : one.end]
    mended = article[0] + ("n" if vowel else "")
    if mended == article:  # it was wrong before, and is right now
        return
    parts[2 * place] = run[: one.start] + mended + run[one.end :]
    start = offsets[place] + one.start
    yield Change(start, start + len(article), article, mended, "", "", "", "")
