"""The disambiguator: what it says of texts, of many, in chunks, of one's own glosses; what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck.errors import UserError
from limbeck.gloss.instance import Instance
from limbeck.gloss.model import GlossModel
from limbeck.gloss.predict import predict
from limbeck.gloss.settings import GlossSettings
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tools import questions
from limbeck.tools.disambiguate import Disambiguator
from limbeck.tools.words import Word
from tests.gloss_models import family_tokenizer
from tests.list_lexicon import ListLexicon
from tests.mini_wordnet import write_wordnet
from tests.models import POSITIONS
from tests.test_disambiguate_words import Document

TEXT = "The dogs ran into the bank. He banked, and the calm man was good! A river ran by the bank"


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return open_lexicon(str(write_wordnet(tmp_path_factory.mktemp("mini") / "wordnet", polysemous=True)))


def make_model(
    checkpoint: Callable[..., Path], lexicon: Lexicon, family: str = "bert", **more: Any
) -> GlossModel:
    torch.manual_seed(1)
    settings = {
        "max_length": POSITIONS, "objective": "choice", "layout": "packed", "candidates": "all",
        "lexicon": f"{lexicon.name} {lexicon.version}", "lexicon_fingerprint": lexicon.fingerprint,
    }  # fmt: skip
    model = GlossModel.start(
        checkpoint(family, tokenizer=family_tokenizer(family)), GlossSettings(**settings | more)
    )
    torch.nn.init.normal_(model.head.weight, std=2.0)
    return model.eval()


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path], lexicon: Lexicon) -> GlossModel:
    return make_model(checkpoint, lexicon)


@pytest.fixture
def disambiguator(model: GlossModel, lexicon: Lexicon) -> Disambiguator:
    return Disambiguator(model, lexicon)


def same(words: list[Word], others: list[Word]) -> bool:
    """Whether the words are the same, and their probabilities to 1e-5."""
    return [(*word[:4], word.source) for word in words] == [
        (*word[:4], word.source) for word in others
    ] and all(
        word.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        for word, other in zip(words, others, strict=True)
    )


def test_every_content_word_has_the_sense_that_the_model_prefers(
    disambiguator: Disambiguator, model: GlossModel, lexicon: Lexicon
) -> None:
    words = disambiguator(TEXT)
    assert [word.text for word in words] == [
        "dogs", "ran into", "bank", "banked", "calm", "man", "good", "river", "ran", "bank",
    ]  # fmt: skip
    assert all(TEXT[word.start : word.end] == word.text for word in words)
    by_text = {word.text: word for word in words}
    assert by_text["river"].source == "only-sense"
    assert (by_text["river"].probability, by_text["river"].probabilities) == (1.0, (1.0,))
    assert {word.source for word in words} == {"only-sense", "model"}
    sentence = "The dogs ran into the bank."
    asked = [
        Instance("x", sentence, sentence.index(form), sentence.index(form) + len(form), "", None)
        for form in ("dogs", "bank")
    ]
    for word, answer in zip((words[0], words[2]), predict(model, model.encoder, lexicon, asked), strict=True):
        assert word.senses == answer.senses
        assert word.probabilities == pytest.approx(answer.probabilities.tolist(), abs=1e-5)
        assert word.probability == max(word.probabilities)
        assert word.sense == word.senses[word.probabilities.index(max(word.probabilities))]
        assert (word.lemma, word.pos, word.key, word.gloss) == (
            word.sense.lemma, word.sense.pos, word.sense.key, word.sense.gloss,
        )  # fmt: skip
    assert words[2].probabilities != pytest.approx(words[-1].probabilities, abs=1e-4), "the context counts"


def test_it_is_a_public_name_and_loads_what_was_saved(
    disambiguator: Disambiguator, model: GlossModel, lexicon: Lexicon, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    loaded = limbeck.Disambiguator.from_pretrained(tmp_path / "model", lexicon=lexicon, device="cpu")
    assert same(loaded(TEXT), disambiguator(TEXT))


def test_line_ends_and_indents_do_not_matter(disambiguator: Disambiguator) -> None:
    broken = TEXT.replace(" ", "\n\t ")
    words = disambiguator(broken)
    assert all(broken[word.start : word.end] == word.text for word in words)
    for word, plain in zip(words, disambiguator(TEXT), strict=True):
        assert word.senses == plain.senses
        assert word.probabilities == pytest.approx(plain.probabilities, abs=1e-5)


def test_the_window_is_that_of_the_training_unless_said(
    disambiguator: Disambiguator, model: GlossModel, lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = Disambiguator(model, lexicon, window=1)
    assert not same(wide(TEXT), disambiguator(TEXT))
    assert [word[:3] for word in wide(TEXT)] == [word[:3] for word in disambiguator(TEXT)]
    whole = TEXT[: TEXT.index("!") + 1]  # of the first sentence and its neighbour
    asked = Instance("x", whole, TEXT.index("bank"), TEXT.index("bank") + 4, "", None)
    (answer,) = predict(model, model.encoder, lexicon, [asked])
    assert wide(TEXT)[2].probabilities == pytest.approx(answer.probabilities.tolist(), abs=1e-5)
    monkeypatch.setattr(model, "settings", replace(model.settings, window=1))
    assert same(Disambiguator(model, lexicon)(TEXT), wide(TEXT))
    with pytest.raises(UserError, match="window is -1; it must be 0 or more"):
        Disambiguator(model, lexicon, window=-1)


def test_without_a_context_the_first_sense_is_taken_and_marked(disambiguator: Disambiguator) -> None:
    (word,) = disambiguator("“Bank”!")
    assert (word.source, word.probability, word.probabilities) == ("first-sense", None, ())
    assert word.gloss == "sloping land beside water", "the sense met most often"
    assert len(word.senses) == 4
    (word,) = disambiguator("dogs")
    assert (word.gloss, word.source) == ("a tame animal that barks", "first-sense")


def test_what_is_too_long_for_the_model_falls_back_alone(model: GlossModel) -> None:
    long = " ".join(["dog"] * 40)
    lexicon = ListLexicon(
        [("n", long, "first", ()), ("n", long, "second", ())]
        + [("n", "fox", f"the {kind}", ()) for kind in ("old", "sea")]
    )
    words = Disambiguator(model, lexicon)(f"The fox and {long} and a fox.")
    assert [(word.text, word.source, word.key) for word in words[1:2]] == [
        (long, "first-sense", f"{long.replace(' ', '_')}%1:00:00::")
    ]
    alone = Disambiguator(model, lexicon)("The fox.")
    assert [word.source for word in (words[0], words[2], *alone)] == ["model"] * 3


def test_one_wrong_model_is_no_fall_back(checkpoint: Callable[..., Path], lexicon: Lexicon) -> None:
    spoilt = make_model(checkpoint, lexicon)
    torch.nn.init.constant_(spoilt.head.bias, float("nan"))
    with pytest.raises(UserError, match="NaN or infinity"):
        Disambiguator(spoilt, lexicon)(TEXT)


def test_parts_of_speech_narrow_the_choice(disambiguator: Disambiguator) -> None:
    text = "The dogs bank well"
    both, bank, _ = disambiguator(text)
    assert {sense.pos for sense in bank.senses} == {"n", "v"}
    only = disambiguator(text, [(9, 13, "v"), (14, 18, "ADV")])
    assert [{sense.pos for sense in word.senses} for word in only] == [{"n", "v"}, {"v"}, {"r"}]
    assert same(only[:1], [both])
    document = Document(("The", "DET"), ("dogs", "NOUN"), ("bank", "VERB"), ("well", "ADV"))
    assert document.text == text
    tagged = disambiguator(document)
    assert [(word.text, {s.pos for s in word.senses}) for word in tagged] == [
        ("dogs", {"n"}), ("bank", {"v"}), ("well", {"r"}),
    ]  # fmt: skip
    assert same(tagged, next(disambiguator.many([document])))
    with pytest.raises(UserError, match="the span 14 to 19 is no part of a text of 18"):
        disambiguator(text, [(14, 19, "v")])


def test_many_texts_one_after_the_other(
    disambiguator: Disambiguator, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [TEXT, "", "The of.", "The calm river bank", " \n", TEXT[:27], "dog"]
    expected = [disambiguator(text) if text.strip() else [] for text in texts]
    assert all(map(same, disambiguator.many(texts), expected))
    assert [len(words) for words in disambiguator.many(texts)] == [10, 0, 0, 3, 0, 3, 1]
    monkeypatch.setattr(questions, "BATCH", 2)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield texts[read % len(texts)]

    answers = disambiguator.many(endless())
    assert [len(next(answers)) for _ in range(8)] == [0, 0, 3, 0, 3, 1, 10, 0]
    assert read < 14, "texts are read as they are needed"
    with pytest.raises(UserError, match="many takes several texts"):
        disambiguator.many(TEXT)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_the_same_text_in_parts(disambiguator: Disambiguator, size: int) -> None:
    text = f" {TEXT}.\n\n{TEXT}"
    found = list(disambiguator.stream(text[i : i + size] for i in range(0, len(text), size)))
    assert "".join(sentence.text for sentence in found) == text
    assert [sentence.start for sentence in found] == [
        sum(len(before.text) for before in found[:place]) for place in range(len(found))
    ]
    words = [word for sentence in found for word in sentence.words]
    assert same(words, disambiguator(text))
    assert all(text[word.start : word.end] == word.text for word in words)


def test_a_stream_is_answered_while_it_comes(
    disambiguator: Disambiguator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "BATCH", 16)
    read = 0

    def chunks() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"{TEXT}.\n" * 20

    found = disambiguator.stream(chunks())
    for _ in range(30):
        next(found)
    assert read < 12, "a few chunks ahead, no more"


def test_a_long_text_without_any_question_is_passed_on(
    disambiguator: Disambiguator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_CHARACTERS", 5000)
    endless = iter(lambda: "Xyzzy of the. " * 30, "")
    found = disambiguator.stream(endless)
    assert [next(found).words for _ in range(2000)] == [()] * 2000


def test_text_of_any_kind_is_taken(disambiguator: Disambiguator) -> None:
    odd = (
        "The bank\ud800 <b>&amp;</b> \u202e dog \x07 ban\u0303k 銀行の川 \ufeff" + "x" * 5000 + " bank \u0301"
    )
    words = disambiguator(odd)
    assert [word.text for word in words if word.text.isascii()] == ["bank", "dog", "bank"]


def test_ones_own_glosses_are_ranked(disambiguator: Disambiguator, model: GlossModel) -> None:
    context, span = "He went to the old bank of the river", (15, 23)
    glosses = ["a firm that accepts deposits", "sloping land beside water", "the dog"]
    ranked = disambiguator.rank(context, span, glosses)
    assert {gloss for gloss, _ in ranked} == set(glosses)
    chances = [probability for _, probability in ranked]
    assert sum(chances) == pytest.approx(1)
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > chances[-1]
    again = disambiguator.rank(context, span, glosses[::-1])
    assert [gloss for gloss, _ in again] == [gloss for gloss, _ in ranked]
    assert [probability for _, probability in again] == pytest.approx(chances, abs=1e-5)
    assert disambiguator.rank(context, span, glosses[:1]) == [(glosses[0], 1.0)]
    far = "word " * 5000
    moved = disambiguator.rank(far + context, (len(far) + 15, len(far) + 23), glosses)
    assert sum(probability for _, probability in moved) == pytest.approx(1)


@pytest.mark.parametrize(
    ("context", "span", "glosses", "message"),
    [
        ("the bank", (4, 9), ["a"], "the span 4 to 9 is no part of a text of 8 characters"),
        ("the bank", (-4, 2), ["a"], "is no part of a text"),
        ("the bank", (5, 4), ["a"], "is no part of a text"),
        ("the bank", (3, 4), ["a"], "has no word in it, but ' '"),
        ("", (0, 1), ["a"], "no part of a text of 0 characters"),
        ("the bank", (4, 8), [], "glosses must be a list of texts, and none of them empty"),
        ("the bank", (4, 8), ["a", " "], "none of them empty"),
        ("the bank", (4, 8), "a", "glosses must be a list"),
        ("dog " * 80, (0, 319), ["a", "b"], "longer than the length limit of 64 allows"),
    ],
)
def test_rank_refuses(
    disambiguator: Disambiguator, context: str, span: tuple[int, int], glosses: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        disambiguator.rank(context, span, glosses)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_text_is_refused(disambiguator: Disambiguator, text: str) -> None:
    with pytest.raises(UserError, match="the text is empty; give it words"):
        disambiguator(text)


def test_options_are_checked_at_once(model: GlossModel, lexicon: Lexicon) -> None:
    for options, message in (
        ({"precision": "f8"}, "precision is 'f8'; it must be one of f32"),
        ({"layout": "boxed"}, "use pairs or packed"),
    ):
        with pytest.raises(UserError, match=message):
            Disambiguator(model, lexicon, **options)  # type: ignore[arg-type]


def test_another_lexicon_than_the_models_must_be_meant(
    model: GlossModel, lexicon: Lexicon, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    other = str(write_wordnet(tmp_path / "other", copies=2, polysemous=True))
    newer = str(write_wordnet(tmp_path / "newer", polysemous=True, version="3.1"))
    load = Disambiguator.from_pretrained
    with pytest.raises(UserError, match=r"trained on the lexicon wordnet 3\.0, another wordnet 3\.0; give"):
        load(tmp_path / "model", lexicon=other, device="cpu")
    with pytest.raises(UserError, match=r"trained on the lexicon wordnet 3\.0, not wordnet 3\.1; give"):
        load(tmp_path / "model", lexicon=newer, device="cpu")
    meant = load(tmp_path / "model", lexicon=other, device="cpu", other_lexicon=True)
    assert len(meant("The dog is at the bank")[-1].senses) == 8
    assert meant.lexicon_title == "wordnet 3.0"
    model.settings = replace(settings := model.settings, lexicon="", lexicon_fingerprint="")
    model.save(tmp_path / "model")
    model.settings = settings
    load(tmp_path / "model", lexicon=other, device="cpu")


@pytest.mark.parametrize("family", ["modernbert", "roberta", "xlnet"])
def test_families(checkpoint: Callable[..., Path], lexicon: Lexicon, family: str) -> None:
    layout = "pairs" if family == "xlnet" else "packed"
    words = Disambiguator(make_model(checkpoint, lexicon, family, layout=layout), lexicon)(TEXT)
    assert len(words) == 10
    assert all(sum(word.probabilities) == pytest.approx(1) for word in words if word.source != "first-sense")
