"""One word to disambiguate, and the senses it may have (docs/architecture.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Lexicon, Sense

Candidates = Literal["gold", "all"]
"""Whose senses compete: those of the gold part of speech, or those of all parts of speech."""

POS = {"n": "noun", "v": "verb", "a": "adjective", "r": "adverb"}
"""Parts of speech by their letters, in the order in which they are shown."""


@dataclass(frozen=True)
class Instance:
    """One word to disambiguate.

    id: unique in its file, without white space. context: running text. start, end: the target's characters
    in it, `end` excluded, `start < end`. lemma: with spaces; "" where it is not known: then every base form
    of the target counts. pos: `n`, `v`, `a`, `r`, or None where it is not known. gold: sense keys, any of
    which is right; empty where nobody has said.
    """

    id: str
    context: str
    start: int
    end: int
    lemma: str
    pos: str | None
    gold: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The target as it stands in the context."""
        return self.context[self.start : self.end]


def candidates(lexicon: Lexicon, instance: Instance, of: Candidates) -> tuple[Sense, ...]:
    """The senses that compete for an instance, in the lexicon's order.

    Those of its lemma, of its part of speech (`gold`; of all where it has none) or of all parts of speech
    (`all`). Where the lemma is not known, or is none of the lexicon's in any part of speech, those of the
    base forms of the target. Empty where the lexicon has none: such an instance cannot be answered.
    """
    assert of in ("gold", "all"), of
    pos = instance.pos if of == "gold" else None
    if instance.lemma:
        if found := lexicon.senses(instance.lemma, pos):
            return found
        if pos is not None and lexicon.senses(instance.lemma):
            return ()
    senses: dict[str, Sense] = {}
    for lemma, letter in lexicon.base_forms(instance.lemma or instance.target, pos):
        for sense in lexicon.senses(lemma, letter):
            senses.setdefault(sense.key, sense)
    return tuple(senses.values())
