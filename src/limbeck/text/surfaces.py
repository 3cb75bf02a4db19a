"""How a vocabulary writes its pieces, and what each of them looks like on paper.

Byte-level BPE spells bytes in an alphabet of its own and a space as "Ġ"; SentencePiece writes a space as "▁"
and, where it falls back, a byte as "<0xE2>"; WordPiece marks what continues a word with "##".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

METASPACE = "\u2581"
_FALLBACK_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Surface:
    """What a piece looks like on paper, without its start-of-word mark.

    text: characters; `bytes` where the piece is no valid UTF-8 (half a character); None for special and
    unused pieces.
    starts_word: True for marked pieces (a leading space mark, or no `##` in a vocabulary that has `##`),
    False for `##` pieces, None for unmarked pieces of a space-marking vocabulary, which may open a word
    ("(hello") or continue one.
    """

    text: str | bytes | None
    starts_word: bool | None


class SurfaceReader:
    """Reads the pieces of one vocabulary; which way of writing it uses is told by its tokenizer.json."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        model = configuration["model"]
        around = [configuration.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")]
        parts = list(_parts(around))
        self.byte_level = any(part.get("type") == "ByteLevel" for part in parts)
        self.metaspace = any(
            part.get("type") == "Metaspace" or part.get("content") == METASPACE for part in parts
        )
        self.metaspace |= any(part.get("type") == "Prepend" for part in parts)
        self.byte_fallback = bool(model.get("byte_fallback"))
        self.continuation: str | None = model.get("continuing_subword_prefix") or None
        self.word_end: str | None = model.get("end_of_word_suffix") or None
        self.whole_words = model["type"] == "WordLevel"

    def read(self, token: str) -> Surface:
        """The surface of a piece as the vocabulary spells it."""
        if self.byte_level:
            raw = _from_byte_level(token)
            starts = True if raw.startswith(b" ") else None
            raw = raw[1:] if starts else raw
            try:
                return Surface(raw.decode(), starts)
            except UnicodeDecodeError:
                return Surface(raw, starts)
        if self.byte_fallback and (match := _FALLBACK_BYTE.fullmatch(token)):
            return Surface(bytes([int(match[1], 16)]), None)
        if self.metaspace:
            starts = True if token.startswith(METASPACE) else None
            return Surface(token[1 if starts else 0 :].replace(METASPACE, " "), starts)
        if self.word_end and token.endswith(self.word_end):
            token = token[: -len(self.word_end)]
        if self.continuation:
            if token.startswith(self.continuation) and len(token) > len(self.continuation):
                return Surface(token[len(self.continuation) :], False)
            return Surface(token, True)
        return Surface(token, True if self.whole_words else None)


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a piece of JSON."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _parts(child)


@cache
def _byte_level_bytes() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes are U+0100 and up."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _from_byte_level(token: str) -> bytes:
    """The bytes a byte-level piece stands for; what is outside the alphabet (added by hand) is itself."""
    table = _byte_level_bytes()
    return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)
