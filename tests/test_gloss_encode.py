"""Contexts and glosses as pieces: joined as the tokenizer joins them, cut around the target, words known."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from limbeck.errors import UserError
from limbeck.gloss import encode
from limbeck.gloss.encode import GLOSS_STEP, Encoded, Encoder, Text
from limbeck.gloss.instance import Instance
from limbeck.gloss.layout import Layout, collate
from limbeck.gloss.template import PairTemplate
from limbeck.gloss.texts import Located
from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.words import passage_hash, word_spans
from tests.gloss_models import GLOSS_FAMILIES, ITEMS, SENSES, family_tokenizer, instance, pieces, sense
from tests.models import TEXTS, make_tokenizer
from tests.vocabularies import HARD, KINDS, vocabulary


def pair_rows(encoder: Encoder, family: str = "bert") -> list[tuple[list[int], list[int] | None]]:
    """Ids and token types of each pair, without padding."""
    batch = collate(encoder.encode(ITEMS), Layout(encoder.template, "pairs", family=family))
    types = batch.token_types
    return [
        (ids[real].tolist(), None if types is None else types[row][real].tolist())
        for row, (ids, real) in enumerate(zip(batch.input_ids, batch.attention_mask.bool(), strict=True))
    ]


def quoted(item: Instance) -> str:
    return f'{item.context[: item.start]}"{item.target}"{item.context[item.end :]}'


@pytest.mark.parametrize("family", GLOSS_FAMILIES)
def test_pairs_are_what_the_tokenizer_makes_of_the_texts(family: str) -> None:
    tokenizer = family_tokenizer(family)
    found = pair_rows(Encoder(pieces(family), max_length=64), family)
    expected = [
        tokenizer(quoted(item), f"{item.target} : {one.gloss}", return_token_type_ids=True)
        for item, senses in ITEMS
        for one in senses
    ]
    assert [ids for ids, _ in found] == [e["input_ids"] for e in expected]
    for (_, types), e in zip(found, expected, strict=True):
        assert (types or [0] * len(e["input_ids"])) == e["token_type_ids"]
    typed = {"bert", "albert", "electra", "distilbert", "deberta-v3", "modernbert", "xlnet"}
    assert all((types is not None) == (family in typed) for _, types in found)


@pytest.mark.parametrize("spec", ["wordpiece:300", "bpe:500", "unigram:300", "sentencepiece-bpe:300"])
def test_pairs_of_our_own_tokenizers(spec: str) -> None:
    tokenizer = train_tokenizer(spec, [*TEXTS, 'a "word" : here'] * 2)
    encoder = Encoder(PieceTokenizer.from_hf(tokenizer, name=spec, limit=64), max_length=64)
    expected = [tokenizer(quoted(i), f"{i.target} : {s.gloss}")["input_ids"] for i, ss in ITEMS for s in ss]
    assert [ids for ids, _ in pair_rows(encoder)] == expected


def test_without_marks() -> None:
    tokenizer = family_tokenizer("bert")
    found = pair_rows(Encoder(pieces("bert"), marks="none", max_length=64))
    item, senses = ITEMS[0]
    assert found[0][0] == tokenizer(item.context, f"fox : {senses[0].gloss}")["input_ids"]
    assert found[0] != pair_rows(Encoder(pieces("bert"), max_length=64))[0]


def test_a_template_for_single_texts_alone_gets_a_separator() -> None:
    for family in ("bert", "roberta", "xlnet"):
        tokenizer = PieceTokenizer.from_hf(make_tokenizer(family=family), name=family)
        template = PairTemplate.of(tokenizer)
        end = tokenizer.hf.eos_token_id
        assert (template.prefix, template.suffix) == (tokenizer.prefix, tokenizer.suffix)
        assert template.between == (end,)
        assert (template.context_type, template.gloss_type, template.most_types) == (0, 1, 1)


def test_a_tokenizer_that_cannot_part_two_texts_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    with pytest.raises(UserError, match="parts two texts"):
        Encoder(PieceTokenizer.from_hf(tokenizer, name="bare", limit=64), max_length=64)


def test_the_target_is_named_in_one_line() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    plain, folded = (
        encoder.encode([(instance(f"The old{gap}town is old.", f"old{gap}town"), SENSES[:1])])[0]
        for gap in (" ", " \n ")
    )
    assert plain.glosses[0].text == folded.glosses[0].text == f"old town : {SENSES[0].gloss}"


def check_words(text: Text) -> None:
    """Words of a text and of its pieces, against `word_spans` and the counts of a text encoded alone."""
    assert text.words == len(word_spans(text.text))
    real = text.first <= text.last
    assert (text.first[~real] == 1).all()
    assert (text.last[~real] == 0).all()
    assert text.first[real].min(initial=0) == 0
    assert text.last[real].max(initial=-1) == text.words - 1
    assert (np.diff(text.first[real]) >= 0).all()
    assert text.hash == passage_hash(text.text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_piece_knows_its_words(kind: str) -> None:
    tokenizer = vocabulary(kind)
    texts = [*HARD, *TEXTS]
    located = Located.of(tokenizer, texts)
    for number, text in enumerate(texts):
        found, words = located.text(number, 0, None), word_spans(text)
        whole = tokenizer.encode([text])
        assert found.ids.tolist() == whole.ids.tolist()
        for p, (start, end) in enumerate(zip(whole.start, whole.end, strict=True)):
            over = [w for w, (s, e) in enumerate(words) if s < end and e > start and start < end]
            assert list(range(found.first[p], found.last[p] + 1)) == over
        assert (found.text, found.words, found.hash) == (text, len(words), passage_hash(text))
        for w, (start, end) in enumerate(words):
            over_word = np.flatnonzero((found.first <= w) & (found.last >= w))
            low, high = located.overlapping(number, int(start), int(end))
            assert over_word.tolist() == list(range(low, high))


WORDS = [f"{a}{b}" for a in ("lim", "dog", "sea", "old") for b in ("beck", "s", "town", "")]


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=120),
    st.data(),
    st.sampled_from(["bert", "roberta", "xlnet"]),
    st.sampled_from(["quotes", "none"]),
)
def test_a_long_context_is_cut_around_the_target(
    words: list[str], data: st.DataObject, family: str, marks: str
) -> None:
    at = data.draw(st.integers(0, len(words) - 1))
    start = len(" ".join(words[:at])) + bool(at)
    item = Instance("i", " ".join(words), start, start + len(words[at]), "x", None)
    encoder = Encoder(pieces(family, 150), marks=marks, max_length=150)
    senses = [sense("old " * n) for n in (1, 9, 25)]
    (one,) = encoder.encode([(item, senses)])
    special = encoder.template.special
    whole = len(encoder.tokenizer.encode([quoted(item) if marks == "quotes" else item.context]).ids)
    for context, gloss in zip((one.contexts[c] for c in one.context_of), one.glosses, strict=True):
        room = 150 - special - len(gloss)
        assert len(context) <= room
        assert (len(context) == whole) == (whole <= room), "cut if and only if it must be"
        if len(context) < whole:  # nothing is given away but the step and a word on either side
            assert len(context) > room - GLOSS_STEP - 2 * 12
        check_words(context)
        target = f'"{words[at]}"' if marks == "quotes" else words[at]
        assert target in context.text
    for context, (low, high) in zip(one.contexts, one.targets, strict=True):
        decoded = encoder.tokenizer.hf.decode(context.ids[low:high].tolist()).replace(" ", "")
        assert words[at] in decoded


def test_as_much_stays_on_either_side() -> None:
    words = ["sea"] * 60 + ["old"] + ["dog"] * 60
    encoder = Encoder(pieces("bert"), marks="none", max_length=64)
    (one,) = encoder.encode([(instance(" ".join(words), "old"), [sense("a b")])])
    low, high = one.targets[0]
    assert abs(low - (len(one.contexts[0]) - high)) <= 3
    (first,) = encoder.encode([(instance("old " + " ".join(words[61:]), "old"), [sense("a b")])])
    assert first.targets[0][0] == 0
    assert abs(len(first.contexts[0]) - len(one.contexts[0])) <= 3, "one side's room goes to the other"


def test_other_candidates_do_not_change_a_candidates_pieces() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    item = instance("the dog and the sea " * 9 + "old town " + "one of the trains " * 9, "old town")
    senses = [sense("old"), sense("the old sea " * 11), sense("one word")]

    def seen(one: Encoded, k: int) -> tuple[list[int], list[int]]:
        return one.contexts[one.context_of[k]].ids.tolist(), one.glosses[k].ids.tolist()

    (together,) = encoder.encode([(item, senses)])
    assert len(together.contexts) == 2, "the long gloss does not need another context, so nothing was shown"
    for k in range(3):
        (alone,) = encoder.encode([(item, senses[k : k + 1])])
        assert seen(alone, 0) == seen(together, k)


def refusal(item: Instance, gloss: str = "old", length: int = 24) -> str:
    with pytest.raises(UserError) as caught:
        Encoder(pieces("bert"), max_length=length).encode([(item, [sense(gloss)])])
    message = str(caught.value)
    assert message.startswith("instance 'i': ")
    assert "\n" not in message
    return message


def test_a_target_that_does_not_fit_is_refused_in_one_line() -> None:
    long = "limbeck " * 30
    for item in (Instance("i", long, 0, 200, "x", None), Instance("i", long, 0, 79, "x", None)):
        message = refusal(item)
        assert "its target of " in message
        assert "is longer than the length limit of 24 allows" in message
        assert "raise max_length" in message


def test_a_gloss_that_leaves_no_room_loses_its_end(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder(pieces("bert"), max_length=24)
    item = instance("the dog and the old town of the sea", "old town")
    glosses = ["an animal", "the old word for the sea " * 5, "a café in the old town, " * 4]
    (one,) = encoder.encode([(item, [sense(gloss) for gloss in glosses])])
    for text, gloss in zip(one.glosses, glosses, strict=True):
        whole = encoder.tokenizer.encode([f"old town : {gloss}"]).ids
        check_words(text)
        assert text.ids.tolist() == whole[: len(text)].tolist()
        assert f"old town : {gloss}".startswith(text.text)
        assert len(text) + 4 + encoder.template.special <= 24
        assert len(text) == len(whole) or len(text) > 24 - 4 - encoder.template.special - 4
    assert [len(t) for t in one.glosses[:1]] == [len(encoder.tokenizer.encode(["old town : an animal"]).ids)]
    assert all('"old town"' in one.contexts[c].text for c in one.context_of)
    assert len(encoder.shortened) == 2
    assert len(caplog.records) == 1
    assert "leaves no room for its target" in caplog.text
    encoder.encode([(item, [sense(gloss) for gloss in glosses])])
    assert (len(encoder.shortened), len(caplog.records)) == (2, 1)


@pytest.mark.parametrize(("start", "end"), [(3, 4), (2, 2), (5, 3), (-1, 2), (4, 40)])
def test_a_span_that_is_no_word_is_refused(start: int, end: int) -> None:
    assert "are no word" in refusal(Instance("i", "The old town", start, end, "x", None))


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="use quotes or none"):
        Encoder(pieces("bert"), marks="stars", max_length=64)
    with pytest.raises(UserError, match="the model takes 64 pieces at most"):
        Encoder(pieces("bert"), max_length=65)


def test_a_gloss_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    (first,), (second,) = encoder.encode(ITEMS[:1]), encoder.encode(ITEMS[:1])
    assert all(a is b for a, b in zip(first.glosses, second.glosses, strict=True))
    assert first.contexts[0] is not second.contexts[0]
    monkeypatch.setattr(encode, "CACHED", 2)
    encoder.encode(ITEMS)
    (third,) = encoder.encode(ITEMS[:1])
    assert third.glosses[0] is not first.glosses[0], "the cache has no end"
    assert third.glosses[0].ids.tolist() == first.glosses[0].ids.tolist()


def test_gold_none_and_nothing() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    assert encoder.encode([]) == []
    a, b, c, none = encoder.encode([*ITEMS, (ITEMS[0][0], ())])
    assert [e.id for e in (a, b, c)] == ["a", "b", "c"]
    assert a.gold.tolist() == [True, False, False]
    assert b.gold.tolist() == [False, True, True, False, False]
    assert not c.gold.any()
    assert none.glosses == () == none.context_of


def test_an_encoder_can_be_sent_to_another_process() -> None:
    encoder = Encoder(pieces("roberta"), max_length=64)
    twin = pickle.loads(pickle.dumps(encoder))
    layout = Layout(encoder.template, "pairs", family="roberta")
    ids = [collate(e.encode(ITEMS), layout).input_ids for e in (encoder, twin)]
    assert torch.equal(*ids)
