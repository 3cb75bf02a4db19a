"""The study's text: each domain whole for its teacher, and a slice of each for the students."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from domains import DOMAIN, listing, split

from limbeck.files import atomic_write
from limbeck.text.documents import Counts
from limbeck.text.readers import find_sources

from .setting import DOMAINS, Setting

GLOSSES = "glosses"
"""The third domain: WordNet's entries."""


def write_texts(setting: Setting) -> dict[str, Path]:
    """Writes what is not there yet; returns the students' slice of each domain, of equally many words."""
    split(setting.domains)
    slices = {}
    for domain in (*DOMAINS, GLOSSES):
        target = setting.scratch / "text" / f"{domain}.txt"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, spread(list(_documents(setting, domain)), setting.text_words))
        slices[domain] = target
    return slices


def documents() -> dict[str, dict[str, int]]:
    """How many articles or books the held-out texts of the two domains have, by part (`valid`, `test`)."""
    found = Counter((row["split"].split("+")[0], DOMAIN.get(row["source"])) for row in listing())
    return {part: {domain: found[part, domain] for domain in DOMAINS} for part in ("valid", "test")}


def _documents(setting: Setting, domain: str) -> Iterable[str]:
    """All of a domain: its paragraphs, or WordNet's entries."""
    if domain != GLOSSES:
        with (setting.domains / f"{domain}.train.txt").open(encoding="utf-8") as lines:
            yield from (line.strip() for line in lines if line.strip())
    else:
        sources = find_sources([f"{setting.glosses}/train"], Path.cwd(), GLOSSES)
        yield from chain.from_iterable(one.documents("stop", Counts()) for one in sources)


def spread(documents: list[str], words: int) -> str:
    """So many words of a text: whole documents taken evenly from all of it."""
    counts = [len(document.split()) for document in documents]
    share, due, kept = min(1.0, words / sum(counts)), 0.0, []
    for document, count in zip(documents, counts, strict=True):
        due += share * count
        if due >= count:
            kept.append(document + "\n\n")
            due -= count
    return "".join(kept)
