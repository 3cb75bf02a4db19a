"""Pieces: offsets as a reader would give them, surfaces, special tokens, limits, refusals, and training."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import regex
import transformers
from hypothesis import given, settings
from tokenizers import Tokenizer, models, pre_tokenizers

from limbeck.errors import UserError
from limbeck.text.pieces import PieceTokenizer, Surface, train_tokenizer
from tests.models import TEXTS, make_tokenizer
from tests.vocabularies import HARD, KINDS, hard_text, hf, vocabulary


def covered_text(tokenizer: PieceTokenizer, text: str) -> list[str]:
    pieces = tokenizer.encode([text])
    return [text[a:b] for a, b in zip(pieces.start, pieces.end, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=hard_text)
def test_offsets_lie_on_visible_characters(kind: str, text: str) -> None:
    pieces = vocabulary(kind).encode(["before", text, "after"])
    low, high = pieces.offsets[1:3]
    assert pieces.ids.dtype == np.uint32
    assert len(pieces.ids) == pieces.offsets[-1]
    for start, end in zip(pieces.start[low:high], pieces.end[low:high], strict=True):
        assert 0 <= start <= end <= len(text)
        if start < end:
            assert not regex.fullmatch(r"\s", text[start])
            assert not regex.fullmatch(r"\s", text[end - 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_passage_has_the_same_pieces_alone_and_among_others(kind: str) -> None:
    tokenizer = vocabulary(kind)
    texts = [*HARD, "", *TEXTS]
    together = tokenizer.encode(texts)
    for i, text in enumerate(texts):
        alone = tokenizer.encode([text])
        part = slice(together.offsets[i], together.offsets[i + 1])
        assert together.ids[part].tolist() == alone.ids.tolist()
        assert together.start[part].tolist() == alone.start.tolist()
        assert together.end[part].tolist() == alone.end.tolist()


def test_no_texts_no_pieces() -> None:
    pieces = vocabulary("bpe").encode([])
    assert (len(pieces.ids), pieces.offsets.tolist()) == (0, [0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_visible_character_of_plain_text_is_in_a_piece(kind: str) -> None:
    for text in TEXTS[:3]:
        assert "".join(covered_text(vocabulary(kind), text)) == text.replace(" ", "")


def test_white_space_belongs_to_no_piece() -> None:
    # Of two spaces one is a piece of its own, and empty; the other marks the word.
    assert covered_text(vocabulary("gpt2"), "(a  dog") == ["(", "a", "", "dog"]
    assert covered_text(vocabulary("gpt2"), " a") == ["a"]
    assert covered_text(vocabulary("unigram"), "dog  a") == ["dog", "", "a"]
    assert covered_text(vocabulary("wordpiece"), " dog \t a ") == ["dog", "a"]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "sentencepiece-bpe", "bpe"])
def test_a_mark_that_its_tokenizer_drops_or_composes_goes_with_its_letter(kind: str) -> None:
    assert "".join(covered_text(vocabulary(kind), "cafe\u0301 dog")).startswith("cafe\u0301")


def test_a_mark_with_a_piece_of_its_own_is_not_taken_from_it() -> None:
    spans = vocabulary("gpt2").encode(["x\u0323y"])
    assert list(zip(spans.start.tolist(), spans.end.tolist(), strict=True)) == [
        (0, 1),
        (1, 2),
        (1, 2),
        (2, 3),
    ]


def test_all_parts_of_a_split_character_end_alike() -> None:
    # NFC makes one character of three, and byte-level BPE pieces of its bytes: each lies on all of it.
    spans = vocabulary("bpe").encode(["c\u0327\u0301"])
    assert len(spans.ids) > 1
    assert {(int(a), int(b)) for a, b in zip(spans.start, spans.end, strict=True)} == {(0, 3)}


def test_a_lone_start_mark_is_empty() -> None:
    tokenizer = vocabulary("unigram")
    pieces = tokenizer.encode(["☃ x"])
    lone = [i for i, p in enumerate(pieces.ids) if tokenizer.blank[p]]
    assert lone
    assert all(pieces.start[i] == pieces.end[i] for i in lone)
    assert "☃" in covered_text(tokenizer, "☃ x")


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_written_in_the_text_are_text(kind: str) -> None:
    tokenizer = vocabulary(kind)
    ordinary = tokenizer.special_ids - {tokenizer.unk_id}
    ids = tokenizer.encode([HARD[6]]).ids.tolist()
    assert not ordinary & set(ids)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode([HARD[6]]).ids.tolist() == ids


def surface(tokenizer: PieceTokenizer, token: str) -> Surface:
    return tokenizer.surfaces()[tokenizer.backend.token_to_id(token)]


def test_surfaces() -> None:
    assert surface(vocabulary("wordpiece"), "the") == Surface("the", True)
    assert surface(vocabulary("wordpiece"), "##e") == Surface("e", False)
    assert surface(vocabulary("wordpiece"), "[MASK]") == Surface(None, None)
    assert surface(vocabulary("gpt2"), "Ġthe") == Surface("the", True)
    assert surface(vocabulary("gpt2"), "e") == Surface("e", None)
    assert surface(vocabulary("gpt2"), "â") == Surface(b"\xe2", None)
    assert surface(vocabulary("unigram"), "▁the") == Surface("the", True)
    assert surface(vocabulary("unigram"), "e") == Surface("e", None)
    assert surface(vocabulary("llama"), "<0xE2>") == Surface(b"\xe2", None)
    assert surface(vocabulary("llama"), "▁the") == Surface("the", True)
    for kind in KINDS:
        assert len(vocabulary(kind).surfaces()) == vocabulary(kind).vocab_size


def test_surface_of_added_and_unused_tokens() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "[unused1]": 1, "a": 2, "##": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", mask_token="[MASK]"
    )
    fast.add_tokens(["covid-19", "##x"])
    tokenizer = PieceTokenizer.from_hf(fast, name="added")
    texts = [s.text for s in tokenizer.surfaces()]
    assert texts[:4] == [None, None, "a", "##"]
    assert sorted(filter(None, texts[4:])) == ["##x", "covid-19"]


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_spell_the_text(kind: str) -> None:
    """Put together, the surfaces of a text's pieces give the text back (but for case and spaces)."""
    tokenizer = vocabulary(kind)
    surfaces = tokenizer.surfaces()
    ids = tokenizer.encode([TEXTS[1]]).ids
    spelt = "".join(str(surfaces[i].text) for i in ids).replace(" ", "")
    assert spelt.lower() == TEXTS[1].replace(" ", "").lower()


@pytest.mark.parametrize("kind", KINDS)
def test_normalise_adds_nothing_in_front(kind: str) -> None:
    assert vocabulary(kind).normalise("dog") == "dog"
    upper = vocabulary(kind).normalise("Dog")
    assert upper == ("dog" if kind in ("wordpiece", "bpe:uncased") else "Dog")


@pytest.mark.parametrize(
    ("family", "prefix", "suffix", "side"),
    [("bert", ["[CLS]"], ["[SEP]"], "right"), ("xlnet", [], ["<sep>", "<cls>"], "left")],
)
def test_template(family: str, prefix: Sequence[str], suffix: Sequence[str], side: str) -> None:
    fast = make_tokenizer("wordpiece", family=family)
    tokenizer = PieceTokenizer.from_hf(fast, name=family, limit=64)
    assert tokenizer.prefix == tuple(fast.convert_tokens_to_ids(list(prefix)))
    assert tokenizer.suffix == tuple(fast.convert_tokens_to_ids(list(suffix)))
    assert tokenizer.padding_side == side
    assert tokenizer.limit == 62
    assert tokenizer.mask_id == fast.mask_token_id
    assert {tokenizer.mask_id, tokenizer.pad_id, tokenizer.unk_id} <= tokenizer.special_ids


def test_limit_is_the_smaller_one() -> None:
    fast = make_tokenizer()
    assert PieceTokenizer.from_hf(fast, name="no limit").limit == 32767
    fast.model_max_length = 20
    assert PieceTokenizer.from_hf(fast, name="own").limit == 18
    assert PieceTokenizer.from_hf(fast, name="the model's", limit=12).limit == 10
    with pytest.raises(UserError, match="no room"):
        PieceTokenizer.from_hf(fast, name="tiny", limit=2)


def test_truncation_and_padding_of_the_original_do_not_matter() -> None:
    fast = make_tokenizer()
    before = PieceTokenizer.from_hf(fast, name="x")
    fast.backend_tokenizer.enable_truncation(4)
    fast.backend_tokenizer.enable_padding()
    after = PieceTokenizer.from_hf(fast, name="y")
    assert after.fingerprint == before.fingerprint
    assert len(after.encode([TEXTS[0]]).ids) > 4


def test_fingerprint_tells_tokenizers_apart() -> None:
    prints = {vocabulary(kind).fingerprint for kind in KINDS}
    assert len(prints) == len(KINDS)
    assert vocabulary("bpe", limit=40).fingerprint != vocabulary("bpe").fingerprint


def test_pickle() -> None:
    tokenizer = PieceTokenizer.from_hf(hf("bpe"), name="travels")
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(tokenizer))))
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(HARD).ids.tolist() == tokenizer.encode(HARD).ids.tolist()
    assert again.surfaces() == tokenizer.surfaces()
    assert again.hf.mask_token_id == tokenizer.mask_id


class _Halves:
    def pre_tokenize(self, text: object) -> None:
        return None


def test_refusals() -> None:
    with pytest.raises(UserError, match="slow tokenizer"):
        PieceTokenizer.from_hf(transformers.CanineTokenizer(), name="canine")
    with pytest.raises(UserError, match="no mask token"):
        PieceTokenizer.from_hf(make_tokenizer(mask=False), name="gpt")
    assert PieceTokenizer.from_hf(make_tokenizer(mask=False), name="gpt", need_mask=False).mask_id == -1
    custom = make_tokenizer()
    custom.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(_Halves())
    with pytest.raises(UserError, match="cannot be written"):
        PieceTokenizer.from_hf(custom, name="custom")


@pytest.mark.parametrize(
    "spec",
    ["wordpiece:400", "wordpiece:400:cased", "bpe:400:uncased", "unigram:400", "sentencepiece-bpe:400"],
)
def test_training_is_deterministic(spec: str) -> None:
    texts = [*TEXTS, *HARD]
    trained = [PieceTokenizer.from_hf(train_tokenizer(spec, iter(texts)), name=spec) for _ in range(3)]
    assert len({t.fingerprint for t in trained}) == 1
    assert trained[0].vocab_size <= 400
    assert trained[0].mask_id >= 0
    assert trained[0].prefix
    assert trained[0].suffix


def test_training_needs_text_and_a_right_spec() -> None:
    for spec in (
        "wordpiece",
        "wordpiece:many",
        "charm:8000",
        "bpe:8000:upper",
        "bpe:10",
        "bpe:-5",
        "bpe:²000",
    ):
        with pytest.raises(UserError, match="is not one of"):
            train_tokenizer(spec, TEXTS)
    for texts in ([], [" \n\t"]):
        with pytest.raises(UserError, match="no visible character"):
            train_tokenizer("unigram:400", texts)
    assert train_tokenizer("unigram:400", ["a"]).mask_token_id is not None
