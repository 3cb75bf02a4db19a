"""What a system must beat: the lexicon's first sense, the training text's most frequent sense, and chance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limbeck.lexicon.lexicon import Sense

FIRST, FREQUENT, RANDOM = "first_sense", "most_frequent_sense", "random"


def first_sense(senses: Sequence[Sense]) -> tuple[str, ...]:
    """The key of the sense that the lexicon lists first; empty without senses.

    senses: in the lexicon's order. Of several parts of speech, each of which has its own order, the most
    frequent of the first ones.
    """
    firsts: dict[str, Sense] = {}
    for sense in senses:
        firsts.setdefault(sense.pos, sense)
    first = max(firsts.values(), key=lambda sense: sense.frequency, default=None)
    return () if first is None else (first.key,)


def most_frequent_sense(senses: Sequence[Sense], counts: Mapping[str, int]) -> tuple[str, ...]:
    """The key of the sense that the training text has most often.

    Ties, and with them senses none of which the text has, go to the one the lexicon lists first.
    """
    return (max(senses, key=lambda sense: counts.get(sense.key, 0)).key,) if senses else ()


def random_sense(senses: Sequence[Sense], gold: Collection[str]) -> float:
    """The score to be expected of a sense drawn at random: the share of the senses that are right."""
    return sum(sense.key in gold for sense in senses) / len(senses) if senses else 0.0
