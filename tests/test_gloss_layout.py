"""Where contexts and glosses stand in a batch: against a slow arrangement, piece by piece."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.gloss import families
from limbeck.gloss.encode import Encoded, Encoder
from limbeck.gloss.families import CONTEXT, OPENING, PADDING
from limbeck.gloss.families import PACKED as FAMILIES_PACKED
from limbeck.gloss.layout import Layout, Masking, arrange, collate
from tests.gloss_models import GLOSS_FAMILIES, ITEMS, PACKED, SENSES, instance, pieces, sense

NONE = -7  # no text


@dataclass
class Slow:
    """One row, built up piece by piece."""

    ids: list[int] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    pooled: list[int] = field(default_factory=list)

    def add(self, ids, types, segment: int, position: int, text: int = NONE) -> None:
        types = [types] * len(ids) if isinstance(types, int) else types
        for k, (piece, kind) in enumerate(zip(ids, types, strict=True)):
            self.ids.append(int(piece))
            self.types.append(kind)
            self.segment.append(segment)
            self.position.append(position + k)
            self.text.append(text)


def slow_row(
    encoded: Encoded, context: int, candidates: list[int], encoder: Encoder, kind: str, last: bool
) -> Slow:
    t, row, words = encoder.template, Slow(), encoded.contexts[context]
    behind = len(t.prefix) + len(words) + len(t.between)
    row.add(t.prefix, t.prefix_types, OPENING, 0)
    row.add(words.ids, t.context_type, CONTEXT, len(t.prefix), 0)
    row.add(t.between, t.between_types, CONTEXT, len(t.prefix) + len(words))
    for number, k in enumerate(candidates, 1):
        gloss = encoded.glosses[k]
        if kind == "packed":
            row.pooled.append(len(row.ids))
            row.add(t.prefix, t.prefix_types, number, 0)
        row.add(gloss.ids, t.gloss_type, number, behind, number)
        row.add(t.suffix, t.suffix_types, number, behind + len(gloss))
    if kind == "pairs":
        row.pooled.append(len(row.ids) - 1 if last else 0)
    return row


def expected_rows(encoded: list[Encoded], encoder: Encoder, kind: str, last: bool) -> list[Slow]:
    if kind == "pairs":
        return [slow_row(e, c, [k], encoder, kind, last) for e in encoded for k, c in enumerate(e.context_of)]
    return [
        slow_row(e, c, [k for k, of in enumerate(e.context_of) if of == c], encoder, kind, last)
        for e in encoded
        for c in range(len(e.contexts))
        if e.glosses
    ]


@pytest.mark.parametrize(
    ("family", "kind"), [(f, "pairs") for f in GLOSS_FAMILIES] + [(f, "packed") for f in PACKED]
)
def test_every_piece_stands_in_its_place(family: str, kind: str) -> None:
    encoder = Encoder(pieces(family, 120), max_length=120)
    long = instance("the dog and the sea " * 16 + "old town " + "one of the trains " * 16, "old town", id="d")
    items = [
        ITEMS[0],
        (ITEMS[1][0], ()),
        *ITEMS[1:],
        (long, [sense("old"), sense("the old sea " * 11), SENSES[3]]),
    ]
    encoded = encoder.encode(items)
    arranged = arrange(encoded, Layout(encoder.template, kind, family=family))
    batch = arranged.plain
    rows = expected_rows(encoded, encoder, kind, last=family in ("bart", "xlnet"))
    assert kind == "pairs" or len(rows) == 5, "no context was cut in two ways"
    width = max(len(row.ids) for row in rows)
    assert batch.input_ids.shape == batch.attention_mask.shape == (len(rows), width)
    assert (batch.packing is None) == (kind == "pairs")
    pooled, position, text, texts = [], [], [], 0
    for number, row in enumerate(rows):
        pad = width - len(row.ids)
        real = slice(pad, None) if family == "xlnet" else slice(0, len(row.ids))
        start = number * width + (real.start or 0)
        assert batch.input_ids[number, real].tolist() == row.ids
        assert batch.attention_mask[number, real].all()
        assert batch.attention_mask[number].sum() == len(row.ids)
        assert (batch.input_ids[number][batch.attention_mask[number] == 0] == encoder.template.pad_id).all()
        if batch.token_types is not None:
            assert batch.token_types[number, real].tolist() == row.types
        if batch.packing is not None:
            assert batch.packing.segment[number, real].tolist() == row.segment
            assert batch.packing.position[number, real].tolist() == row.position
            assert (batch.packing.segment[number, len(row.ids) :] == PADDING).all()
        pooled += [start + p for p in row.pooled]
        position += [start + p for p, t in enumerate(row.text) if t != NONE]
        text += [texts + t for t in row.text if t != NONE]
        texts += max(row.text) + 1
    assert batch.pooled.tolist() == pooled
    assert arranged.position.tolist() == position
    assert arranged.text.tolist() == text
    assert len(arranged.texts) == texts == len(arranged.row) == len(arranged.is_gloss)
    assert arranged.ids.tolist() == batch.input_ids.ravel()[position].tolist()
    assert batch.tokens == batch.attention_mask.sum()
    assert batch.count == len(items)
    owner = [(i, k) for i, (_, senses) in enumerate(items) for k in range(len(senses))]
    assert sorted(zip(batch.instance.tolist(), batch.candidate.tolist(), strict=True)) == owner
    gold = [bool(encoded[i].gold[k]) for i, k in zip(batch.instance, batch.candidate, strict=True)]
    assert batch.gold.tolist() == gold
    assert any(gold)


def test_words_are_counted_on_one_axis() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    arranged = arrange(encoder.encode(ITEMS), Layout(encoder.template, "packed", family="bert"))
    for t, text in enumerate(arranged.texts):
        mine = arranged.text == t
        base = arranged.word_base[t]
        assert arranged.word_base[t + 1] - base == text.words
        assert (arranged.first[mine] - base).tolist() == text.first.tolist()
        assert (arranged.last[mine] - base).tolist() == text.last.tolist()
        assert arranged.kind[mine].tolist() == text.kind.tolist()
    assert arranged.is_gloss.tolist() == [" : " in text.text for text in arranged.texts]


def test_many_candidates_go_into_several_rows() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    senses = [sense("the old sea " * n) for n in (1, 3, 2, 5, 1, 4)]
    (encoded,) = encoder.encode([(ITEMS[0][0], senses)])
    whole = Layout(encoder.template, "packed", family="bert")
    assert [row.candidates for row in whole.rows(encoded)] == [(0, 1, 2, 3, 4, 5)]
    small = Layout(encoder.template, "packed", family="bert", row_length=48)
    rows = small.rows(encoded)
    assert len(rows) > 2
    assert [k for row in rows for k in row.candidates] == list(range(6))
    assert all(row.length <= 48 for row in rows)
    for row, following in itertools.pairwise(rows):
        added = len(encoded.glosses[following.candidates[0]]) + 2
        assert row.length + added > 48, "a row ends before it is full"
    batch = arrange([encoded], small)
    assert [row.length for row in rows] == batch.plain.attention_mask.sum(1).tolist()
    assert batch.plain.instance.tolist() == [0] * 6
    tiny = Layout(encoder.template, "packed", family="bert", row_length=1)
    assert [row.candidates for row in tiny.rows(encoded)] == [(k,) for k in range(6)]


def test_row_lengths_are_those_of_the_batch() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    for kind in ("pairs", "packed"):
        layout = Layout(encoder.template, kind, family="bert")
        encoded = encoder.encode(ITEMS)
        lengths = [row.length for e in encoded for row in layout.rows(e)]
        assert collate(encoded, layout).attention_mask.sum(1).tolist() == lengths


def test_masking_shows_the_pieces_and_keeps_the_gold_ones() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    arranged = arrange(encoder.encode(ITEMS), Layout(encoder.template, "packed", family="bert"))
    plain = arranged.plain.input_ids.clone()
    index = np.array([3, 9, len(arranged.ids) - 1])
    masking = Masking(index, np.array([4, 77, 4]), np.array([True, False, True]))
    batch = arranged.batch(masking)
    assert torch.equal(arranged.plain.input_ids, plain), "the plain batch was changed"
    assert arranged.plain.position.shape == (0,)
    assert batch.position.tolist() == arranged.position[index].tolist()
    assert batch.gold_piece.tolist() == plain.ravel()[batch.position].tolist()
    assert batch.input_ids.ravel()[batch.position].tolist() == [4, 77, 4]
    assert (batch.input_ids != plain).sum() == 3
    assert batch.passage.tolist() == arranged.text[index].tolist()
    assert batch.kind.tolist() == arranged.kind[index].tolist()
    assert batch.masked.tolist() == [True, False, True]
    assert arranged.batch() is arranged.plain


def test_a_batch_moves_whole() -> None:
    encoder = Encoder(pieces("bert"), max_length=64)
    batch = collate(encoder.encode(ITEMS), Layout(encoder.template, "packed", family="bert")).to("meta")
    assert batch.packing is not None
    tensors = [
        t for part in (batch, batch.packing) for t in vars(part).values() if isinstance(t, torch.Tensor)
    ]
    assert len(tensors) == 14
    assert all(t.is_meta for t in tensors)
    assert batch.count == 3


def test_what_sees_what() -> None:
    # Row: [opening] context gloss1 gloss1 gloss2 padding
    segment = torch.tensor([[OPENING, CONTEXT, 1, 1, 2, PADDING]])
    visible = families._visible(segment)[0].int().tolist()
    assert visible == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("family", ["deberta-v2", "bart", "xlnet", "mpnet"])
def test_packed_is_refused_in_one_line_where_it_cannot_be(family: str) -> None:
    with pytest.raises(UserError) as caught:
        Layout(Encoder(pieces("bert"), max_length=64).template, "packed", family=family)
    message = str(caught.value)
    assert f"does not work for the family {family!r}" in message
    assert 'set layout = "pairs"' in message
    assert "\n" not in message


def test_supports_packed() -> None:
    assert FAMILIES_PACKED == PACKED
    assert [f for f in ("bert", "xlnet", "deberta-v2", "modernbert") if families.supports_packed(f)] == [
        "bert",
        "modernbert",
    ]


def test_unknown_layouts_are_refused() -> None:
    with pytest.raises(UserError, match="use pairs or packed"):
        Layout(Encoder(pieces("bert"), max_length=64).template, "boxed", family="bert")


def test_a_template_without_a_place_to_pool_is_refused() -> None:
    with pytest.raises(UserError, match="no special token before a text"):
        Layout(Encoder(pieces("xlnet"), max_length=64).template, "pairs", family="bert")
