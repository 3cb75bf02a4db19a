"""Base forms of inflected words as Princeton's Morphy finds them: `morphy(7WN)`, WordNet 3.0's `morph.c`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from limbeck.lexicon.lexicon import POS, fold, pos_letters

Exceptions = Mapping[str, Mapping[str, Sequence[str]]]
"""Part of speech → irregular form → its base forms, all folded."""

ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "n": (
        ("s", ""),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "v": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}
"""Part of speech → what may be detached from a form's end, and what then takes its place."""

# The last letters of all endings, and of "ful".
_LAST = {"n": frozenset("snl"), "v": frozenset("sdg"), "a": frozenset("rt"), "r": frozenset[str]()}

PREPOSITIONS = frozenset(
    (
        "to",
        "at",
        "of",
        "on",
        "off",
        "in",
        "out",
        "up",
        "down",
        "from",
        "with",
        "into",
        "for",
        "about",
        "between",
    )
)
"""Behind a verb's first word, one of these makes the rest of the lemma stay as it is."""

_BETWEEN = re.compile(r"([ -])")
_MOST_PARTS = 31  # of a form that is taken apart: 16 words; no lemma has more
_RECENT = 1 << 14  # words whose reductions are remembered


class Morphy:
    """Finds the lemmas that a form may be a form of.

    For each part of speech: the form itself if it is a lemma; then what its exception list has for it, and
    only where that has nothing, what the rules of detachment give, also for "-ful" ("boxesful"). A form of
    several words (spaces or hyphens between them) is also reduced word by word: a verb with a preposition by
    its first word, and its last as a noun ("asking for it", "ran into"); others with each word reduced, then
    with one of them ("attorneys general", "lines of products"). If no part of speech has anything, it is
    tried with spaces for hyphens and the reverse, then without its hyphens and without its full stops.

    Unlike Princeton's program, which stops at the first, all lemmas that the rules give are found; noun
    collocations with one inflected word too; and words are never run together ("a way" is not "away").

    Args:
        known: the parts of speech (letters of `POS`, in its order) of a folded lemma; empty if it is unknown.
        exceptions: may lack parts of speech.
        rules: False leaves the rules of detachment, which are English, and the words of collocations out.
    """

    def __init__(self, known: Callable[[str], str], exceptions: Exceptions, *, rules: bool = True) -> None:
        self._known, self._rules = known, rules
        self._exceptions = {pos: exceptions.get(pos, {}) for pos in POS}
        self._word = lru_cache(maxsize=_RECENT)(self._reduced)

    def __call__(self, form: str, pos: str | None = None) -> tuple[tuple[str, str], ...]:
        """Pairs (lemma, part of speech), each once; all parts of speech, in the order of `POS`, for None.

        Raises:
            UserError: an unknown part of speech.
        """
        letters, form = pos_letters(pos), fold(form)
        parts = _BETWEEN.split(form) if self._rules else [form]
        found = self._of_all(form, parts, letters)
        if found or not self._rules or form.isalnum():
            return tuple(found)
        if "-" in form:
            variant = " ".join(form.replace("-", " ").split())
            found = self._of_all(variant, _BETWEEN.split(variant), letters)
        for old, new in ((" ", "-"), ("-", ""), (".", "")):
            if not found and old in form:
                variant = form.replace(old, new)
                found = self._of_all(variant, [variant], letters)
        return tuple(found)

    def _of_all(self, form: str, parts: list[str], letters: str) -> dict[tuple[str, str], None]:
        """Lemmas of a form; `parts`, more than one: it is also taken apart into these words."""
        found: dict[tuple[str, str], None] = {}
        known = self._known(form)
        several = 1 < len(parts) <= _MOST_PARTS and "" not in parts
        for letter in letters:
            if letter in known:
                found[form, letter] = None
            candidates: Iterable[str] | None = self._exceptions[letter].get(form)
            if candidates is None and self._rules:
                candidates = self._collocations(form, parts, letter) if several else _stems(form, letter)
            for lemma in candidates or ():
                if letter in self._known(lemma):
                    found[lemma, letter] = None
        return found

    def _reduced(self, word: str, letter: str) -> tuple[str, ...]:
        """What one word may be reduced to: its exceptions, or else the lemmas that the rules give."""
        listed = self._exceptions[letter].get(word)
        if listed is not None:
            return tuple(base for base in listed if base != word)
        return tuple(base for base in _stems(word, letter) if letter in self._known(base))

    def _collocations(self, form: str, parts: list[str], letter: str) -> Iterator[str]:
        """Candidates for a form of several words; none of them is looked up yet."""
        words = parts[::2]
        if letter == "v":
            if not PREPOSITIONS.isdisjoint(words[1:]):
                yield from self._verb_with_preposition(parts)
        else:
            yield from _stems(form, letter)
        bases = [self._word(word, letter) for word in words]
        reduced = [place for place, found in enumerate(bases) if found]
        if len(reduced) > 1:
            yield _joined(parts, {place: bases[place][0] for place in reduced})
        for place in reduced:
            for base in bases[place]:
                yield _joined(parts, {place: base})

    def _verb_with_preposition(self, parts: list[str]) -> Iterator[str]:
        """The first word as any verb, the last as it is or as a noun; what is between them stays."""
        verbs = [*self._exceptions["v"].get(parts[0], ()), *_stems(parts[0], "v")]
        last = len(parts) // 2
        ends: list[dict[int, str]] = [{}]
        if last > 1:
            ends += [{last: noun} for noun in self._word(parts[-1], "n")]
        for verb in dict.fromkeys((*verbs, parts[0])):
            for end in ends:
                yield _joined(parts, {0: verb, **end})


def _joined(parts: list[str], changed: dict[int, str]) -> str:
    """Words (even places) and what stands between them (odd places), with some words changed."""
    whole = list(parts)
    for place, word in changed.items():
        whole[2 * place] = word
    return "".join(whole)


def _stems(form: str, letter: str) -> list[str]:
    """What the rules of detachment make of a form, whether it is a word or not."""
    behind = ""
    if form[-1:] not in _LAST[letter]:
        return []
    if letter == "n":
        if form.endswith("ful") and len(form) > 3:
            form, behind = form[:-3], "ful"
        elif form.endswith("ss") or len(form) <= 2:
            return []
    return [
        form[: len(form) - len(suffix)] + ending + behind
        for suffix, ending in ENDINGS[letter]
        if form.endswith(suffix) and len(form) > len(suffix)
    ]
