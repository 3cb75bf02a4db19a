"""Inflection: forms of lemmas, and which form of a lemma a word is."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.lexicon.lexicon import open_lexicon
from limbeck.tools.inflect import FORMS, Inflector, starts_with_vowel_sound
from tests.mini_wordnet import write_wordnet

IRREGULAR = {
    "n": {"men": ["man"], "boxesful": ["boxful"], "axes": ["ax", "axis"], "wolves": ["wolf"]},
    "v": {
        "took": ["take"], "taken": ["take"], "ran": ["run"], "running": ["run"], "sang": ["sing"],
        "sung": ["sing"], "proven": ["prove"], "stopped": ["stop"], "stopping": ["stop"],
        "became": ["become"],
    },
    "a": {"better": ["good"], "best": ["good"], "bigger": ["big"], "biggest": ["big"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def inflector() -> Inflector:
    return Inflector(IRREGULAR)


@pytest.mark.parametrize(
    ("pos", "expected"),
    [
        ("v", "take takes taking took taken"),
        ("v", "run runs running ran run"),
        ("v", "become becomes becoming became become"),
        ("v", "sing sings singing sang sung"),
        ("v", "prove proves proving proved proven"),
        ("v", "stop stops stopping stopped stopped"),
        ("v", "plan plans planning planned planned"),  # by rule: one syllable
        ("v", "visit visits visiting visited visited"),
        ("v", "carry carries carrying carried carried"),
        ("v", "play plays playing played played"),
        ("v", "tie ties tying tied tied"),
        ("v", "agree agrees agreeing agreed agreed"),
        ("v", "fix fixes fixing fixed fixed"),
        ("v", "cut cuts cutting cut cut"),
        ("v", "beat beats beating beat beaten"),
        ("n", "man men"),
        ("n", "wolf wolves"),
        ("n", "woman women"),
        ("n", "city cities"),
        ("n", "church churches"),
        ("n", "day days"),
        ("n", "series series"),
        ("a", "good better best"),
        ("a", "large larger largest"),
        ("a", "red redder reddest"),
        ("a", "happy happier happiest"),
    ],
)
def test_forms(inflector: Inflector, pos: str, expected: str) -> None:
    forms = expected.split()
    assert [inflector.inflect(forms[0], pos, name) for name in FORMS[pos]] == forms


def test_words_of_several_parts(inflector: Inflector) -> None:
    assert inflector.inflect("run into", "v", "past") == "ran into"
    assert inflector.inflect("man of letters", "n", "plural") == "men of letters"
    assert inflector.inflect("police officer", "n", "plural") == "police officers"
    assert inflector.inflect("mother-in-law", "n", "plural") == "mothers-in-law"
    assert inflector.inflect("reasonable", "a", "comparative") == "more reasonable"
    assert inflector.inflect("well-known", "a", "superlative") == "most well-known"


def test_what_has_no_plural_has_none(inflector: Inflector) -> None:
    assert inflector.inflect("information", "n", "plural") is None


def test_which_form_a_word_is(inflector: Inflector) -> None:
    assert inflector.forms_of("took", "take", "v") == ("past",)
    assert inflector.forms_of("walked", "walk", "v") == ("past", "participle")
    assert inflector.forms_of("cut", "cut", "v") == ("base", "past", "participle")
    assert inflector.forms_of("run", "run", "v") == ("base", "participle")
    assert inflector.forms_of("proved", "prove", "v") == ("past", "participle"), "beside proven"
    assert inflector.forms_of("ran into", "run into", "v") == ("past",)
    assert inflector.forms_of("axes", "axis", "n") == ("plural",)
    assert inflector.forms_of("series", "series", "n") == ("singular", "plural")
    assert inflector.forms_of("first-team", "first team", "n") == ("singular",)
    assert inflector.forms_of("bigger", "big", "a") == ("comparative",)
    assert inflector.forms_of("quickly", "quickly", "r") == ("positive",)


@pytest.mark.parametrize(
    ("article", "words"),
    [
        ("an", "apple hour honest umbrella unimportant urban heir uninteresting"),
        ("a", "dog unit user European one-way university unanimous uranium utility ewe"),
    ],
)
def test_the_article_before_a_word(article: str, words: str) -> None:
    wrong = [word for word in words.split() if starts_with_vowel_sound(word) != (article == "an")]
    assert wrong == []


def test_the_exceptions_are_the_lexicons(tmp_path: Path, cache: Path) -> None:
    lexicon = open_lexicon(str(write_wordnet(tmp_path / "wordnet", polysemous=True)))
    inflector = Inflector(lexicon.exceptions)
    assert inflector.inflect("scarf", "n", "plural") == "scarves"
    assert inflector.inflect("take care", "v", "participle") == "taken care"
