"""Where in a paragraph a word, or an expression of several, could be changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from limbeck.lexicon.lexicon import Lexicon
from limbeck.tools.spin_synonyms import Choice, Synonyms
from limbeck.tools.spin_words import ENDS, NONE, TRANSPARENT, Shape, shape

_NOTHING: dict[str, int] = {}
_NO_WORD: dict[str, dict[str, int]] = {}
_RECENT = 1 << 18  # runs, words and questions that are remembered


class Place(NamedTuple):
    """A word, or several, that could be changed: runs `[first, last]` of the paragraph.

    form: in lower case. left, right: what its neighbours tell.
    """

    first: int
    last: int
    form: str
    left: int
    right: int
    choice: Choice

    @property
    def words(self) -> int:
        """How many."""
        return self.last - self.first + 1


class PlaceFinder:
    """Finds the words of paragraphs that could be changed.

    Left alone are function words and the like (`spin_words.KEPT`), words with a capital inside a sentence,
    and at its start where they may be a name, acronyms, and whatever is more than letters. The words of an
    expression ("high school") are changed together or not at all.
    """

    def __init__(self, lexicon: Lexicon, synonyms: Synonyms) -> None:
        self._lexicon, self._synonyms = lexicon, synonyms
        self._follow = _expressions(lexicon.keys())
        self._shapes: dict[str, Shape] = {}
        self._choices: dict[tuple[str, int, int], Choice | None] = {}
        self._bases = lru_cache(maxsize=_RECENT)(synonyms.base_words)
        self._nexts: dict[str, dict[str, dict[str, int]]] = {}
        self._expressions: dict[str, bool] = {}
        self._name: dict[str, bool] = {}

    def shapes(self, runs: Iterable[str]) -> list[Shape]:
        """What the runs of a paragraph are."""
        if len(self._shapes) > _RECENT:
            self._shapes.clear()
        known, found = self._shapes, []
        for run in runs:
            one = known.get(run)
            if one is None:
                one = known[run] = shape(run)
            found.append(one)
        return found

    def __call__(self, shapes: Sequence[Shape]) -> list[Place]:
        """The words of a paragraph that could be changed, from left to right."""
        for memory in (self._choices, self._nexts, self._expressions, self._name):
            if len(memory) > _RECENT:
                memory.clear()
        found: list[Place] = []
        names: frozenset[str] | None = None
        begins, left, place, count = True, NONE, 0, len(shapes)
        while place < count:
            one = shapes[place]
            if one.start == one.end:
                begins, left = (begins and not one.word) or one.ends, NONE
                place += 1
                continue
            last = self._reach(shapes, place)
            following = shapes[last + 1] if last + 1 < count else None
            plain = one.plain
            if begins and one.capital:
                names = _names(shapes) if names is None else names
                before_name = following is not None and following.capital
                plain = not (before_name or one.lower in names or self._is_name(one.lower))
            if plain and (last == place or all(other.plain for other in shapes[place + 1 : last + 1])):
                form = one.lower if last == place else _phrase(shapes, place, last)
                right = ENDS if following is None or shapes[last].closed else following.right
                before = NONE if one.start else left
                choice = self._choice(form, before, right)
                if choice is not None:
                    found.append(Place(place, last, form, before, right, choice))
            if one.lower not in TRANSPARENT or one.closed:
                left = shapes[last].left
            begins = shapes[last].ends
            place = last + 1
        return found

    def _choice(self, form: str, left: int, right: int) -> Choice | None:
        key = (form, left, right)
        if key not in self._choices:
            self._choices[key] = self._synonyms.choose(form, left, right)
        return self._choices[key]

    def _reach(self, shapes: Sequence[Shape], place: int) -> int:
        """The last run of the longest expression that begins at `place`; `place` itself if none does."""
        one = shapes[place]
        known = self._nexts.get(one.lower)
        if known is None:
            begins = any(base in self._follow for base in self._bases(one.lower))
            known = self._nexts[one.lower] = {} if begins else _NO_WORD
        if known is _NO_WORD or one.closed or place + 1 == len(shapes):
            return place
        second = shapes[place + 1]
        thirds = known.get(second.lower)
        if thirds is None:
            thirds = known[second.lower] = self._thirds(one.lower, second.lower)
        if not thirds or second.start or not second.end:
            return place
        longest = thirds.get("", 0)
        if len(thirds) > 1 - (not longest) and place + 2 < len(shapes) and not second.closed:
            for base in self._bases(shapes[place + 2].lower):
                longest = max(longest, thirds.get(base, 0))
        last, most = place + (longest > 1), min(len(shapes), place + longest) - 1
        while last < most and not shapes[last].closed and shapes[last + 1].end and not shapes[last + 1].start:
            last += 1
        while last > place and not self._is_expression(_phrase(shapes, place, last)):
            last -= 1
        return last

    def _thirds(self, first: str, second: str) -> dict[str, int]:
        """Third words of the lemmas that begin with forms of these two → words of the longest of them.

        The third word of a lemma of two is empty.
        """
        found: dict[str, int] = {}
        for base in self._bases(first):
            if own := self._follow.get(base):
                for word in self._bases(second):
                    for third, size in own.get(word, _NOTHING).items():
                        found[third] = max(size, found.get(third, 0))
        return found or _NOTHING

    def _is_expression(self, phrase: str) -> bool:
        found = self._expressions.get(phrase)
        if found is None:
            found = self._expressions[phrase] = self._synonyms.is_expression(phrase)
        return found

    def _is_name(self, word: str) -> bool:
        """Whether the lexicon writes a word with a capital, too: "Brown", which may open a sentence."""
        if word not in self._name:
            lemmas = (sense.lemma for sense in self._lexicon.senses(word))
            self._name[word] = any(not lemma[:1].islower() for lemma in lemmas)
        return self._name[word]


def _phrase(shapes: Sequence[Shape], first: int, last: int) -> str:
    return " ".join(one.lower for one in shapes[first : last + 1])


def _names(shapes: Sequence[Shape]) -> frozenset[str]:
    """Words with a capital that no sentence begins with, in lower case."""
    return frozenset(one.lower for before, one in pairwise(shapes) if one.capital and not before.ends)


def _expressions(keys: Iterable[str]) -> dict[str, dict[str, dict[str, int]]]:
    """First, second and third words of the lemmas of several words → words of the longest such lemma."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for key in keys:
        words = key.partition("%")[0].split("_")
        if len(words) > 1:
            third = words[2] if len(words) > 2 else ""
            own = found.setdefault(words[0], {}).setdefault(words[1], {})
            own[third] = max(own.get(third, 0), len(words))
    return found
