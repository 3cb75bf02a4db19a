"""Attention over packed rows by their parts is attention under the mask that they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from limbeck.gloss.families import _visible
from limbeck.gloss.instances import candidates, wordnet_examples
from limbeck.gloss.layout import collate
from limbeck.gloss.model import GlossModel
from limbeck.teachers import attention
from limbeck.teachers.packed_attention import (
    CONTEXT,
    OPENING,
    PADDING,
    Segments,
    mark,
    marked,
    packed_attention,
)
from tests.models import make_checkpoint
from tests.tiny_gloss import TRAINING_TEXT, settings, world

HEADS, WIDTH = 3, 5

# Rows of context and gloss lengths: one gloss, several, none at all, one of a single piece.
ROWS = [(4, [3, 1, 5]), (7, [2]), (3, []), (2, [6, 6, 2, 1])]


def segments_of(rows: list[tuple[int, list[int]]], behind: int = 2) -> torch.Tensor:
    """int64 [B, L]; `behind`: pieces of padding behind the longest row."""
    written = [
        [OPENING] + [CONTEXT] * context + [n + 1 for n, size in enumerate(glosses) for _ in range(size)]
        for context, glosses in rows
    ]
    width = max(map(len, written)) + behind
    return torch.tensor([row + [PADDING] * (width - len(row)) for row in written])


def drawn(segment: torch.Tensor, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Query, key, value [B, H, L, D]; as models have them, views of [B, L, H·D]."""
    draw = torch.Generator().manual_seed(3)
    shape = (*segment.shape, HEADS, WIDTH)
    made = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for _ in range(3)]
    return [value.transpose(1, 2).requires_grad_() for value in made]


def masked_attention(query, key, value, segment, scaling):
    scores = query @ key.mT * scaling
    share = scores.masked_fill(~_visible(segment)[:, None], -torch.inf).softmax(-1)
    return (share @ value).transpose(1, 2)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [(1, [1])], ROWS * 3])
def test_values_and_gradients_are_those_of_the_mask(rows: list[tuple[int, list[int]]]) -> None:
    segment = segments_of(rows)
    read = Segments.of(segment)
    assert read is not None
    ours, theirs = drawn(segment), drawn(segment)
    found = packed_attention(*ours, read, 0.3, 0.0)
    wanted = masked_attention(*theirs, segment, 0.3)
    real = (segment != PADDING)[..., None, None]
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found * real, wanted * real)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * real
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_gradient_under_dropout_is_that_of_the_weights_left() -> None:
    segment = segments_of(ROWS[:2], behind=0)
    read = Segments.of(segment)

    def attend(*values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)  # the same weights dropped every time
        return packed_attention(*values, read, 0.4, 0.3) * (segment != PADDING)[..., None, None]

    assert torch.autograd.gradcheck(attend, drawn(segment))
    kept = attend(*drawn(segment))
    whole = packed_attention(*drawn(segment), read, 0.4, 0.0)
    assert not torch.allclose(kept, whole)


def test_bf16_is_as_near_to_the_truth_as_the_mask() -> None:
    segment = segments_of(ROWS * 4)
    read = Segments.of(segment)
    real = (segment != PADDING)[..., None, None]
    wanted = masked_attention(*drawn(segment), segment, 0.3) * real
    values = drawn(segment, torch.bfloat16)
    found = packed_attention(*values, read, 0.3, 0.0).double() * real
    plain = masked_attention(*values, segment, 0.3).double() * real
    assert (found - wanted).norm() < 1.5 * (plain - wanted).norm()
    assert (found - wanted).norm() < 0.01 * wanted.norm()


def test_rows_it_does_not_serve_keep_their_mask() -> None:
    segment = segments_of(ROWS)
    for other in (segment.flip(1), torch.full((2, 5), CONTEXT), segment[2:3]):
        assert Segments.of(other) is None
    mask = _visible(segment)[:, None]
    assert marked(mask) is None
    assert marked(None) is None
    mark(mask, segment)
    assert marked(mask) is not None
    assert marked(mask.clone()) is None, "a changed mask is not what the segments say"


def test_a_models_training_takes_it_and_its_prediction_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = make_checkpoint("bert", tmp_path / "bert", texts=TRAINING_TEXT, vocabulary=500, seed=5)
    lexicon = world(tmp_path)
    model = GlossModel.start(init, settings(layout="packed", objective="choice"), what="test").eval()
    found = [(one, candidates(lexicon, one, "gold")) for one in wordnet_examples(lexicon)]
    batch = collate(model.encoder.encode([item for item in found if item[1]]), model.layout)
    taken: list[str] = []

    def counted(*arguments: object) -> torch.Tensor:
        taken.append("by its parts")
        return packed_attention(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "packed_attention", counted)
    with torch.no_grad():
        plain = model(batch)[0]
    assert not taken
    ours = model(batch)[0]
    assert len(taken) == model.model.config.num_hidden_layers
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
