"""Princeton's data files, synset by synset.

The format is that of `wndb(5WN)`: one synset per line of `data.noun`, `data.verb`, `data.adj`,
`data.adv`, behind a licence whose lines start with two spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from limbeck.errors import UserError

POS_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
"""Part of speech → data file. Satellite adjectives (`s`) stand in the adjectives' file and count as `a`."""

_TYPES = {"n": "n", "v": "v", "a": "as", "r": "r"}
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand: "galore(ip)"
_HEAD = re.compile(r"(\d{8}) (\d\d) ([nvasr]) ([0-9a-f]{2}) (.+)")
_PART = re.compile(r'(?:"[^"]*"|[^";])+|"[^"]*$')
_EXAMPLE = re.compile(r'"([^"]*)"?')


class Synset(NamedTuple):
    """One concept: `offset` and `pos` (`n`, `v`, `a`, `r`) name it; lemmas have spaces, not underscores."""

    offset: int
    pos: str
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


class Record(NamedTuple):
    """A synset with what its sense keys are made of.

    kind: `n`, `v`, `a`, `r`, or `s` for a satellite adjective. file: number of its lexicographer's file, two
    digits. words: with underscores. ids: each word's number in that file. head: offset of the synset that a
    satellite belongs to; None for all others.
    """

    offset: int
    kind: str
    file: str
    words: tuple[str, ...]
    ids: tuple[int, ...]
    head: int | None
    definition: str
    examples: tuple[str, ...]


def synsets(folder: Path, pos: str = "nvar") -> Iterator[Synset]:
    """Reads the synsets of the given parts of speech, in that order, one at a time.

    Args:
        folder: of `find_wordnet`.
        pos: letters of `nvar`.

    Raises:
        UserError: a data file of the set is missing, a line is damaged (names both), a file has no synset.
    """
    for letter in pos:
        if letter not in POS_FILES:
            raise UserError(f"unknown part of speech {letter!r}; WordNet has n, v, a and r")
    missing = [POS_FILES[letter] for letter in pos if not (folder / POS_FILES[letter]).is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}; install WordNet again or point LIMBECK_WORDNET elsewhere"
        )
    for letter in pos:
        for record in records(folder, letter):
            lemmas = tuple(word.replace("_", " ") for word in record.words)
            yield Synset(record.offset, letter, lemmas, record.definition, record.examples)


def records(folder: Path, pos: str) -> Iterator[Record]:
    """Reads the synsets of one part of speech, one at a time.

    Raises:
        UserError: a line is damaged (names it), or the file has no synset.
    """
    path = folder / POS_FILES[pos]
    found = False
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.startswith(b"  "):
                continue
            record = _parse(raw, pos)
            if record is None:
                raise UserError(
                    f"{path}, line {number} is no line of a WordNet data file; install WordNet again"
                )
            found = True
            yield record
    if not found:
        raise UserError(f"{path} has no synset in it; install WordNet again")


def _parse(raw: bytes, pos: str) -> Record | None:
    """One line of a data file; None where it is not as the format has it, or cut short."""
    if not raw.endswith(b"\n"):
        return None
    try:
        head, bar, gloss = raw.decode("utf-8").partition("| ")
    except UnicodeDecodeError:
        return None
    match = _HEAD.fullmatch(head.rstrip())
    gloss = gloss.strip()
    if not bar or not match or match[3] not in _TYPES[pos] or not gloss or "\0" in gloss:
        return None
    count = int(match[4], 16)
    fields = match[5].split(" ")
    words, ids, behind = fields[: 2 * count : 2], fields[1 : 2 * count : 2], fields[2 * count :]
    if count == 0 or len(words) != count or not behind or not _pointers_and_frames(behind, pos):
        return None
    try:
        numbers = tuple(int(number, 16) for number in ids)
    except ValueError:
        return None
    kind = match[3]
    above = _head_synset(behind) if kind == "s" else None
    if pos == "a":  # no other words have markers
        words = [_MARKER.sub("", word) for word in words]
    definition, examples = _split_gloss(gloss)
    return Record(int(match[1]), kind, match[2], tuple(words), numbers, above, definition, examples)


def _pointers_and_frames(fields: list[str], pos: str) -> bool:
    """Whether this is a count of pointers, that many of four fields, and for verbs the frames."""
    if not fields[0].isdigit():
        return False
    rest = fields[1 + 4 * int(fields[0]) :]
    if len(fields) < 1 + 4 * int(fields[0]):
        return False
    if pos != "v" or not rest:
        return not rest
    return rest[0].isdigit() and len(rest) == 1 + 3 * int(rest[0])


def _head_synset(fields: list[str]) -> int | None:
    """Where the first pointer "similar to" leads; a satellite's only one is to its head."""
    for place in range(1, 4 * int(fields[0]), 4):
        if fields[place] == "&" and fields[place + 1].isdigit():
            return int(fields[place + 1])
    return None


def _split_gloss(gloss: str) -> tuple[str, tuple[str, ...]]:
    """Parts between semicolons: those that open with a quotation mark are examples, the rest the definition.

    What follows the quotation in its part (a source, as in `"…"- Shakespeare`) is left out. The first
    part is the definition whatever it opens with.
    """
    parts = [part.strip() for part in _PART.findall(gloss)]
    parts = [part for part in parts if part.strip('" ')] or [gloss]
    definition, examples = [parts[0]], []
    for part in parts[1:]:
        if part.startswith('"'):
            quoted = _EXAMPLE.match(part)
            assert quoted is not None
            if quoted[1].strip():
                examples.append(quoted[1].strip())
        else:
            definition.append(part)
    return "; ".join(definition), tuple(examples)
