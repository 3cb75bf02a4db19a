"""WordNet's usage examples as sense-labelled instances: an example belongs to a synset, so it names a sense.

An example becomes an instance where a form of one of the synset's lemmas is found in it by reduction; the
others, where the word is only meant or taken apart, are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from limbeck.gloss.instance import Instance
from limbeck.lexicon.lexicon import fold
from limbeck.text.wordnet_documents import is_held_out

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon, Sense

_ATOM = re.compile(r"[^\W_]+")
# No form begins behind "w-" or "o'", nor ends before "-w" or "'t": "known" is none in "well-known", "don"
# none in "don't". "dog" is one in "dog's".
_INSIDE_BEFORE = re.compile(r"\w[-'’]")
_INSIDE_BEHIND = re.compile(r"-\w|['’](?!s\b)\w")
_BETWEEN = re.compile(r"[\s\-'’./&,]{1,2}")

_BaseForms = Callable[[str, str], tuple[tuple[str, str], ...]]


@dataclass
class ExampleCounts:
    """What was met: synsets with examples, examples, those that became instances, those without the word."""

    synsets: int = 0
    examples: int = 0
    found: int = 0
    not_found: int = 0


def wordnet_examples(
    lexicon: Lexicon, *, part: Literal["train", "valid"] | None = None, counts: ExampleCounts | None = None
) -> Iterator[Instance]:
    """The usage examples of a lexicon as instances, in the order of its keys.

    Args:
        part: `train` or `valid`: the synsets that `wordnet:/train` and `wordnet:/valid` have too, so that a
            text corpus and the examples hold out the same synsets; None: all.
        counts: is added to while reading.
    """
    counts = ExampleCounts() if counts is None else counts
    reduced = lru_cache(maxsize=1 << 15)(lexicon.base_forms)  # few words make up most of all examples
    seen = set()
    for key in lexicon.keys():  # noqa: SIM118 - a lexicon is no mapping
        sense = lexicon.sense(key)
        assert sense is not None, key
        if not sense.examples or sense.synset in seen:
            continue
        seen.add(sense.synset)
        if part is not None and is_held_out(sense.synset) != (part == "valid"):
            continue
        counts.synsets += 1
        for number, example in enumerate(sense.examples):
            counts.examples += 1
            found = find_form(example, sense.lemmas, sense.pos, reduced)
            if found is None:
                counts.not_found += 1
                continue
            counts.found += 1
            start, end, lemma = found
            gold = _sense_of(lexicon, sense, lemma).key
            yield Instance(f"{sense.synset}.e{number}", example, start, end, lemma, sense.pos, (gold,))


def _sense_of(lexicon: Lexicon, sense: Sense, lemma: str) -> Sense:
    """The sense of another lemma of the same synset."""
    return next(s for s in lexicon.senses(lemma, sense.pos) if s.synset == sense.synset)


def find_form(
    text: str, lemmas: tuple[str, ...], pos: str, base_forms: _BaseForms
) -> tuple[int, int, str] | None:
    """Where a form of one of the lemmas stands in a text: start, end, lemma; None where none does.

    The longest in words is taken, of those the first. A form is the lemma itself, in any case of letters, or
    what `base_forms` reduces to it.
    """
    known = {fold(lemma): lemma for lemma in reversed(lemmas)}
    dotted = any(lemma.endswith(".") for lemma in lemmas)
    atoms = [match.span() for match in _ATOM.finditer(text)]
    for words in sorted({len(_ATOM.findall(lemma)) for lemma in lemmas} - {0}, reverse=True):
        for first in range(len(atoms) - words + 1):
            start, end = atoms[first][0], atoms[first + words - 1][1]
            if not _is_form(text, atoms[first : first + words]):
                continue
            if dotted and text[end : end + 1] == "." and (whole := fold(text[start : end + 1])) in known:
                return start, end + 1, known[whole]
            form = fold(text[start:end])
            if form in known:
                return start, end, known[form]
            for lemma, _ in base_forms(form, pos):
                if fold(lemma) in known:
                    return start, end, known[fold(lemma)]
    return None


def _is_form(text: str, atoms: list[tuple[int, int]]) -> bool:
    """Whether these runs of letters and digits can be one form: nothing cut off, no sentence end between."""
    start, end = atoms[0][0], atoms[-1][1]
    if _INSIDE_BEFORE.fullmatch(text, max(0, start - 2), start) or _INSIDE_BEHIND.match(text, end):
        return False
    return all(_BETWEEN.fullmatch(text, atoms[i][1], atoms[i + 1][0]) for i in range(len(atoms) - 1))
