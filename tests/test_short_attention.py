"""Attention by two products, and a head of aligned rows: the same numbers as without them."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from limbeck.teachers import attention
from limbeck.teachers.attention import SHORT, short_attention
from limbeck.teachers.masked_lm import MaskedLM
from limbeck.teachers.padded_linear import PaddedLinear, aligned_empty

SHAPE = (2, 3, 20, 10)


def qkv(dtype=torch.bfloat16, shape=SHAPE):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=g).to(dtype).requires_grad_() for _ in range(3)]


def a_mask():
    mask = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(1)) < 0.6
    return mask | torch.eye(20, dtype=torch.bool)


@pytest.mark.parametrize("mask", [None, a_mask()])
@pytest.mark.parametrize("scaling", [None, 0.2])
def test_the_same_as_sdpa_forward_and_backward(mask, scaling):
    module = SimpleNamespace(is_causal=False)
    exact = [x.detach().double().requires_grad_() for x in qkv()]
    weight = torch.randn(2, 20, 3, 10, generator=torch.Generator().manual_seed(2))
    wanted, _ = sdpa_attention_forward(module, *exact, mask, scaling=scaling, is_causal=False)
    (wanted * weight).sum().backward()
    ours = qkv()
    found, _ = short_attention(module, *ours, mask, scaling=scaling)
    (found * weight).sum().backward()
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), wanted, atol=0.03, rtol=0.03)
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, atol=0.06, rtol=0.05)


@pytest.mark.parametrize(
    ("dtype", "length", "more", "mask"),
    [
        (torch.float32, 20, {}, None),
        (torch.bfloat16, 1025, {}, None),
        (torch.bfloat16, 20, {"is_causal": True}, None),
        (torch.bfloat16, 20, {}, torch.zeros(2, 1, 20, 20, dtype=torch.bfloat16)),
    ],
)
def test_what_it_is_not_for_goes_to_sdpa(monkeypatch, dtype, length, more, mask):
    asked = []

    def sdpa(module, query, *rest, **given):
        asked.append(query.shape)
        return sdpa_attention_forward(module, query, *rest, **given)

    monkeypatch.setattr(attention, "sdpa_attention_forward", sdpa)
    module = SimpleNamespace(is_causal=False)
    with torch.no_grad():
        short_attention(module, *(x.detach() for x in qkv(dtype, (2, 3, length, 10))), mask, **more)
        short_attention(module, *(x.detach() for x in qkv()), None)  # these are its own
        assert len(asked) == 1
    short_attention(module, *qkv(shape=(2, 3, 192, 10)), None)
    assert len(asked) == 1
    short_attention(module, *qkv(shape=(2, 3, 193, 10)), None)
    assert len(asked) == 2


@pytest.mark.parametrize("mask", [None, a_mask(), a_mask()[:1], a_mask()[:, :, :1]])
@pytest.mark.parametrize("part", [1, 1200, 2000, 1 << 20])  # one row has 3 · 20 · 20 shares
def test_without_gradients_some_rows_at_a_time(monkeypatch, mask, part):
    monkeypatch.setattr(attention, "_PART", part)
    module = SimpleNamespace(is_causal=False)
    exact = [x.detach().double() for x in qkv()]
    wanted, _ = sdpa_attention_forward(module, *exact, mask, scaling=0.3, is_causal=False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        given = [x.detach() for x in qkv()]
        found, _ = short_attention(module, *given, mask, scaling=0.3)
        none, _ = short_attention(module, *(x[:0] for x in given), None)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous()
    assert none.shape == (0, 20, 3, 10)
    torch.testing.assert_close(found.double(), wanted, atol=0.03, rtol=0.03)


def test_dropout_drops_shares_and_keeps_their_mean():
    module = SimpleNamespace(is_causal=False)
    query, key, value = (x.detach() for x in qkv())
    torch.manual_seed(0)
    many = torch.stack(
        [short_attention(module, query, key, value, None, dropout=0.3)[0].float() for _ in range(400)]
    )
    whole = short_attention(module, query, key, value, None)[0].float()
    assert (many[0] != whole).any()
    torch.testing.assert_close(many.mean(0), whole, atol=0.15, rtol=0)


def small(kind):
    size = {
        "vocab_size": 5003,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "pad_token_id": 0,
    }
    torch.manual_seed(3)
    if kind == "bert":
        return BertForMaskedLM(BertConfig(**size, attn_implementation="sdpa")).eval()
    return ModernBertForMaskedLM(ModernBertConfig(**size, attn_implementation="sdpa")).eval()


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_models_take_both_answer_alike_and_are_saved_as_before(kind, tmp_path):
    plain = small(kind)
    plain.save_pretrained(tmp_path / "plain")
    ours = MaskedLM(copy.deepcopy(plain), mask_id=4)
    assert ours.model.config._attn_implementation == SHORT
    assert isinstance(ours.model.get_output_embeddings(), PaddedLinear)
    ids = torch.randint(5, 5003, (3, 12), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    position = torch.tensor([1, 5, 14, 30])
    with torch.no_grad():
        wanted = plain(input_ids=ids, attention_mask=mask)[0].reshape(36, -1)[position]
        torch.testing.assert_close(ours(ids, mask, position), wanted, atol=1e-5, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(ours(ids, mask, position).float(), wanted, atol=0.05, rtol=0.05)
    ours.model.save_pretrained(tmp_path / "ours")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


@pytest.mark.parametrize("bias", [True, False])
def test_a_padded_head_has_the_gradients_of_a_plain_one(bias):
    torch.manual_seed(5)
    plain = nn.Linear(16, 5003, bias=bias)
    padded = copy.deepcopy(plain)
    padded.__class__ = PaddedLinear
    hidden = torch.randn(9, 16, requires_grad=True)
    again = hidden.detach().clone().requires_grad_()
    weight = torch.randn(9, 5003)
    (plain(hidden) * weight).sum().backward()
    found = padded(again)
    assert found.stride() == (5008, 1)
    (found * weight).sum().backward()
    torch.testing.assert_close(found, plain(hidden), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.grad, hidden.grad, atol=1e-4, rtol=1e-4)
    for one, other in zip(padded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)
    assert padded(torch.randn(2, 3, 16)).shape == (2, 3, 5003)  # not two axes: torch's own


def test_aligned_rows_begin_at_cache_lines():
    assert aligned_empty(torch.zeros(1), 3, 30_522).stride() == (30_528, 1)
    assert aligned_empty(torch.zeros(1), 3, 32).is_contiguous()
