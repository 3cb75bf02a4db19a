"""The spinner: what it changes, to what, and what it leaves alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import limbeck
from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tools import spin
from limbeck.tools.spin import Spinner, Spun, collecting_seldom, paragraphs
from limbeck.tools.spin_synonyms import Synonyms
from limbeck.tools.spin_words import CONTENT, DETERMINER, ENDS, LINK, MODAL, NONE, shape
from tests.list_lexicon import ListLexicon
from tests.mini_wordnet import write_wordnet


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return open_lexicon(str(write_wordnet(tmp_path_factory.mktemp("mini") / "wordnet", polysemous=True)))


@pytest.fixture(scope="module")
def all_words(mini: Lexicon) -> Spinner:
    return Spinner(mini, rate=1.0)


LISTED = ListLexicon(
    [
        ("n", "dog, hound", "an animal", ()),
        ("n", "oak, acorn tree", "a tree", ()),
        ("n", "high school, academy", "a school", ()),
        ("n", "school, college", "a place of learning", ()),
        ("a", "high, lofty", "tall", ()),
        ("a", "quick, speedy", "fast", ()),
        ("v", "take up, adopt", "begin", ()),
        ("v", "take, seize", "get", ()),
        ("v", "walk, stroll", "go on foot", ()),
        ("v", "prove, show", "demonstrate", ()),
        ("n", "Brown, umber", "a colour and a name", ()),
        ("n", "minute, min", "a time", ()),
        ("n", "February, Feb", "a month", ()),
        ("n", "colour, color", "a hue", ()),
        ("n", "cigarette, fag", "smoked", ()),
        ("v", "can, tin", "preserve", ()),
        ("a", "two, dual", "a number", ()),
    ],
    {
        "dogs": "dog",
        "oaks": "oak",
        "took": "take",
        "took up": "take up",
        "walked": "walk",
        "proved": "prove",
        "walks": "walk",
    },
)


@pytest.fixture(scope="module")
def listed() -> Spinner:
    return Spinner(LISTED, rate=1.0)


def test_words_are_replaced_by_synonyms_of_the_same_form(all_words: Spinner) -> None:
    spun = all_words("The lawyers ran into the banks speedily.")
    assert spun.text == "The attorneys encountered the depositories quickly."
    assert (spun.words, spun.changeable, spun.changed) == (7, 5, 5)
    first = spun.changes[0]
    assert (first.start, first.end, first.text, first.replacement) == (4, 11, "lawyers", "attorneys")
    assert (first.lemma, first.pos) == ("lawyer", "n")
    sense = all_words.lexicon.sense(first.key)
    assert sense is not None
    assert sense.synset == first.synset
    assert "attorney" in sense.lemmas


def test_expressions_are_replaced_as_one(all_words: Spinner, listed: Spinner) -> None:
    assert all_words("They encounter attorneys.").text == "They run into lawyers."
    assert listed("She took up walking.").text == "She adopted walking."
    assert listed("the high school").text == "the academy"
    assert listed("the high and quick school").text == "the lofty and speedy college"


def test_capitals_and_articles(listed: Spinner, all_words: Spinner) -> None:
    assert listed("Walked dogs.").text == "Strolled hounds."
    assert listed("a high oak; An oak.").text == "a lofty acorn tree; An acorn tree."
    assert all_words("It is a limbeck. An alembic").text == "It is an alembic. A limbeck"
    wrong = all_words("It is an limbeck")  # and right behind the change: nothing to mend
    assert (wrong.text, len(wrong.changes)) == ("It is an alembic", 1)
    change = all_words("It is a limbeck.").changes[0]
    assert (change.text, change.replacement, change.synset, change.key) == ("a", "an", "", "")
    assert listed("a (high) one").text == "a (lofty) one", "nothing of it stands before the word"


@pytest.mark.parametrize(
    "text",
    [
        "He met Brown and Dog.",
        "DOGS, NASA and D.O.G.",
        "dog1 2dogs and dog_s",
        "http://dog.example/dog?dog dog/hound dog@dog.org",
        "two can walk-in February for a minute",
        "Brown sat. Dog Smith sat.",
        "a cigarette of colour",  # its only synonym is an insult; the other is the same word
        "xyzzy",
    ],
)
def test_what_is_left_alone(listed: Spinner, text: str) -> None:
    spun = listed(text)
    assert spun.text == text
    assert spun.changes == ()
    assert spun.changed == spun.changeable == 0 < spun.words


def test_a_name_elsewhere_is_a_name_at_the_start(listed: Spinner) -> None:
    assert listed("Dog sat. I saw Dog.").text == "Dog sat. I saw Dog."
    assert listed("Dogs sat. I saw Dr. Dog at the U.S. Dog show.").text.startswith(
        "Hounds sat. I saw Dr. Dog"
    )
    assert listed("I sat. (Dogs sat.)").text == "I sat. (Hounds sat.)"


def test_everything_else_is_kept(listed: Spinner) -> None:
    text = "\ufeff The  dogs\t—\u00a0“quick” dogs—\r\n\r\n\x0bdog's…\n\n é\u0301 \U0001f600dogs\n"
    made = "\ufeff The  hounds\t—\u00a0“speedy” hounds—\r\n\r\n\x0bhound's…\n\n é\u0301 \U0001f600dogs\n"
    spun = listed(text)
    assert spun.text == made
    check(text, spun)


def check(text: str, spun: Spun) -> None:
    """The changes are of the text, in order, and are all there is to its being another."""
    made, done = [], 0
    for change in spun.changes:
        assert done <= change.start < change.end
        assert text[change.start : change.end] == change.text != change.replacement
        made += [text[done : change.start], change.replacement]
        done = change.end
    assert "".join(made) + text[done:] == spun.text
    assert spun.changed <= spun.changeable <= spun.words


PIECES = [
    "dogs",
    "a",
    "An",
    "oak",
    "Dog",
    "high school",
    "took up",
    ",",
    "(",
    "walked",
    "\n\n",
    " ",
    "\t",
    ".",
    "é",
    "1",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.booleans())
def test_any_text(parts: list[str], rate: float, spaces: bool) -> None:
    text = (" " if spaces else "").join(["the dog", *parts])
    check(text, Spinner(LISTED, rate=rate)(text))


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.5])
def test_the_rate_is_of_all_words(rate: float) -> None:
    spinner = Spinner(LISTED, rate=rate)
    texts = [f"the dogs number {n} of the oaks; dogs of oaks" for n in range(400)]
    spun = [spinner(text) for text in texts]
    words, changed = sum(s.words for s in spun), sum(s.changed for s in spun)
    assert changed / words == pytest.approx(min(rate, 0.4), abs=0.02)


def test_fewer_are_changed_where_fewer_can_be(all_words: Spinner) -> None:
    spun = all_words("the dog of the lawyer, and so on, is one of them")
    assert (spun.words, spun.changed) == (12, spun.changeable)


def test_a_smaller_rate_changes_some_of_the_same_words() -> None:
    text = "dogs and oaks and quick dogs walked; high oaks, dogs, oaks and dogs. " * 5
    few, many = (Spinner(LISTED, rate=rate)(text).changes for rate in (0.1, 0.4))
    assert {(one.start, one.replacement) for one in few} < {(one.start, one.replacement) for one in many}


def test_the_same_whatever_stands_around_and_another_with_another_seed(mini: Lexicon) -> None:
    blocks = [f"The lawyer {n} ran into the man at the bank; the dog ran quickly.\n\n" for n in range(6)]
    one = Spinner(mini, rate=0.2)("".join(blocks)).text
    other = Spinner(mini, rate=0.2)("".join(reversed(blocks))).text
    assert sorted(one.split("\n\n")) == sorted(other.split("\n\n"))
    assert Spinner(mini, rate=0.2)("".join(blocks)).text == one
    assert Spinner(mini, rate=0.2, seed=1)("".join(blocks)).text != one


@given(
    st.lists(st.sampled_from(["ab", " ", "\n", "\n\n", "\r\n\r\n", "c" * 30, "\n \n\t"]), max_size=60),
    st.integers(1, 50),
)
def test_paragraphs_are_the_text_however_it_comes(parts: list[str], size: int) -> None:
    text = "".join(parts)
    whole = list(paragraphs([text]))
    assert "".join(whole) == text
    assert all(whole)
    assert list(paragraphs(text[i : i + size] for i in range(0, len(text), size))) == whole


def test_long_paragraphs_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spin, "LONGEST", 20)
    assert list(paragraphs(["one two three four five six\nseven\n\neight"])) == [
        "one two three four ", "five six\nseven\n\n", "eight",
    ]  # fmt: skip
    assert list(paragraphs(["x" * 45])) == ["x" * 20, "x" * 20, "x" * 5]


def test_paragraphs_come_as_the_text_does(all_words: Spinner) -> None:
    read = 0

    def chunks() -> Iterator[str]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "The lawyer ran.\n\n" * 100

    assert next(all_words.stream(chunks())).text == "The attorney operated.\n\n"
    assert read < 60


def test_bad_rates_and_empty_text(all_words: Spinner) -> None:
    for rate in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"rate is .*; it must be above 0 and at most 1"):
            Spinner(LISTED, rate=rate)
    for text in ("", " \n\n", "…—!"):
        with pytest.raises(UserError, match="the text is empty"):
            all_words(text)


def test_it_is_public() -> None:
    assert limbeck.Spinner is Spinner


def test_the_neighbours_choose_the_part_of_speech() -> None:
    lexicon = ListLexicon([("n", "walk, stroll", "", ()), ("v", "walk, ambulate", "", ())], {"walks": "walk"})
    synonyms = Synonyms(lexicon)

    def chosen(left: int, right: int) -> str | None:
        choice = synonyms.choose("walk", left, right)
        return None if choice is None else choice.pos

    assert chosen(DETERMINER, ENDS) == "n"
    assert chosen(MODAL, CONTENT) == "v"
    assert chosen(shape("to").left, shape("the").right) == "v"
    assert chosen(shape("the").left, shape("of").right) == "n"
    assert synonyms.choose("walk", shape("not").left, LINK) == synonyms.choose("walk", NONE, LINK)


def test_a_verb_form_that_may_be_two_is_told_by_what_stands_before(listed: Spinner) -> None:
    assert listed("He proved it.").text == "He showed it."
    irregular = ListLexicon([("v", "prove, show", "", ())], {"proved": "prove"})
    irregular.exceptions = {"v": {"shown": ["show"]}}
    spinner = Spinner(irregular, rate=1.0)
    assert spinner("We have proved it, and he proved it.").text == "We have shown it, and he showed it."


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("dog", (True, 0, 3, False, "dog", False, True, False)),
        ("(Dog's),", (True, 1, 4, True, "dog", True, False, False)),
        ("end.”", (True, 0, 3, True, "end", False, True, True)),
        ("Dr.", (True, 0, 2, True, "dr", True, False, False)),
        ("U.S.", (True, 0, 0, True, "", False, False, False)),
        ("—", (False, 0, 0, True, "", False, False, False)),
        ("J.", (True, 0, 1, True, "j", True, False, False)),
    ],
)
def test_shapes(run: str, expected: tuple[Any, ...]) -> None:
    assert shape(run)[:8] == expected


@pytest.mark.data
def test_wordnet_itself() -> None:
    if not Path("/usr/share/wordnet/data.noun").is_file():
        pytest.skip("WordNet is not installed")
    spinner = Spinner(open_lexicon("/usr/share/wordnet"), rate=1.0)
    text = (
        "He had proved that the bigger automobiles were hurrying to a vast hospital. She took part in it "
        "quickly, for example, but in May the two men could not see what the lawyers' children were buying."
    )
    spun = spinner(text)
    replaced = {change.text: change.replacement for change in spun.changes}
    assert replaced["bigger"] == "larger"
    assert replaced["took part"] == "participated"
    assert replaced["hurrying"].split()[0].endswith("ing")
    assert replaced["automobiles"].endswith("s")
    assert not {"May", "two", "men", "could", "see", "had", "were", "not"} & set(replaced)
    check(text, spun)


def test_cycles_are_sought_seldom_while_a_program_spins() -> None:
    before = gc.get_threshold()
    with collecting_seldom():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 100 * before[0]
    assert gc.get_threshold() == before
