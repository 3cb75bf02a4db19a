"""Candidates, WordNet's examples as instances, a user's annotations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import UserError
from limbeck.gloss.annotations import MOST_SHOWN
from limbeck.gloss.examples import find_form
from limbeck.gloss.instances import (
    ExampleCounts,
    Instance,
    candidates,
    read_jsonl,
    wordnet_examples,
    write_jsonl,
)
from limbeck.text.wordnet_documents import is_held_out
from tests.list_lexicon import ListLexicon

LEXICON = ListLexicon(
    [
        ("n", "bank", "sloping land", ("they sat on the banks of a river", "no such word here")),
        ("n", "bank, depository", "where money is kept", ("he cashed a check at the bank",)),
        ("v", "bank", "tip sideways", ("The pilot banked",)),
        ("v", "look up, research", "search for", ("she looked up the word", "look the word up")),
        ("a", "well-known, known", "widely met", ("a well-known poet and a known fact",)),
        ("n", "U.S., New York", "a place", ("in the U.S. of old", "NEW  YORK is big")),
        ("r", "calmly", "in a calm way", ()),
    ],
    {"banks": "bank", "banked": "bank", "looked up": "look up", "left": "leave"},
)


def at(context: str, target: str, **fields: Any) -> Instance:
    start = context.index(target)
    return Instance(
        fields.get("id", "x"),
        context,
        start,
        start + len(target),
        fields.get("lemma", ""),
        fields.get("pos"),
        fields.get("gold", ()),
    )


def keys(instance: Instance, of: Any) -> list[str]:
    return [sense.key for sense in candidates(LEXICON, instance, of)]


def test_candidates_of_the_gold_part_of_speech_or_of_all() -> None:
    noun = at("the banks", "banks", lemma="bank", pos="n")
    assert keys(noun, "gold") == ["bank%1:00:00::", "bank%1:00:01::"]
    assert keys(noun, "all") == ["bank%1:00:00::", "bank%1:00:01::", "bank%2:00:00::"]
    assert keys(replace(noun, pos=None), "gold") == keys(noun, "all")
    assert keys(replace(noun, lemma=""), "gold") == keys(noun, "gold")  # by its base forms
    assert keys(replace(noun, lemma="banks"), "all") == keys(noun, "all")
    assert keys(replace(noun, lemma="new_york"), "gold") == ["new_york%1:00:00::"]
    assert keys(replace(noun, pos="r"), "gold") == []  # the lemma is known, but is no adverb
    assert keys(replace(noun, lemma="zebra"), "all") == []


def test_examples_become_instances_where_the_word_is_found() -> None:
    counts = ExampleCounts()
    found = list(wordnet_examples(LEXICON, counts=counts))
    assert [(i.target, i.lemma, i.pos, i.gold) for i in found] == [
        ("banks", "bank", "n", ("bank%1:00:00::",)),
        ("bank", "bank", "n", ("bank%1:00:01::",)),
        ("banked", "bank", "v", ("bank%2:00:00::",)),
        ("looked up", "look up", "v", ("look_up%2:00:00::",)),
        ("well-known", "well-known", "a", ("well-known%3:00:00::",)),
        ("U.S.", "U.S.", "n", ("u.s.%1:00:00::",)),
        ("NEW  YORK", "New York", "n", ("new_york%1:00:00::",)),
    ]
    assert counts == ExampleCounts(synsets=6, examples=9, found=7, not_found=2)
    assert len({i.id for i in found}) == len(found)
    assert all(len(i.id.split()) == 1 for i in found)
    for instance in found:
        assert instance.gold[0] in keys(instance, "gold")


def test_held_out_synsets_are_those_of_the_text() -> None:
    synsets = [("n", f"word{n}", "a word", (f"here is word{n}",)) for n in range(200)]
    lexicon = ListLexicon(synsets)
    parts = {part: list(wordnet_examples(lexicon, part=part)) for part in ("train", "valid", None)}
    valid = {lexicon.sense(i.gold[0]).synset for i in parts["valid"]}  # type: ignore[union-attr]
    assert valid == {name for n in range(200) if is_held_out(name := f"n{n:08d}")}
    assert 0 < len(valid) < 40
    assert sorted(parts[None], key=lambda i: i.id) == sorted(
        parts["train"] + parts["valid"], key=lambda i: i.id
    )


@pytest.mark.parametrize(
    ("text", "lemma", "found"),
    [
        ("a well-known man", "known", None),
        ("a well-known man", "well", None),
        ("you don't say", "don", None),
        ("it is one o'clock", "clock", None),
        ("the dog's tail", "dog", "dog"),
        ("run--quickly", "run", "run"),
        ("New. York", "new york", None),
        ("a Dog", "dog", "Dog"),
        ("", "dog", None),
    ],
)
def test_what_counts_as_a_form(text: str, lemma: str, found: str | None) -> None:
    place = find_form(text, (lemma,), "n", lambda form, pos: ())
    assert (None if place is None else text[place[0] : place[1]]) == found


def test_the_longest_form_is_taken_then_the_first() -> None:
    lemmas = ("dog", "domestic dog")
    assert find_form("a dog, a domestic dog", lemmas, "n", lambda form, pos: ()) == (9, 21, "domestic dog")
    assert find_form("a dog, a dog", lemmas, "n", lambda form, pos: ()) == (2, 5, "dog")


GOOD = {"context": "He went to the bank.", "start": 15, "end": 19}


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_annotations_read_and_written(tmp_path: Path) -> None:
    full = {**GOOD, "id": "a", "lemma": "new_york  city", "pos": "n", "gold": ["k%1", "k%1", "l%1"]}
    path = write(tmp_path / "a.jsonl", GOOD, "", full)
    found = list(read_jsonl(path))
    assert found == [
        Instance("1", GOOD["context"], 15, 19, "", None, ()),
        Instance("a", GOOD["context"], 15, 19, "new york city", "n", ("k%1", "l%1")),
    ]
    assert found[0].target == "bank"
    write_jsonl(tmp_path / "b.jsonl", found)
    assert list(read_jsonl(tmp_path / "b.jsonl")) == found


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "this is no JSON"),
        ("[1]", "this is no JSON object"),
        ('{"start": 1' + "0" * 5000 + "}", "this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ({"context": "x"}, "start and end lacking"),
        ({**GOOD, "lema": "bank"}, "unknown field 'lema'"),
        ({**GOOD, "start": "15"}, "start is '15'; it must be a whole number"),
        ({**GOOD, "start": True}, "start is True; it must be a whole number"),
        ({**GOOD, "end": 99}, "start 15 and end 99 are no part of a context of 20 characters"),
        ({**GOOD, "start": -1}, "start -1 and end 19 are no part"),
        ({**GOOD, "end": 15}, "start 15 and end 15 are no part"),
        ({**GOOD, "start": 2, "end": 3}, "the target from 2 to 3 is white space"),
        ({**GOOD, "pos": "NOUN"}, "pos is 'NOUN'; it must be one of n, v, a, r"),
        ({**GOOD, "gold": "k%1"}, "gold is 'k%1'; it must be a list of sense keys"),
        ({**GOOD, "gold": ["k %1"]}, "gold has 'k %1'"),
        ({**GOOD, "id": "a b"}, "id has 'a b'"),
        ({**GOOD, "id": "1"}, "the id '1' stands on an earlier line too"),
        ({**GOOD, "context": "half \ud83d of it, and more"}, "half of a character"),
    ],
)
def test_a_bad_line_has_one_error(tmp_path: Path, row: Any, says: str) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, row)
    reader = read_jsonl(path)
    assert next(reader).id == "1"
    with pytest.raises(UserError) as caught:
        next(reader)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert "\n" not in str(caught.value)


def test_every_bad_line_is_told_up_to_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "{", GOOD, "[]")
    with pytest.raises(UserError) as caught:
        list(read_jsonl(path))
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{path}, line 1",
        f"{path}, line 3",
    ]
    write(path, *["{"] * (MOST_SHOWN + 7))
    with pytest.raises(UserError, match="7 more such lines"):
        list(read_jsonl(path))
    path.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        list(read_jsonl(path))
