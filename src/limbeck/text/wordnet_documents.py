"""WordNet's entries as documents, and which of them are held out (section 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from limbeck.lexicon.wordnet import POS_FILES, Synset, synsets
from limbeck.text.documents import Counts

VALID_SHARE = 20
"""One synset in so many is held out as WordNet's valid part."""


def synset_document(synset: Synset) -> str:
    """A synset as one line: its lemmas, its definition, its examples; the letters' case is WordNet's own."""
    sentences = [f"{', '.join(synset.lemmas)}: {synset.definition}", *synset.examples]
    return " ".join(text if text[-1] in ".!?" else f"{text}." for text in sentences)


def is_valid_synset(synset: Synset) -> bool:
    """Whether a synset is held out, by the hash of its part of speech and offset."""
    return is_held_out(f"{synset.pos}{synset.offset:08d}")


def is_held_out(synset: str) -> bool:
    """The same for a synset's name, such as `n00001740`."""
    key = hashlib.blake2b(synset.encode(), digest_size=8).digest()
    return int.from_bytes(key, "little") % VALID_SHARE == 0


def wordnet_documents(folder: Path, pos: str, part: str, counts: Counts) -> Iterator[str]:
    """The synsets of these parts of speech (letters), as documents.

    `part`: `train`, `valid`, or all where it is empty.

    Raises:
        UserError: damaged WordNet.
    """
    for letter in pos:
        for synset in synsets(folder, letter):
            if part == "" or is_valid_synset(synset) == (part == "valid"):
                counts.documents += 1
                yield synset_document(synset)
        counts.done_bytes += (folder / POS_FILES[letter]).stat().st_size
