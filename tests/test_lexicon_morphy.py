"""Base forms: a table of known cases, and properties."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.lexicon.lexicon import POS, fold, open_lexicon
from limbeck.lexicon.morphy import ENDINGS, PREPOSITIONS, Morphy
from tests.mini_wordnet import write_wordnet

LEMMAS = {  # single words, then those of several
    "n": "dog church bus box quiz wish man pony glass boxful hand handful attorney general suffix line "
    "product being gas mask runner as a oct u.s. e-mail"
    "|attorney general|line of products|well-being|gas mask|runner-up",
    "v": "run dog pass try bake walk box hope take kick|run into|ask for it|take care|look up to|"
    "kick the bucket",
    "a": "fine big good well calm late near|well-known|big-eared",
    "r": "well late|at all",
}
EXCEPTIONS = {
    "n": {"men": ["man"], "axes": ["ax", "axis"], "handsful": ["handful"], "gas": ["gas"]},
    "v": {"ran": ["run"], "took": ["take"], "running": ["run"]},
    "a": {"better": ["good", "well"], "bigger": ["big"], "after": ["after"], "nearer": ["near"]},
    "r": {"better": ["well"]},
}


def _known() -> dict[str, str]:
    found: dict[str, str] = {}
    for pos, written in LEMMAS.items():
        words, *several = written.split("|")
        for lemma in [*words.split(), *several]:
            found[lemma] = found.get(lemma, "") + pos
    return found


KNOWN = _known()


@pytest.fixture
def morphy() -> Morphy:
    return Morphy(lambda lemma: KNOWN.get(lemma, ""), EXCEPTIONS)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("dog", "dog n|dog v"),
        ("dogs", "dog n|dog v"),
        ("churches", "church n"),
        ("buses", "bus n"),
        ("boxes", "box n|box v"),
        ("quizzes", ""),  # no rule halves a doubled consonant
        ("wishes", "wish n"),
        ("ponies", "pony n"),
        ("men", "man n"),
        ("suffixes", "suffix n"),
        ("glass", "glass n"),  # "ss" is no ending
        ("as", "as n"),  # nor is that of a noun of two letters
        ("gas", "gas n"),
        ("tries", "try v"),
        ("baked", "bake v"),
        ("walked", "walk v"),
        ("hoping", "hope v"),
        ("ran", "run v"),
        ("finer", "fine a"),
        ("finest", "fine a"),
        ("bigger", "big a"),
        ("after", ""),  # its exception says that it is no comparative
        ("nearer", "near a"),
        ("better", "good a|well a|well r"),
        ("later", "late a"),  # adverbs have no rules
        ("boxesful", "boxful n"),
        ("boxfuls", "boxful n"),
        ("handsful", "handful n"),
        ("ful", ""),
        ("ran into", "run into v"),
        ("running_into", "run into v"),
        ("Asking for it", "ask for it v"),
        ("took care", "take care v"),
        ("looking up to", "look up to v"),
        ("kicked the bucket", "kick the bucket v"),
        ("attorneys general", "attorney general n"),
        ("attorney generals", "attorney general n"),
        ("attorneys-general", "attorney general n"),
        ("lines of products", "line of products n"),  # Morphy itself has only "line of product"
        ("gas masks", "gas mask n"),
        ("runners-up", "runner-up n"),
        ("well known", "well-known a"),
        ("e mails", "e-mail n"),
        ("bus-es", "bus n"),
        ("oct.", "oct n"),
        ("U.S.", "u.s. n"),
        ("at all", "at all r"),
        ("hand ful", ""),  # words are never run together
        ("plantes", ""),
        ("", ""),
        ("-", ""),
        ("--ran--", "run v"),
    ],
)
def test_known_cases(morphy: Morphy, form: str, expected: str) -> None:
    found = morphy(form)
    assert "|".join(f"{lemma} {pos}" for lemma, pos in found) == expected
    for pos in POS:
        assert morphy(form, pos) == tuple(pair for pair in found if pair[1] == pos) or not found


def test_parts_of_speech(morphy: Morphy) -> None:
    assert morphy("better", "s") == morphy("better", "a") == (("good", "a"), ("well", "a"))
    assert morphy("better", "n") == ()
    assert morphy("well-known", "n") == ()


def test_without_rules_only_what_is_listed(morphy: Morphy) -> None:
    listed = Morphy(lambda lemma: KNOWN.get(lemma, ""), EXCEPTIONS, rules=False)
    assert listed("dogs") == listed("ran into") == listed("well known") == ()
    assert listed("ran") == (("run", "v"),)
    assert listed("dog") == (("dog", "n"), ("dog", "v"))


WORDS = st.sampled_from(
    [
        *(word for lemma in KNOWN for word in lemma.split()),
        *PREPOSITIONS,
        "axes",
        "men",
        "ran",
        "after",
        "better",
    ]
)
INFLECTED = st.builds(
    str.__add__, WORDS, st.sampled_from(["", "s", "es", "ed", "ing", "er", "est", "ful", "."])
)
FORMS = st.one_of(
    st.text(max_size=12),
    st.builds(
        lambda words, between: between.join(words), st.lists(INFLECTED, max_size=5), st.sampled_from(" -_")
    ),
    st.text(st.sampled_from("-. s"), max_size=40),
)


@given(FORMS)
def test_properties(form: str) -> None:
    morphy = Morphy(lambda lemma: KNOWN.get(lemma, ""), EXCEPTIONS)
    found = morphy(form)
    assert len(set(found)) == len(found)
    assert [pos for _, pos in found] == sorted((pos for _, pos in found), key=POS.index)
    for lemma, pos in found:
        assert pos in KNOWN[lemma]
        assert morphy(lemma, pos)[0] == (lemma, pos)
    for pos in KNOWN.get(fold(form), ""):
        assert morphy(form, pos)[0] == (fold(form), pos)
    assert morphy(form.replace(" ", "_")) == found
    if form.isascii():
        assert morphy(form.upper()) == found


@given(
    st.sampled_from([(pos, *rule) for pos, rules in ENDINGS.items() for rule in rules]),
    st.text(st.sampled_from("bcdfgt"), min_size=3, max_size=6),
)
def test_every_rule_leads_back(rule: tuple[str, str, str], stem: str) -> None:
    pos, suffix, ending = rule
    lemma = stem + ending
    morphy = Morphy(lambda word: pos if word == lemma else "", {})
    assert morphy(stem + suffix, pos) == ((lemma, pos),)
    assert morphy(f"{stem}{suffix}y", pos) == ()


def test_base_forms_of_a_lexicon(tmp_path: Path) -> None:
    lexicon = open_lexicon(str(write_wordnet(tmp_path, polysemous=True)))
    assert lexicon.base_forms("ran into") == (("run into", "v"),)
    assert lexicon.base_forms("ran_into", "v") == (("run into", "v"),)
    assert lexicon.base_forms("Banks") == (("bank", "n"), ("bank", "v"))
    assert lexicon.base_forms("attorneys general") == (("attorney general", "n"),)
    assert lexicon.base_forms("better", "s") == (("good", "a"), ("well", "a"))
    assert lexicon.base_forms("scarves") == ()  # listed, but its base is no lemma
