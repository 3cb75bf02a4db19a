"""Parts of speech that the caller knows: as spans, or in a spaCy document, which is read without spaCy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from limbeck.errors import UserError

_LETTERS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}
_CONTENT = {"NOUN": "n", "PROPN": "n", "VERB": "v", "ADJ": "a", "ADV": "r"}
_OTHER = frozenset("ADP AUX CCONJ CONJ DET INTJ NUM PART PRON PUNCT SCONJ SPACE SYM X".split())  # noqa: SIM905


class Tag(NamedTuple):
    """Characters `[start, end)` of a text and their part of speech: n, v, a, r, or "" for no content word."""

    start: int
    end: int
    pos: str


def tags(text: str, pos: Iterable[tuple[int, int, str]]) -> list[Tag]:
    """The caller's parts of speech, in the order of the text.

    Args:
        pos: start, end, and a lexicon's letter (n, v, a or s, r) or a Universal part of speech (NOUN, VERB,
            AUX, …).

    Raises:
        UserError: a span outside the text, spans that overlap, an unknown part of speech.
    """
    found = []
    for start, end, name in pos:
        check_span(text, start, end)
        if name in _OTHER:
            found.append(Tag(start, end, ""))
        elif letter := _LETTERS.get(name) or _CONTENT.get(name):
            found.append(Tag(start, end, letter))
        else:
            raise UserError(
                f"unknown part of speech {name!r} of {text[start:end]!r}; use n, v, a, r, or a Universal one "
                "such as NOUN or AUX"
            )
    found.sort()
    for before, behind in pairwise(found):
        if behind.start < before.end:
            raise UserError(
                f"the spans {before.start} to {before.end} and {behind.start} to {behind.end} overlap; give "
                "each word one part of speech"
            )
    return found


def check_span(text: str, start: int, end: int) -> None:
    """Raises UserError where characters `[start, end)` are no part of a text, or have no word in them."""
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"the span {start} to {end} is no part of a text of {len(text):,} characters; give the start and "
            "end of a word, counted in characters from 0"
        )
    if not any(character.isalnum() for character in text[start:end]):
        raise UserError(f"the span {start} to {end} has no word in it, but {text[start:end]!r}; move it")


def read_document(document: Any) -> tuple[str, list[Tag]]:
    """Text and parts of speech of a string (none) or of a spaCy `Doc`, or of what looks like one.

    A document has `text`, and its tokens have `idx`, `text` and `pos_`; an empty `pos_` (no tagger has run)
    tells nothing.

    Raises:
        UserError: neither a string nor such a document; an unknown part of speech.
    """
    if isinstance(document, str):
        return document, []
    try:
        text = document.text
        spans = [(token.idx, token.idx + len(token.text), token.pos_) for token in document]
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"a text is a string or a spaCy Doc, not {type(document).__name__}; give one of these"
        ) from error
    return text, tags(text, (span for span in spans if span[2] and not text[span[0] : span[1]].isspace()))


def overlapping(found: Sequence[Tag], start: int, end: int) -> list[str]:
    """The parts of speech said of these characters."""
    return [tag.pos for tag in found if tag.start < end and tag.end > start]
