"""The gloss model: what it computes for each family, what it trains, and what packed rows share."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from limbeck.errors import UserError
from limbeck.gloss.encode import Encoder
from limbeck.gloss.layout import Arranged, GlossBatch, Layout, Masking, arrange, collate
from limbeck.gloss.model import GlossModel
from limbeck.gloss.settings import GlossSettings
from limbeck.text.pieces import PieceTokenizer
from tests.gloss_models import GLOSS_FAMILIES, ITEMS, PACKED, SENSES, family_tokenizer, instance, sense
from tests.models import POSITIONS, make_config, make_model

Start = Callable[..., GlossModel]


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[..., Path]) -> Callable[[str], Path]:
    """A tiny checkpoint of a family with the tokenizer of its own class."""
    return lambda family, **more: checkpoint(family, tokenizer=family_tokenizer(family), **more)


@pytest.fixture
def start(folder: Callable[..., Path]) -> Start:
    """A gloss model on a tiny checkpoint, in eval mode, with a head wide enough that candidates differ."""

    def make(family: str, *, masking: bool = False, layout: str = "pairs", layers: int = 2) -> GlossModel:
        settings = GlossSettings(max_length=POSITIONS, layout=layout)
        model = GlossModel.start(folder(family, layers=layers), settings, masking=masking).eval()
        torch.nn.init.normal_(model.head.weight, std=1.0)
        return model

    return make


def batch_of(model: GlossModel, items: Any = ITEMS) -> GlossBatch:
    return collate(model.encoder.encode(items), model.layout)


def masked(model: GlossModel, arranged: Arranged) -> GlossBatch:
    """Four slots, in contexts and glosses of different rows; at one of them another piece is shown."""
    texts = len(arranged.texts)
    index = np.searchsorted(arranged.text, [0, 1, texts // 2, texts - 1]) + 1
    mask = model.encoder.tokenizer.mask_id
    return arranged.batch(
        Masking(index, np.array([mask, 20, mask, mask]), np.array([True, False, True, True]))
    )


def reference(
    model: GlossModel, family: str, batch: GlossBatch, row: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [L, H] and logits [L, V] of one pair by transformers alone, unpadded (not XLNet)."""
    real = batch.attention_mask[row].bool()
    inputs = {"input_ids": batch.input_ids[row][real][None]}
    if family in ("bert", "albert", "electra"):
        assert batch.token_types is not None
        inputs["token_type_ids"] = batch.token_types[row][real][None]
    answer = model.model(**inputs, output_hidden_states=True)
    states = answer.decoder_hidden_states if family == "bart" else answer.hidden_states
    return states[-1][0], answer.logits[0]


@pytest.mark.parametrize("family", GLOSS_FAMILIES)
def test_the_pooled_state_decides(family: str, start: Start) -> None:
    model = start(family)
    batch = batch_of(model)
    with torch.no_grad():
        match, logits = model(batch)
        assert logits is None
        for row in range(len(batch.input_ids)):
            if family == "xlnet":
                real = batch.attention_mask[row].bool()
                assert batch.token_types is not None
                states = model.model.transformer(
                    batch.input_ids[row][real][None], token_type_ids=batch.token_types[row][real][None]
                )[0][0]
            else:
                states, _ = reference(model, family, batch, row)
            pooled = states[-1] if family in ("bart", "xlnet") else states[0]
            if family == "modernbert":  # its list of hidden states ends before the last norm
                real = batch.attention_mask[row].bool()
                pooled = model.model.model(batch.input_ids[row][real][None])[0][0, 0]
            torch.testing.assert_close(match[row], model.head(pooled), atol=1e-5, rtol=1e-5)
    assert match.dtype == torch.float32
    assert (match - match[:1]).abs()[1:, 0].min() > 1e-4, "candidates do not differ, so nothing was shown"


@pytest.mark.parametrize("family", [f for f in GLOSS_FAMILIES if f != "xlnet"])
def test_one_forward_gives_both(family: str, start: Start) -> None:
    model = start(family, masking=True)
    arranged = arrange(model.encoder.encode(ITEMS), model.layout)
    batch = masked(model, arranged)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    handle = model.model.base_model.register_forward_hook(count)
    with torch.no_grad():
        match, logits = model(batch)
        assert calls == 1
        handle.remove()
        model.masking = False
        alone, nothing = model(batch)
        torch.testing.assert_close(match, alone, atol=1e-5, rtol=1e-5)
        assert nothing is None
        for slot, place in enumerate(batch.position.tolist()):
            row, column = divmod(place, batch.input_ids.shape[1])
            _, full = reference(model, family, batch, row)
            torch.testing.assert_close(logits[slot], full[column], atol=1e-5, rtol=1e-5)


def test_xlnet_takes_two_forwards(start: Start) -> None:
    model = start("xlnet", masking=True)
    arranged = arrange(model.encoder.encode(ITEMS), model.layout)
    batch = masked(model, arranged)
    assert batch.token_types is not None
    more = {"token_type_ids": batch.token_types}
    with torch.no_grad():
        match, logits = model(batch)
        assert model.masked is not None
        expected = model.masked(batch.input_ids, batch.attention_mask, batch.position, more)
        torch.testing.assert_close(logits, expected)
        model.masking = False
        torch.testing.assert_close(match, model(arranged.plain)[0], atol=1e-5, rtol=1e-5)
        assert (match - model(batch)[0]).abs().max() > 1e-3, (
            "the mask makes no difference, so nothing was shown"
        )


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("family", GLOSS_FAMILIES)
def test_every_trained_parameter_gets_a_gradient(family: str, masking: bool, start: Start) -> None:
    model = start(family, masking=masking).train()
    arranged = arrange(model.encoder.encode(ITEMS), model.layout)
    match, logits = model(masked(model, arranged) if masking else arranged.plain)
    loss = match.square().sum()
    if masking:
        loss = loss + logits.square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    if masking:
        assert not frozen, frozen
    else:
        head = {name for name, _ in model.named_parameters() if not name.startswith("masked.model.")}
        assert head == {"head.weight", "head.bias"}
        assert frozen or family == "bart"


@pytest.mark.parametrize("family", ["bert", "bart", "xlnet"])
def test_without_a_slot_the_masked_part_gives_zero_gradients(family: str, start: Start) -> None:
    model = start(family, masking=True)
    batch = batch_of(model)
    assert model(batch)[1] is None, "in eval mode the head of the masked-LM part runs for nothing"
    match, logits = model.train()(batch)
    assert logits is not None
    assert logits.shape == (0, model.model.config.vocab_size)
    (match.sum() * 0 + logits.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_dropout_stands_before_the_head_in_training_alone(start: Start) -> None:
    model = start("bert")
    batch = batch_of(model)
    assert model.dropout.p == 0.2
    torch.testing.assert_close(model(batch)[0], model(batch)[0])
    model.train()
    assert (model(batch)[0] - model(batch)[0]).abs().max() > 1e-3


def test_autocast_leaves_the_match_logits_in_float32(start: Start) -> None:
    model = start("bert", masking=True)
    batch = masked(model, arrange(model.encoder.encode(ITEMS), model.layout))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        match, logits = model(batch)
    assert (match.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(match, model(batch)[0], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("layout", ["pairs", "packed"])
def test_no_tensor_of_batch_length_vocabulary(layout: str, start: Start) -> None:
    model = start("bert", masking=True, layout=layout).train()
    batch = masked(model, arrange(model.encoder.encode(ITEMS), model.layout))
    width, largest = model.model.config.vocab_size, 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor) and width in tensor.shape:
                    largest = max(largest, tensor.numel())
            return result

    with Sizes():
        match, logits = model(batch)
        (match.sum() + logits.logsumexp(-1).sum()).backward()
    assert 4 * width <= largest < batch.input_ids.numel() * width


def test_copies_do_not_share_their_hooks(start: Start) -> None:
    model = start("bert", masking=True)
    batch = masked(model, arrange(model.encoder.encode(ITEMS), model.layout))
    expected = model(batch)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for twin in twins:
        for found, wanted in zip(twin(batch), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_nothing_is_kept_after_a_forward(start: Start) -> None:
    model = start("bert", masking=True)
    batch = masked(model, arrange(model.encoder.encode(ITEMS), model.layout))
    model(batch)
    assert model._keep.states is None
    model.model(input_ids=batch.input_ids)
    assert model._keep.states is None
    with pytest.raises((IndexError, RuntimeError)):
        model(GlossBatch(**vars(batch) | {"position": torch.tensor([batch.input_ids.numel()])}))
    assert model._keep.states is None


# Packed rows ----------------------------------------------------------------------------------------------


def score(model: GlossModel, items: Any, **options: Any) -> dict[tuple[str, str], torch.Tensor]:
    """The match logits [2] of each candidate, by instance and gloss."""
    layout = Layout(model.encoder.template, options.pop("kind", "packed"), family=model.family, **options)
    batch = collate(model.encoder.encode(items), layout)
    with torch.no_grad():
        match, _ = model(batch)
    where = zip(batch.instance.tolist(), batch.candidate.tolist(), strict=True)
    return {(items[i][0].id, items[i][1][k].gloss): match[p] for p, (i, k) in enumerate(where)}


def check_same(found: dict[Any, torch.Tensor], expected: dict[Any, torch.Tensor]) -> None:
    assert found.keys() <= expected.keys()
    assert found
    for key, logits in found.items():
        torch.testing.assert_close(logits, expected[key], atol=1e-5, rtol=1e-5, msg=str(key))


LONG = (instance("the dog and the sea " * 3 + "old town one of the trains", "old town", id="long"), SENSES)


@pytest.mark.parametrize("layout", ["packed", "pairs"])
@pytest.mark.parametrize("family", PACKED)
def test_other_candidates_change_no_score(family: str, layout: str, start: Start) -> None:
    model = start(family, layers=3)
    items = [*ITEMS, LONG]
    together = score(model, items, kind=layout)
    values = torch.stack([v for (name, _), v in together.items() if name == "b"])
    assert (values[1:] - values[0]).abs().min() > 1e-4, "candidates do not differ, so nothing was shown"
    for item, senses in items:
        check_same(score(model, [(item, senses[::-1])], kind=layout), together)  # shuffled, other padding
        for one in senses:
            check_same(score(model, [(item, (one,))], kind=layout), together)
        more = (sense("gold iron sea " * 4, "x"), *senses, sense("y"))
        check_same(
            {k: v for k, v in score(model, [(item, more)], kind=layout).items() if k in together}, together
        )


@pytest.mark.parametrize("family", PACKED)
def test_several_rows_score_as_one(family: str, start: Start) -> None:
    model = start(family)
    whole = score(model, [*ITEMS, LONG])
    check_same(score(model, [*ITEMS, LONG], row_length=POSITIONS), whole)
    check_same(score(model, [*ITEMS, LONG], row_length=1), whole)


@pytest.mark.parametrize("family", PACKED)
def test_with_one_layer_packed_is_pairs(family: str, start: Start) -> None:
    model = start(family, layers=1)
    check_same(score(model, [*ITEMS, LONG]), score(model, [*ITEMS, LONG], kind="pairs"))
    deep = start(family, layers=2)
    packed, pairs = score(deep, [LONG]), score(deep, [LONG], kind="pairs")
    assert max(float((packed[k] - pairs[k]).abs().max()) for k in packed) > 1e-4, "the context sees the gloss"


def test_modernbert_counts_its_window_in_positions() -> None:
    tokenizer = family_tokenizer("modernbert")
    config = make_config("modernbert", tokenizer, layers=1)
    config.layer_types = ["sliding_attention"]
    pieces = PieceTokenizer.from_hf(tokenizer, name="modernbert", limit=POSITIONS)
    encoder = Encoder(pieces, max_length=POSITIONS)
    model = GlossModel(make_model(config), encoder, GlossSettings(max_length=POSITIONS)).eval()
    torch.nn.init.normal_(model.head.weight, std=1.0)
    check_same(score(model, [LONG]), score(model, [LONG], kind="pairs"))
    # The opening piece of a gloss stands at position 0: by places in the row it would not see the context.
    far = (instance("knows " + LONG[0].context, "old town", id="long"), SENSES)
    changed = score(model, [far])
    assert all((v - score(model, [LONG])[k]).abs().max() > 1e-4 for k, v in changed.items())


@pytest.mark.parametrize("family", PACKED)
def test_eager_attention_takes_the_same_masks(family: str, start: Start) -> None:
    model = start(family)
    expected = score(model, ITEMS)
    model.model.set_attn_implementation("eager")
    check_same(score(model, ITEMS), expected)


def test_other_attention_is_refused_in_packed(start: Start) -> None:
    model = start("bert")
    model.model.config._attn_implementation = "flex_attention"
    with pytest.raises(UserError, match="packed layout does not work with flex_attention"):
        score(model, ITEMS)


def test_packed_masks_too(start: Start) -> None:
    for family in PACKED:
        model = start(family, masking=True, layout="packed").train()
        batch = masked(model, arrange(model.encoder.encode([*ITEMS, LONG]), model.layout))
        match, logits = model(batch)
        assert (len(match), len(logits)) == (15, 4)
        (match.sum() + logits.square().mean()).backward()
        assert all(p.grad is not None for p in model.parameters())


def test_a_layout_the_family_cannot_do_is_refused(start: Start) -> None:
    for family in ("deberta-v3", "bart", "xlnet"):
        with pytest.raises(UserError, match='set layout = "pairs"'):
            start(family, layout="packed")
