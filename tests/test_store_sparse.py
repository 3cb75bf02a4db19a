"""What is computed of few pieces per slot is what weighting, mixture and losses compute of all of them."""

from __future__ import annotations

import pytest
import torch

from limbeck.distill import sparse, weighting
from limbeck.distill.losses import slot_loss, slot_values
from limbeck.distill.mixture import MIXTURES, Mixture
from limbeck.distill.sparse import Sparse
from limbeck.distill.sparse_loss import sparse_slot_loss

SLOTS, V = 40, 30


def said(seed: int, k: int = 6, slots: int = SLOTS, share: float = 0.8) -> Sparse:
    """One teacher's answers for some slots: pieces that fall together, and some that the student lacks."""
    draw = torch.Generator().manual_seed(seed)
    slot = (torch.rand(slots, generator=draw) < share).nonzero()[:, 0]
    ids = torch.randint(-1, V, (len(slot), k), generator=draw)
    mass = torch.rand(len(slot), k + 1, generator=draw) ** 3
    mass /= mass.sum(1, keepdim=True)
    return sparse.gather(slot, ids, mass[:, :k], mass[:, k].clone(), V)


def test_pieces_that_stand_for_the_same_add_up() -> None:
    ids = torch.tensor([[4, -1, 2, 4, 2], [7, 7, 7, 7, 7], [-1, -1, -1, -1, -1]])
    mass = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.05], [0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.1, 0.1]])
    found = sparse.gather(torch.arange(3), ids, mass, torch.tensor([0.2, 0.5, 0.4]), V)
    assert found.ids.tolist() == [[2, 4, V, V, V], [7, V, V, V, V], [V] * 5]
    torch.testing.assert_close(found.mass[0], torch.tensor([0.35, 0.25, 0, 0, 0]))
    torch.testing.assert_close(found.mass[1], torch.tensor([0.5, 0, 0, 0, 0]))
    torch.testing.assert_close(found.inexpressible, torch.tensor([0.2, 0.0, 0.6]))
    dense = found.dense(V)
    assert dense.kept is not None
    assert dense.kept.sum(1).tolist() == [2, 1, 0]
    torch.testing.assert_close(dense.mass.sum(1) + dense.inexpressible + dense.tail, torch.ones(3))


def test_statistics_are_those_of_the_dense_ones() -> None:
    teachers = [said(1), said(2, k=9)]
    gold = torch.randint(0, V, (SLOTS,))
    found = sparse.stats(teachers, gold, SLOTS, V)
    wanted = weighting.stats([one.dense(V) for one in teachers], gold, SLOTS, V)
    assert found.covered.sum() > 40
    for name in ("covered", "log_gold", "log_max", "margin", "neg_uncertainty"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), equal_nan=True)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("ks", [(6,), (6, 9), (V, 3, 12)])
def test_mixtures_are_those_of_the_dense_ones(mixture: str, ks: tuple[int, ...]) -> None:
    teachers = [said(7 + t, k) for t, k in enumerate(ks)]
    covered = torch.zeros(len(ks), SLOTS, dtype=torch.bool)
    for t, one in enumerate(teachers):
        covered[t, one.slot] = one.expressible > 1e-6
    scores = torch.randn(len(ks), SLOTS)
    shares = weighting.weights(scores, torch.zeros(len(ks)), 1.0, covered)
    ids, target, tail = sparse.mix(teachers, shares, SLOTS, V, mixture)
    whole = Mixture([one.dense(V) for one in teachers], shares, V, mixture)
    dense, dense_tail, kept = whole.rows(slice(None))
    assert bool((ids[:, 1:] >= ids[:, :-1]).all())
    wide = torch.zeros(SLOTS, V + 1)
    torch.testing.assert_close(wide.scatter(1, ids, target)[:, :-1], dense, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(tail, dense_tail, atol=1e-6, rtol=1e-5)
    assert kept is not None
    assert torch.equal(wide.scatter(1, ids, 1.0)[:, :-1] > 0, kept)
    sums = target.sum(1) + tail
    torch.testing.assert_close(sums, covered.any(0).float())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.7])
@pytest.mark.parametrize("sharp", [1.0, 12.0, 60.0])
def test_the_loss_and_its_gradient_are_the_reference(temperature: float, sharp: float) -> None:
    """`sharp`: students so sure of a few pieces that they leave next to nothing outside them."""
    one = said(3)
    weights = torch.zeros(1, SLOTS)
    weights[0, one.slot] = 1.0
    ids, target, tail = sparse.mix([one], weights, SLOTS, V, "arithmetic")
    has_target = weights[0] > 0
    has_target[one.slot[:3]] = False  # covered, but the student does not see the mask there
    gold = torch.randint(0, V, (SLOTS,))
    logits = torch.randn(SLOTS, V) * sharp
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, kd_values, ce_values = sparse_slot_loss(
        mine, gold, ids, target, tail, has_target, 0.7, 0.3, temperature
    )
    loss.backward()
    wide = torch.zeros(SLOTS, V + 1)
    dense = wide.scatter(1, ids, target)[:, :-1]
    kept = (wide.scatter(1, ids, 1.0) > 0)[:, :-1]
    parts = slot_loss(other, gold, dense, tail, kept, has_target, 0.7, 0.3, temperature)
    (parts[0].sum() + parts[1].sum()).backward()
    divergence, entropy = slot_values(logits, gold, dense, tail, kept, has_target, temperature)
    torch.testing.assert_close(kd_values, divergence, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ce_values, entropy, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, parts[0].sum() + parts[1].sum(), atol=1e-4, rtol=1e-5)
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-5)


def test_the_loss_where_everything_is_kept() -> None:
    ids = torch.arange(V).expand(4, -1).contiguous()
    target = torch.softmax(torch.randn(4, V), 1)
    logits = torch.randn(4, V, requires_grad=True)
    gold, tail = torch.zeros(4, dtype=torch.int64), torch.zeros(4)
    everywhere = torch.ones(4, dtype=torch.bool)
    loss, kd_values, _ = sparse_slot_loss(logits, gold, ids, target, tail, everywhere, 1.0, 0.0, 1.0)
    loss.backward()
    wanted = torch.nn.functional.kl_div(logits.log_softmax(1), target, reduction="none").sum(1)
    torch.testing.assert_close(kd_values, wanted.detach(), atol=1e-5, rtol=1e-5)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - target, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_is_the_loss_s(temperature: float) -> None:
    ids, target, tail = sparse.mix([said(5, slots=6, share=1.0)], torch.ones(1, 6), 6, V, "arithmetic")
    gold, seen = torch.randint(0, V, (6,)), torch.ones(6, dtype=torch.bool)
    logits = torch.randn(6, V)
    turned = logits.clone().requires_grad_()
    sparse_slot_loss(turned, gold, ids, target, tail, seen, 0.6, 0.4, temperature)[0].backward()
    direction = torch.randn(6, V)
    ends = [
        float(
            sparse_slot_loss(logits + step * direction, gold, ids, target, tail, seen, 0.6, 0.4, temperature)[
                0
            ]
        )
        for step in (1e-2, -1e-2)
    ]
    assert turned.grad is not None
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float((turned.grad * direction).sum()), rel=1e-3)


def test_half_precision_and_no_slots() -> None:
    ids, target, tail = sparse.mix([said(5, slots=6, share=1.0)], torch.ones(1, 6), 6, V, "arithmetic")
    gold, seen = torch.randint(0, V, (6,)), torch.ones(6, dtype=torch.bool)
    logits = torch.randn(6, V).bfloat16().requires_grad_()
    exact = logits.detach().float().requires_grad_()
    for given in (logits, exact):
        sparse_slot_loss(given, gold, ids, target, tail, seen, 0.6, 0.4, 1.0)[0].backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.float(), exact.grad, atol=1e-2, rtol=1e-2)
    none = torch.zeros(0, V, requires_grad=True)
    loss = sparse_slot_loss(none, gold[:0], ids[:0], target[:0], tail[:0], seen[:0], 0.6, 0.4, 1.0)[0]
    loss.backward()
    assert float(loss.detach()) == 0
    assert none.grad is not None
