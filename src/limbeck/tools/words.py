"""What a disambiguated text is made of: its sentences, and their words with their senses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from limbeck.lexicon.lexicon import Sense
from limbeck.tools.find_words import Target
from limbeck.tools.questions import Asked

if TYPE_CHECKING:
    from limbeck.gloss.predict import Prediction

MODEL, ONLY, FIRST = "model", "only-sense", "first-sense"
"""Where a word's sense is from: the model; the lexicon has no other; the model could not be asked."""


class Word(NamedTuple):
    """A content word of a text and its sense.

    start, end: its characters `[start, end)` in the whole text. text: the word as it stands there. sense:
    of the lexicon. probability: 1 for an only sense; None where the model was not asked. source: `model`,
    `only-sense` or `first-sense`. senses, probabilities: all that competed, in the lexicon's order (no
    probabilities where the model was not asked).
    """

    start: int
    end: int
    text: str
    sense: Sense
    probability: float | None
    source: str
    senses: tuple[Sense, ...]
    probabilities: tuple[float, ...]

    @property
    def lemma(self) -> str:
        """The lemma, as the lexicon writes it."""
        return self.sense.lemma

    @property
    def pos(self) -> str:
        """Part of speech: n, v, a or r."""
        return self.sense.pos

    @property
    def key(self) -> str:
        """The sense key."""
        return self.sense.key

    @property
    def gloss(self) -> str:
        """The sense's definition."""
        return self.sense.gloss

    def record(self) -> dict[str, Any]:
        """What the command line writes of it, JSON-ready."""
        return {
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "lemma": self.lemma,
            "pos": self.pos,
            "key": self.key,
            "gloss": self.gloss,
            "probability": self.probability,
            "source": self.source,
            "candidates": len(self.senses),
        }


class Sentence(NamedTuple):
    """A sentence with the white space behind it, and its words; the texts of all are the whole text.

    start: of its first character in the whole text, in which the words' characters are counted, too.
    """

    start: int
    text: str
    words: tuple[Word, ...]


def as_word(item: Asked, target: Target, answer: Prediction | None) -> Word:
    """A target with its sense: the model's, the only one, or the first."""
    start, end, senses = target
    if answer is not None:
        probabilities = tuple(answer.probabilities.tolist())
        best, source = probabilities.index(max(probabilities)), MODEL
    elif len(senses) == 1:
        probabilities, best, source = (1.0,), 0, ONLY
    else:
        # The first sense of a lemma is its most frequent; so it is of several parts of speech.
        best = max(range(len(senses)), key=lambda k: (senses[k].frequency, -k))
        probabilities, source = (), FIRST
    return Word(
        start=item.start + start,
        end=item.start + end,
        text=item.text[start:end],
        sense=senses[best],
        probability=probabilities[best] if probabilities else None,
        source=source,
        senses=senses,
        probabilities=probabilities,
    )
