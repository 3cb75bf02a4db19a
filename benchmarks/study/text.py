"""The study's text: each domain whole for its teacher, and a slice of each for the students."""

from __future__ import annotations

from pathlib import Path

from domains import split

from limbeck.files import atomic_write

from .setting import DOMAINS, Setting


def write_texts(setting: Setting) -> dict[str, Path]:
    """Writes what is not there yet; returns the students' slice of each domain."""
    split(setting.domains)
    slices = {}
    for domain in DOMAINS:
        target = setting.scratch / "text" / f"{domain}.txt"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source = setting.domains / f"{domain}.train.txt"
            atomic_write(target, spread(source, setting.text_words))
        slices[domain] = target
    return slices


def spread(source: Path, words: int) -> str:
    """So many words of a text: whole paragraphs taken evenly from all of it, each a document of its own."""
    total = 0
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            total += len(line.split())
    share, due, kept = min(1.0, words / total), 0.0, []
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            count = len(line.split())
            due += share * count
            if count and due >= count:
                kept.append(line + "\n")
                due -= count
    return "".join(kept)
