"""What a model is asked of a text: its content words, each in its sentence and perhaps the neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import regex

from limbeck.gloss.instance import Instance
from limbeck.tools.find_words import Target, WordFinder, tags_within
from limbeck.tools.sentences import Segment, segments
from limbeck.tools.tags import Tag

BATCH = 512
"""Questions that are asked together: rows of each length enough for full batches, answered in seconds."""

_CHARACTERS = 1 << 18  # of text without a question that are kept until they are passed on
_HALF = regex.compile("[\ud800-\udfff]")


class Asked(NamedTuple):
    """A sentence with the white space behind it, its content words, and what is asked about them.

    start: of its first character in the whole text. targets: words, their characters counted in the sentence.
    questions: for each of them the instance to ask about; None where there is no choice, or nothing to choose
    by. ends: there is no more of this text; such an item has no sentence.
    """

    start: int
    text: str
    targets: tuple[Target, ...] = ()
    questions: tuple[Instance | None, ...] = ()
    ends: bool = False


def ask(
    chunks: Iterable[str], find: WordFinder, *, window: int, most: int, tags: Sequence[Tag] = ()
) -> Iterator[Asked]:
    """The sentences of a text that comes in chunks, in order, and an item that tells of its end.

    Args:
        window: sentences on either side that belong to a word's context. most: words of it that are kept on
            either side. tags: parts of speech that are known, in characters of the whole text.
    """
    around: deque[Segment] = deque()  # the `window` before, the one whose turn it is, those behind
    turn = end = 0
    for segment in _with_end(segments(chunks)):
        if segment is not None:
            around.append(segment)
            end = segment.start + len(segment.text)
        while turn < len(around) and (segment is None or turn + window < len(around)):
            yield _asked(around, turn, find, most, tags)
            turn += 1
            if turn > window:
                around.popleft()
                turn -= 1
    yield Asked(end, "", ends=True)


def _with_end(found: Iterator[Segment]) -> Iterator[Segment | None]:
    yield from found
    yield None


def _asked(around: Sequence[Segment], turn: int, find: WordFinder, most: int, tags: Sequence[Tag]) -> Asked:
    start, text = around[turn]
    targets = find(text, tags_within(tags, start, start + len(text)) if tags else ())
    if not targets:
        return Asked(start, text)
    whole = "".join(one.text for one in around)
    before = start - around[0].start
    questions = (_question(whole, before, target, most, str(start + target.start)) for target in targets)
    return Asked(start, text, tuple(targets), tuple(questions))


def _question(whole: str, before: int, target: Target, most: int, name: str) -> Instance | None:
    """The question about a target; None where there is nothing to choose, or nothing to choose by."""
    if len({sense.gloss for sense in target.senses}) < 2:  # one sense, or glosses that are all the same
        return None
    found = in_context(name, whole, before + target.start, before + target.end, most)
    around = found.context[: found.start] + found.context[found.end :]
    return found if any(character.isalnum() for character in around) else None


def in_context(name: str, text: str, start: int, end: int, most: int) -> Instance:
    """A word of a text as an instance, with `most` words on either side; single spaces for white space.

    A model takes no more words than pieces, so that what is left out here would be cut off later.
    """
    before, target, behind = (_whole(part) for part in (text[:start], text[start:end], text[end:]))
    left = " ".join(before.split()[-most:]) + (" " if before[-1:].isspace() else "")
    right = (" " if behind[:1].isspace() else "") + " ".join(behind.split()[:most])
    target, left, right = " ".join(target.split()), left.lstrip(), right.rstrip()
    return Instance(name, left + target + right, len(left), len(left) + len(target), "", None)


def _whole(text: str) -> str:
    """The text without halves of characters, which no tokenizer takes; as long as before."""
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def batches(asked: Iterable[Asked]) -> Iterator[list[Asked]]:
    """The items, so many together that they have `BATCH` questions, and no long text without any is kept."""
    held: list[Asked] = []
    questions = characters = 0
    for item in asked:
        held.append(item)
        questions += sum(question is not None for question in item.questions)
        characters += len(item.text) + 1
        if questions >= BATCH or characters >= _CHARACTERS:
            yield held
            held, questions, characters = [], 0, 0
    if held:
        yield held
