"""Sentences, content words and expressions of running text, and what a caller knows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tools.find_words import WordFinder, tags_within
from limbeck.tools.questions import in_context
from limbeck.tools.sentences import LONGEST, segments
from limbeck.tools.tags import Tag, read_document, tags
from tests.list_lexicon import ListLexicon
from tests.mini_wordnet import write_wordnet


def sentences(text: str) -> list[str]:
    return [segment.text.strip() for segment in segments([text]) if segment.text.strip()]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Watson met J. S. Bach in the U.S. Army.", "He asked (why?) and left.", "Then it rained!"],
        ["He paid No. 5 at 3.5 %, i.e. too much.", "“It is over.”", "(So it was.)", "No.", "Yes…", "Why?"],
        ["It was I.", "Nobody else at 5 p.m.", "The end"],
        ["a.b c.d e. f and so on, etc. as before"],
        ["これは文です。", "次の文！", "終わり"],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected
    assert sentences("\n".join(expected)) == expected


def test_a_blank_line_ends_a_sentence_and_a_line_end_does_not() -> None:
    assert sentences("A heading\n\nand a\nsentence\r\n \r\nnext\n") == [
        "A heading",
        "and a\nsentence",
        "next",
    ]


def test_what_has_no_end_is_cut_at_a_word() -> None:
    found = list(segments(["word " * 2000]))
    assert all(len(segment.text) <= LONGEST + 1 and segment.text.endswith("word ") for segment in found)
    assert [len(segment.text) for segment in segments(["x" * (2 * LONGEST + 5)])] == [LONGEST, LONGEST, 5]


PIECES = st.sampled_from(
    ["a", "B", " ", "  ", "\n", "\n\n", ". ", "!", "? ", "Dr.", "5", "。", '"', "é", "x" * 700, " " * 900]
)


@given(st.lists(PIECES, max_size=60), st.integers(1, 997))
def test_the_segments_are_the_text_however_it_is_cut_into_chunks(parts: list[str], size: int) -> None:
    text = "".join(parts) * 3
    whole = list(segments([text]))
    assert "".join(segment.text for segment in whole) == text
    assert all(segment.text for segment in whole)
    assert [segment.start for segment in whole] == [
        sum(len(before.text) for before in whole[:place]) for place in range(len(whole))
    ]
    assert list(segments(text[i : i + size] for i in range(0, len(text), size))) == whole


def test_segments_are_made_as_the_text_comes() -> None:
    read = 0

    def chunks() -> Iterator[str]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "A short sentence. " * 30

    found = segments(chunks())
    assert next(found).text == "A short sentence. "
    assert read < 20


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return open_lexicon(str(write_wordnet(tmp_path_factory.mktemp("mini") / "wordnet", polysemous=True)))


def found(lexicon: Any, text: str, *known: tuple[str, str]) -> dict[str, str]:
    """Each word that is found, with the parts of speech and lemmas of its senses."""
    said = [Tag(text.index(word), text.index(word) + len(word), pos) for word, pos in known]
    targets = WordFinder(lexicon)(text, sorted(said))
    return {
        text[t.start : t.end]: " ".join(
            dict.fromkeys(f"{s.pos}:{s.lemma.replace(' ', '_')}" for s in t.senses)
        )
        for t in targets
    }


def test_content_words_are_found_by_reduction(mini: Lexicon) -> None:
    assert found(mini, "The dogs were running quickly.") == {
        "dogs": "n:dog v:dog",
        "running": "v:run",
        "quickly": "r:quickly",
    }
    assert found(mini, "xyzzy and of the 50 q. B!") == {}


def test_expressions_are_found_the_longest_first(mini: Lexicon) -> None:
    assert found(mini, "Men of letters ran into the attorneys\n general of New York.") == {
        "Men of letters": "n:man_of_letters",
        "ran into": "v:run_into",
        "attorneys\n general": "n:attorney_general",
        "New York": "n:New_York",
    }
    assert found(mini, "He took care.") == {"took care": "v:take_care"}
    assert found(mini, "She ran, into the man (of letters).") == {
        "ran": "v:run",
        "man": "n:man",
    }, "an expression does not go over punctuation"


def test_hyphens_and_endings(mini: Lexicon) -> None:
    assert found(mini, "the man's well-known river-bank, the dog’s, men'll") == {
        "man": "n:man",
        "well-known": "a:well-known",
        "river": "n:river",
        "bank": "n:bank v:bank",
        "dog": "n:dog v:dog",
        "men": "n:man",
    }


LISTED = ListLexicon(
    [
        ("n", "May", "a month", ()),
        ("n", "US", "a country", ()),
        ("n", "can", "a vessel", ()),
        ("v", "can", "preserve", ()),
        ("v", "have", "possess", ()),
        ("r", "of course", "naturally", ()),
        ("v", "be on", "appear in a show", ()),
        ("v", "have on", "wear", ()),
        ("n", "St. Louis", "a city", ()),
        ("a", "old", "aged", ()),
        ("r", "in front", "before", ()),
        ("n", "front", "a side", ()),
        ("n", "7", "a number", ()),
    ],
    {"has": "have", "had": "have", "was on": "be on", "has on": "have on"},
)


def test_function_words_are_left_out() -> None:
    assert found(LISTED, "It can have us; in a can, can't you? She had 7.") == {}
    assert found(LISTED, "Of course she was on and has on what they have on.") == {"Of course": "r:of_course"}
    assert found(LISTED, "In St. Louis") == {"St. Louis": "n:St._Louis"}


def test_a_function_word_that_is_written_as_a_name_is_found() -> None:
    assert found(LISTED, "It may rain in May; US or us") == {"May": "n:May", "US": "n:US"}
    assert found(LISTED, "May I? ") == {}, "every sentence starts with a capital"
    assert found(LISTED, "LET US GO IN MAY") == {}, "where all is in capitals they tell nothing"


def test_the_caller_knows_the_parts_of_speech(mini: Lexicon) -> None:
    text = "The dog can bank"
    assert found(mini, text, ("dog", "n"), ("bank", "v")) == {"dog": "n:dog", "bank": "v:bank"}
    assert found(mini, text, ("dog", ""), ("bank", "r")) == {}
    assert found(LISTED, text, ("can", "n")) == {"can": "n:can"}
    assert found(LISTED, "They had 7", ("had", "v"), ("7", "n")) == {"had": "v:have", "7": "n:7"}
    assert found(mini, "ran into it", ("ran", "v"), ("into", "")) == {"ran into": "v:run_into"}
    assert found(LISTED, "in front", ("in", ""), ("front", "n")) == {"in front": "r:in_front"}
    assert found(LISTED, "of course", ("of", ""), ("course", "")) == {}


def test_spans_and_parts_of_speech_are_checked() -> None:
    text = "The old dog"
    assert tags(text, [(8, 11, "NOUN"), (4, 7, "s"), (0, 3, "DET")]) == [
        Tag(0, 3, ""),
        Tag(4, 7, "a"),
        Tag(8, 11, "n"),
    ]
    for wrong, message in (
        ((8, 12, "n"), "the span 8 to 12 is no part of a text of 11 characters"),
        ((-1, 3, "n"), "is no part of a text"),
        ((3, 3, "n"), "is no part of a text"),
        ((3, 4, "n"), "has no word in it, but ' '"),
        ((0, 3, "noun"), "unknown part of speech 'noun' of 'The'"),
    ):
        with pytest.raises(UserError, match=message):
            tags(text, [wrong])
    with pytest.raises(UserError, match="the spans 0 to 7 and 4 to 7 overlap"):
        tags(text, [(4, 7, "a"), (0, 7, "n")])
    known = [Tag(0, 3, ""), Tag(4, 7, "a"), Tag(8, 11, "n")]
    assert tags_within(known, 4, 9) == [Tag(0, 3, "a"), Tag(4, 7, "n")]
    assert tags_within(known, 3, 4) == []


class Document:
    """What looks like a spaCy `Doc`."""

    def __init__(self, *words: tuple[str, str]) -> None:
        self.text = " ".join(word for word, _ in words)
        places = [len(" ".join(["", *(w for w, _ in words[:n])])) for n in range(len(words))]
        self._tokens = [
            SimpleNamespace(idx=place, text=word, pos_=pos)
            for place, (word, pos) in zip(places, words, strict=True)
        ]

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return iter(self._tokens)


def test_documents_are_read_by_their_looks() -> None:
    document = Document(("The", "DET"), ("dog", "NOUN"), ("can", "AUX"), ("bank", ""))
    assert read_document(document) == ("The dog can bank", [Tag(0, 3, ""), Tag(4, 7, "n"), Tag(8, 11, "")])
    assert read_document("plain") == ("plain", [])
    for wrong in (5, ["a"], None, SimpleNamespace(text="a")):
        with pytest.raises(UserError, match="a text is a string or a spaCy Doc, not"):
            read_document(wrong)


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["ran into ", "dog's", "-", "New ", "york", ". "])).map("".join)
)
def test_what_is_found_lies_in_the_text_and_does_not_overlap(text: str) -> None:
    before = 0
    for target in WordFinder(LISTED)(text):
        assert before <= target.start < target.end <= len(text)
        assert target.senses
        before = target.end


def test_a_context_has_single_spaces_and_an_exact_span() -> None:
    text = '  He  ran\n into\t"the" bank\ud800 there, \n'
    start = text.index("ran")
    found = in_context("i", text, start, text.index("into") + 4, 50)
    assert found.context == 'He ran into "the" bank\ufffd there,'
    assert found.target == "ran into"
    assert in_context("i", text, text.index("the"), text.index("the") + 3, 50).target == "the"
    short = in_context("i", "one two three four five six seven", 14, 18, 2)
    assert (short.context, short.target) == ("two three four five six", "four")
    assert in_context("i", "bank", 0, 4, 9).context == "bank"


def test_the_expressions_of_a_lexicon_are_as_long_as_it_says(tmp_path: Path) -> None:
    long = ListLexicon([("n", "a b c d e", "letters", ()), ("n", "c", "one", ())])
    text = "x a b c d e"
    assert found(long, text) == {"a b c d e": "n:a_b_c_d_e"}
    assert found(long, "a b c d") == {}
