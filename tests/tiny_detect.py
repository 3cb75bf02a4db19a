"""A small set of originals and paraphrases that a tiny model tells apart, and a detector made of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.tiny_labelled import write_table

SYNONYMS = {
    "big": "sizeable", "small": "diminutive", "house": "domicile", "car": "automobile",
    "road": "thoroughfare", "began": "commenced", "said": "verbalised",
    "town": "municipality", "people": "individuals",
    "river": "watercourse",
}  # fmt: skip
COMMON = ("the", "of", "a", "in", "and", "was", "it", "on", "to", "that", "with", "by")
TEXTS = (" ".join((*SYNONYMS, *SYNONYMS.values(), *COMMON)),)
"""What a tokenizer for these sets is trained on."""

GERMAN = (
    "Der Fluss fließt durch die kleine Stadt und die Leute gehen jeden Tag auf der Straße am Haus vorbei."
)


def sentence(draw: random.Random, spun: bool) -> str:
    """Ten words, a third of which have a synonym."""
    found = [draw.choice(COMMON) if place % 3 else draw.choice(tuple(SYNONYMS)) for place in range(10)]
    words = [SYNONYMS.get(word, word) if spun else word for word in found]
    return " ".join(words).capitalize() + "."


def paragraph(number: int, sentences: int, *, spun: bool) -> str:
    """The same sentences for the same number, with or without synonyms."""
    draw = random.Random(number)
    return " ".join(sentence(draw, spun) for _ in range(sentences))


def pairs(rows: int, first: int) -> list[tuple[str, str, str]]:
    """Article, original, spun."""
    found = []
    for number in range(first, first + rows):
        size = 1 + number % 5
        found.append(
            (f"a{number // 2}", paragraph(number, size, spun=False), paragraph(number, size, spun=True))
        )
    return found


def write_set(place: Path, train: int = 120, valid: int = 60) -> Path:
    """A folder as `--data` takes it."""
    for name, rows in (("train", pairs(train, 0)), ("valid", pairs(valid, 10_000))):
        write_table(place / f"tiny.{name}.tsv", ("article_id", "original", "spun"), rows)
    return place


def document(kinds: Sequence[bool], first: int = 50_000, sentences: int = 3) -> list[str]:
    """Paragraphs, each paraphrased or not."""
    return [paragraph(first + place, sentences, spun=spun) for place, spun in enumerate(kinds)]
