"""Alignment against a slow reading of its definition, and the cases it was made for."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.teachers.projection import Projection
from limbeck.text.align import (
    BOUNDARIES,
    GOLD,
    KIND_INSIDE,
    KIND_NONE,
    KIND_OPEN_BARE,
    KIND_OPEN_SPACED,
    TRUNCATED,
    Located,
    Words,
    align,
    cut,
    kinds,
    locate,
)
from limbeck.text.characters import Characters
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.words import word_spans
from tests.models import TEXTS
from tests.vocabularies import HARD, KINDS, hard_text, vocabulary

PAIRS = [
    ("wordpiece", "bpe"),
    ("wordpiece", "gpt2"),
    ("wordpiece:cased", "wordpiece"),
    ("bpe", "wordpiece"),
    ("gpt2", "unigram"),
    ("unigram", "gpt2"),
    ("sentencepiece-bpe", "llama"),
    ("llama", "wordpiece:cased"),
    ("bpe:uncased", "sentencepiece-bpe"),
    ("unigram", "wordpiece"),
]


@cache
def gold_map(teacher: PieceTokenizer, student: PieceTokenizer) -> np.ndarray:
    widths = {"teacher_width": teacher.vocab_size, "student_width": student.vocab_size}
    return Projection.build(teacher, student, **widths).gold_map


class Aligned:
    """Some passages, encoded by both and aligned; `limit` for the teacher."""

    def __init__(
        self, student: PieceTokenizer, teacher: PieceTokenizer, texts: list[str], limit: int = 10**6
    ):
        characters = Characters(texts)
        self.words = Words.of(texts, characters)
        self.student = locate(student.encode(texts, characters), characters, self.words)
        self.teacher = locate(teacher.encode(texts, characters), characters, self.words)
        self.kind = kinds(self.student, self.words, student.starts_word, student.marks_spaces)
        self.gold_map = gold_map(teacher, student)
        self.keep, self.lost = cut(self.teacher, self.words, limit)
        parts = (self.student, self.teacher, self.words, self.kind, self.gold_map, self.lost)
        self.map = align(*parts)
        self.text = "".join(texts)


def pieces_of(side: Located, passage: int) -> range:
    return range(int(side.offsets[passage]), int(side.offsets[passage + 1]))


def slow_map(a: Aligned, passage: int) -> list[int]:
    """The definition of "covered", one piece at a time."""

    def words_under(side: Located, i: int) -> set[int]:
        spans = zip(a.words.start, a.words.end, strict=True)
        start, end = side.start[i], side.end[i]
        return {w for w, (s, e) in enumerate(spans) if start < end and start < e and s < end}

    def keyed(side: Located) -> dict[tuple[int, int, int], int]:
        seen: dict[tuple[int, int], int] = defaultdict(int)
        keys = {}
        for i in pieces_of(side, passage):
            if words_under(side, i):
                span = (int(side.start[i]), int(side.end[i]))
                keys[(*span, seen[span])] = i
                seen[span] += 1
        return keys

    ours, theirs = keyed(a.student), keyed(a.teacher)
    bad = {w for key, i in ours.items() if key not in theirs for w in words_under(a.student, i)}
    bad |= {w for key, i in theirs.items() if key not in ours for w in words_under(a.teacher, i)}
    where = {i: key for key, i in ours.items()}
    answer = []
    for i in pieces_of(a.student, passage):
        words = words_under(a.student, i)
        if words and max(words) >= a.lost[passage]:
            answer.append(TRUNCATED)
        elif not words or words & bad:
            answer.append(BOUNDARIES)
        else:
            j = theirs[where[i]]
            same = a.gold_map[a.kind[i], a.teacher.ids[j]] == a.student.ids[i]
            answer.append(j - int(a.teacher.offsets[passage]) if same else GOLD)
    return answer


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(hard_text, min_size=1, max_size=3), limit=st.sampled_from([10**6, 12, 5, 1]))
def test_as_defined_and_never_pieces_of_different_characters(
    student: str, teacher: str, texts: list[str], limit: int
) -> None:
    a = Aligned(vocabulary(student), vocabulary(teacher), texts, limit)
    for passage in range(len(texts)):
        pieces = pieces_of(a.student, passage)
        assert a.map[pieces].tolist() == slow_map(a, passage)
        for i in pieces:
            if a.map[i] >= 0:
                j = int(a.teacher.offsets[passage]) + int(a.map[i])
                assert a.keep[j]  # the teacher does read it
                ours, theirs = (a.text[s.start[k] : s.end[k]] for s, k in ((a.student, i), (a.teacher, j)))
                assert ours == theirs != ""


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(hard_text, min_size=1, max_size=3))
def test_the_own_tokenizer_covers_every_piece_of_a_word(kind: str, texts: list[str]) -> None:
    a = Aligned(vocabulary(kind), vocabulary(kind), texts)
    index = np.arange(len(a.map)) - a.student.offsets[a.student.row]
    in_word = a.kind != KIND_NONE
    assert (a.map[in_word] == index[in_word]).all()
    assert (a.map[~in_word] == BOUNDARIES).all()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=hard_text)
def test_pieces_know_their_words(kind: str, text: str) -> None:
    characters = Characters([text])
    words = Words.of([text], characters)
    pieces = locate(vocabulary(kind).encode([text], characters), characters, words)
    spans = word_spans(text)
    for start, end, first, last in zip(pieces.start, pieces.end, pieces.first, pieces.last, strict=True):
        under = [w for w, (s, e) in enumerate(spans) if start < end and start < e and s < end]
        assert list(range(first, last + 1)) == under


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(hard_text, min_size=1, max_size=4), limit=st.integers(1, 20))
def test_a_cut_is_the_longest_that_splits_no_word(texts: list[str], limit: int) -> None:
    a = Aligned(vocabulary("gpt2"), vocabulary("gpt2"), texts, limit)
    side = a.teacher
    for passage in range(len(texts)):
        pieces = list(pieces_of(side, passage))
        kept = [i for i in pieces if a.keep[i]]
        assert kept == pieces[: len(kept)]
        assert len(kept) <= limit
        dropped = pieces[len(kept) :]
        under = {w for i in dropped for w in range(side.first[i], side.last[i] + 1)}
        assert a.lost[passage] == min(under, default=a.words.offsets[passage + 1])
        for i in kept:  # nothing that is kept reaches into what is lost
            assert side.last[i] < side.first[i] or side.last[i] < a.lost[passage]
        if len(pieces) > limit:  # and one more word would not have fitted
            another = [i for i in pieces if side.first[i] <= a.lost[passage] or side.last[i] < side.first[i]]
            assert not dropped or len(another) > limit or side.last[another[-1]] > a.lost[passage]
        else:
            assert not dropped


def test_a_word_that_alone_is_too_long_loses_the_passage() -> None:
    a = Aligned(vocabulary("gpt2"), vocabulary("gpt2"), ["☃ xqzjvkw and", "the"], 1)
    assert a.lost.tolist() == [0, int(a.words.offsets[2])]
    first = a.student.row == 0
    assert (a.map[first & (a.kind != KIND_NONE)] == TRUNCATED).all()


def spelt(student: str, teacher: str, text: str) -> dict[str, tuple[int, int]]:
    """Student's piece text → (kind, map)."""
    a = Aligned(vocabulary(student, 900), vocabulary(teacher, 900), [text])
    spans = zip(a.student.start, a.student.end, strict=True)
    return {a.text[s:e]: (int(a.kind[i]), int(a.map[i])) for i, (s, e) in enumerate(spans)}


def test_kinds() -> None:
    words = spelt("gpt2", "gpt2", "the dog (the) sailed dogs")
    assert words["dog"][0] == KIND_OPEN_SPACED
    assert words["("][0] == KIND_OPEN_SPACED
    assert words["the"][0] == KIND_OPEN_BARE
    assert words[")"][0] == KIND_OPEN_BARE
    bare = spelt("wordpiece", "gpt2", "(the) dog")
    assert {kind for kind, _ in bare.values()} == {KIND_OPEN_SPACED}
    for kind in ("wordpiece", "gpt2", "unigram", "sentencepiece-bpe"):
        tail = spelt(kind, kind, "xqzj")
        assert list(tail.values())[-1][0] == KIND_INSIDE
    assert spelt("unigram", "unigram", "the  dog")[""][0] == KIND_NONE


def test_cased_and_uncased() -> None:
    assert spelt("wordpiece", "gpt2", "English dog")["English"][1] >= 0
    cased = spelt("gpt2", "wordpiece", "A dog The dog")
    assert cased["dog"][1] >= 0
    assert cased["The"][1] == GOLD


def test_space_marks_are_ignored_where_a_word_opens() -> None:
    for student, teacher in (("wordpiece", "gpt2"), ("unigram", "wordpiece"), ("gpt2", "unigram")):
        pieces = spelt(student, teacher, "dog (dog) dog-dog")
        assert pieces["dog"][1] >= 0, (student, teacher)
        assert pieces["("][1] >= 0, (student, teacher)


def test_a_piece_over_two_words_answers_for_neither() -> None:
    # "(hello" style: GPT-2's own cutting joins runs of punctuation.
    backend = vocabulary("gpt2")
    joined = backend.encode(["dog..."])
    a = Aligned(vocabulary("wordpiece"), backend, ["dog..."])
    spans = {(int(s), int(e)) for s, e in zip(joined.start, joined.end, strict=True)}
    if any(e - s > 1 for s, e in spans if s >= 3):
        assert (a.map[-3:] == BOUNDARIES).all()
    else:
        assert (a.map[-3:] >= 0).all()


def test_nothing_to_align() -> None:
    for texts in (["", " \t", "\u200b"], []):
        a = Aligned(vocabulary("wordpiece"), vocabulary("gpt2"), texts)
        assert (a.map == BOUNDARIES).all()
        assert (a.kind == KIND_NONE).all()


def test_long_spans_are_compared_in_full() -> None:
    unknown = "☃" + "x" * 70_000  # one unknown piece of 70,001 characters
    a = Aligned(vocabulary("wordpiece"), vocabulary("wordpiece"), [f"the {unknown} dog"])
    assert (a.map[a.kind != KIND_NONE] >= 0).all()


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_ordinary_text_is_mostly_covered(student: str, teacher: str) -> None:
    a = Aligned(vocabulary(student, 900), vocabulary(teacher, 900), [*TEXTS, *HARD])
    shares = {code: float((a.map[a.kind != KIND_NONE] == code).mean()) for code in (BOUNDARIES, GOLD)}
    assert sum(shares.values()) < 0.75, shares
