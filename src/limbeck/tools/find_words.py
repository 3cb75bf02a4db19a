"""Which words of a text a lexicon has senses for: content words and multi-word expressions (docs/wsd.md).

No tagger is needed. Forms are reduced by the lexicon itself, so that "ran into" is found as *run into*.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import regex

from limbeck.lexicon.lexicon import Lexicon, Sense, fold
from limbeck.tools.function_words import BE, CLITICS, FUNCTION_WORDS, NEGATED
from limbeck.tools.tags import Tag, overlapping

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:[.'’‑‐-][\p{L}\p{M}\p{N}]+)*")
_PART = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_JOINER = regex.compile(r"[.'’‑‐-]")
_GAP = regex.compile(r"\.?\s+")  # between the words of an expression; the full stop is an abbreviation's
_LETTER = regex.compile(r"\p{L}")
_RECENT = 1 << 16  # forms whose reductions are remembered


class Target(NamedTuple):
    """A content word, or several words that are one: characters `[start, end)`, and the senses it may have.

    senses: at least one; of all parts of speech that compete, in the lexicon's order.
    """

    start: int
    end: int
    senses: tuple[Sense, ...]


class _Token(NamedTuple):
    """A word: characters `[start, end)`, and the ends of the forms to look up, the best first."""

    start: int
    end: int
    ends: tuple[int, ...]


class WordFinder:
    """Finds the content words of sentences that a lexicon has."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon, self._longest = lexicon, lexicon.longest_lemma
        self._lemmas = lru_cache(maxsize=_RECENT)(lexicon.base_forms)

    def __call__(self, text: str, tags: Sequence[Tag] = ()) -> list[Target]:
        """The content words of a sentence, from left to right; of several that overlap the longest.

        Args:
            tags: what the caller knows. Such a word has senses of that part of speech alone, and is found
                even where it is a function word otherwise; an expression of several words has one of its
                words' parts of speech, where the lexicon has it so.
        """
        tokens = list(self._tokens(text))
        joined = [  # how many tokens from each on may be one expression
            bool(_GAP.fullmatch(text, a.end, b.start)) for a, b in pairwise(tokens)
        ]
        found, place = [], 0
        while place < len(tokens):
            reach = 1
            while reach < self._longest and place + reach < len(tokens) and joined[place + reach - 1]:
                reach += 1
            for count in range(reach, 0, -1):
                target = self._target(text, tokens[place : place + count], tags)
                if target is not None:
                    found.append(target)
                    break
            place += count
        return found

    def _tokens(self, text: str) -> Iterator[_Token]:
        for match in _WORD.finditer(text):
            start, end = match.span()
            form = text[start:end]
            if not _JOINER.search(form):
                yield _Token(start, end, (end,))
                continue
            ends = [end]
            if "." in form and text[end : end + 1] == ".":
                ends.insert(0, end + 1)  # "U.S."
            plain = fold(form)
            cut = next((len(clitic) for clitic in CLITICS if plain.endswith(clitic)), 0)
            if 0 < cut < len(form):
                ends.append(end - cut)
            if plain.endswith(NEGATED) or any(self._lemmas(text[start:stop]) for stop in ends):
                yield _Token(start, end, tuple(ends))
                continue
            stop = ends[-1] if cut else end
            for part in _PART.finditer(text, start, stop):  # "Franco-Prussian" is not in the lexicon
                yield _Token(part.start(), end if part.end() == stop else part.end(), (part.end(),))

    def _target(self, text: str, tokens: Sequence[_Token], tags: Sequence[Tag]) -> Target | None:
        """The expression of these tokens, or the one word; None if the lexicon has no such content word."""
        start = tokens[0].start
        for end in tokens[-1].ends:
            form = text[start:end]
            if not (lemmas := self._lemmas(form)):
                continue
            said = overlapping(tags, start, end) if tags else []
            if said:
                senses = self._senses(_as_said(lemmas, said))
            elif len(tokens) > 1:
                senses = self._senses(expression(lemmas, form))
            elif _is_function_word(form):
                senses = self._name(text, start, form)
            else:
                senses = self._senses(lemmas) if len(form) > 1 and _LETTER.search(form) else ()
            if senses:
                return Target(start, end, senses)
        return None

    def _senses(self, lemmas: Sequence[tuple[str, str]]) -> tuple[Sense, ...]:
        senses: dict[str, Sense] = {}
        for lemma, pos in lemmas:
            for sense in self._lexicon.senses(lemma, pos):
                senses.setdefault(sense.key, sense)
        return tuple(senses.values())

    def _name(self, text: str, start: int, form: str) -> tuple[Sense, ...]:
        """Senses of a function word that is written as a name: "in May", "the US".

        Its capitals must be those of the lexicon, and tell something: they do not where a sentence starts, or
        where all is in capitals.
        """
        capital = form[:1].isupper()
        told = (form.isupper() and len(form) > 1) or (len(form) > 2 and bool(_LETTER.search(text[:start])))
        if not capital or not told or text.isupper():
            return ()
        return tuple(sense for sense in self._lexicon.senses(form) if sense.lemma == form)


def _is_function_word(form: str) -> bool:
    word = fold(form)
    return word in FUNCTION_WORDS or word.endswith(NEGATED)


def expression(lemmas: Sequence[tuple[str, str]], form: str) -> Sequence[tuple[str, str]]:
    """What several words may be.

    Function words alone only as they stand ("of course"), and never as a verb. Nothing that begins with a
    form of *be*: "is full" is hardly ever *be full*, to have eaten enough.
    """
    plain = fold(form)
    words = plain.split()
    if words[0] in BE:
        return ()
    if not all(word in FUNCTION_WORDS or word == "not" for word in words):
        return lemmas
    return [(lemma, pos) for lemma, pos in lemmas if lemma == plain and pos != "v"]


def _as_said(lemmas: Sequence[tuple[str, str]], said: Sequence[str]) -> Sequence[tuple[str, str]]:
    """What is left where the caller says the parts of speech of the words in a form."""
    content = {pos for pos in said if pos}
    kept = [(lemma, pos) for lemma, pos in lemmas if pos in content]
    if content and not kept and len(said) > 1:  # "in front" is an adverb, and neither of its words is
        return lemmas
    return kept


def tags_within(tags: Sequence[Tag], start: int, end: int) -> list[Tag]:
    """The tags (sorted) that overlap these characters, counted from there on."""
    place = bisect_left(tags, start, key=lambda tag: tag.end)
    found = []
    while place < len(tags) and tags[place].start < end:
        if tags[place].end > start:
            found.append(Tag(tags[place].start - start, tags[place].end - start, tags[place].pos))
        place += 1
    return found
