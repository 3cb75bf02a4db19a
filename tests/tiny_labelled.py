"""Small labelled sets that a tiny model learns in seconds, and the files they stand in."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from limbeck.finetune.examples import Examples

ANIMALS = ("cat", "dog", "bird", "fish", "horse", "mouse")
THINGS = ("table", "lamp", "chair", "book", "clock", "spoon")
OTHERS = ("old", "small", "red", "quiet", "good", "near", "late", "new")
TEXTS = tuple(" ".join(words) for words in (ANIMALS, THINGS, OTHERS))
"""What a tokenizer for these sets is trained on."""


def animals(rows: int, seed: int, name: str = "animals") -> Examples:
    """Is it about an animal or a thing? One word decides."""
    draw = random.Random(seed)
    labels = [draw.choice(("animal", "thing")) for _ in range(rows)]
    texts = [_sentence(draw, draw.choice(ANIMALS if label == "animal" else THINGS)) for label in labels]
    return Examples(texts, None, labels, name)


def counted(rows: int, seed: int, name: str = "counted") -> Examples:
    """How many of four words are animals, and a half."""
    draw = random.Random(seed)
    numbers = [draw.randint(0, 4) for _ in range(rows)]
    texts = []
    for number in numbers:
        words = draw.choices(ANIMALS, k=number) + draw.choices(THINGS, k=4 - number)
        draw.shuffle(words)
        texts.append(" ".join(words))
    return Examples(texts, None, [f"{number + 0.5}" for number in numbers], name)


def pairs(rows: int, seed: int, classes: tuple[str, str] = ("0", "1"), name: str = "pairs") -> Examples:
    """Does the second text speak of an animal? The first says nothing."""
    found = animals(rows, seed)
    draw = random.Random(seed + 1000)
    labels = [classes[label == "animal"] for label in found.labels]
    return Examples([_sentence(draw, "late") for _ in labels], found.texts, labels, name)


def _sentence(draw: random.Random, word: str) -> str:
    words = [*draw.choices(OTHERS, k=draw.randint(1, 6)), word]
    draw.shuffle(words)
    return " ".join(words)


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Path:
    """A tab-separated file; no columns: without a header."""
    lines = ["\t".join(row) for row in rows]
    header = "\t".join(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
    return path


def write_examples(path: Path, examples: Examples) -> Path:
    """A file as `limbeck finetune` reads it."""
    if examples.seconds is None:
        return write_table(path, ("text", "label"), zip(examples.texts, examples.labels, strict=True))
    rows = zip(examples.texts, examples.seconds, examples.labels, strict=True)
    return write_table(path, ("text", "text2", "label"), rows)
