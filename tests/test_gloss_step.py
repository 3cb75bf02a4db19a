"""The losses of gloss training against slow references, and the weights of the masked-LM part."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from limbeck.distill.losses import fused_slot_loss, slot_loss
from limbeck.gloss.losses import choice_losses, hits, pair_losses, scores
from limbeck.gloss.masking import _weights


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int]:
    """Match logits, instance, gold, count; the candidates of an instance need not stand together."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    instance = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    gold = rng.random(len(instance)) < 0.4
    for number in range(len(sizes)):
        gold[rng.choice(np.flatnonzero(instance == number))] = True
    match = torch.from_numpy(rng.normal(0, draw(st.sampled_from([0.1, 3, 60])), (len(instance), 2))).float()
    return match, torch.from_numpy(instance), torch.from_numpy(gold), len(sizes)


@given(candidates())
def test_choice_is_the_mass_of_all_golds(given: tuple[Tensor, Tensor, Tensor, int]) -> None:
    match, instance, gold, count = given
    losses = choice_losses(match, instance, gold, count)
    assert losses.dtype == torch.float32
    for number in range(count):
        mine = [k for k in range(len(match)) if int(instance[k]) == number]
        score = [float(match[k, 1].double() - match[k, 0].double()) for k in mine]
        top = max(score)
        mass = [math.exp(s - top) for s in score]
        right = sum(m for m, k in zip(mass, mine, strict=True) if bool(gold[k]))
        expected = -math.log(right / sum(mass)) if right else math.inf
        if math.isfinite(expected):  # float32: 24 bits of scores up to some hundreds
            assert float(losses[number]) == pytest.approx(expected, abs=1e-4, rel=1e-5)


@given(candidates())
def test_pairs_is_two_class_cross_entropy(given: tuple[Tensor, Tensor, Tensor, int]) -> None:
    match, instance, gold, count = given
    losses = pair_losses(match, instance, gold, count)
    for number in range(count):
        mine = (instance == number).nonzero().flatten()
        expected = nn.functional.cross_entropy(match[mine].double(), gold[mine].long(), reduction="sum")
        assert float(losses[number]) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


@given(candidates())
def test_hits_count_instances(given: tuple[Tensor, Tensor, Tensor, int]) -> None:
    match, instance, gold, count = given
    right = 0
    for number in range(count):
        mine = (instance == number).nonzero().flatten()
        right += bool(gold[mine[scores(match)[mine].argmax()]])
    assert float(hits(match, instance, gold, count)) == right


def test_nothing_is_learnt_where_all_candidates_are_right() -> None:
    match = torch.randn(3, 2, requires_grad=True)
    instance, gold = torch.tensor([0, 0, 1]), torch.tensor([True, True, True])
    losses = choice_losses(match, instance, gold, 2)
    assert losses.abs().max() < 1e-6
    losses.sum().backward()
    assert match.grad is not None
    assert match.grad.abs().max() < 1e-6


def test_scores_far_apart_keep_a_finite_gradient() -> None:
    match = torch.tensor([[0.0, 900.0], [900.0, 0.0], [0.0, 0.0]], requires_grad=True)
    losses = choice_losses(match, torch.tensor([0, 0, 0]), torch.tensor([False, True, False]), 1)
    assert losses.tolist() == pytest.approx([1800])
    losses.sum().backward()
    assert match.grad is not None
    assert torch.isfinite(match.grad).all()
    assert match.grad[1].tolist() == [1, -1]


def test_a_pair_of_golds_is_not_pulled_apart() -> None:
    """Multi-gold: only their sum counts, so two right glosses keep the ratio they have."""
    match = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]], requires_grad=True)
    choice_losses(match, torch.tensor([0, 0, 0]), torch.tensor([True, True, False]), 1).sum().backward()
    assert match.grad is not None
    assert torch.equal(match.grad[0], match.grad[1])
    assert match.grad[2, 1] > 0


@pytest.mark.parametrize("with_target", [True, False])
def test_weighted_slots(with_target: bool) -> None:
    """The fused loss with weights against the readable one, values and gradients."""
    slots, width = 7, 11
    logits = torch.randn(slots, width, requires_grad=True)
    again = logits.detach().clone().requires_grad_(True)
    gold, weight = torch.randint(width, (slots,)), torch.rand(slots)
    target = torch.softmax(torch.randn(slots, width), 1) if with_target else None
    has_target = torch.rand(slots) < (0.6 if with_target else 0)
    loss, _, _ = fused_slot_loss(logits, gold, target, has_target, 0.7, 0.3, 2.0, weight)
    kd, ce = slot_loss(again, gold, target, None, None, has_target, 0.7, 0.3, 2.0)
    expected = (weight * (kd + ce)).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    expected.backward()
    assert logits.grad is not None
    assert again.grad is not None
    assert torch.allclose(logits.grad, again.grad, atol=1e-7)


def test_the_slots_of_an_instance_share_its_weight() -> None:
    """Instance 0 has slots a (three copies) and b; instance 1 has a as well, once, and c twice."""
    instance, slot = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 2, 0, 2])
    weights = _weights(instance, slot, 3)
    assert weights == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6, 1 / 4, 1 / 2, 1 / 4])
    assert np.bincount(instance, weights) == pytest.approx([1, 1])
    assert len(_weights(np.zeros(0, np.int64), np.zeros(0, np.int64), 0)) == 0
