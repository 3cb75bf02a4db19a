"""The slots' loss: readable version against plain Python, fused version against the readable one."""

from __future__ import annotations

import math

import pytest
import torch

from limbeck.distill.losses import fused_slot_loss, slot_loss, slot_values
from limbeck.distill.sparse_loss import sparse_slot_loss

SLOTS, VOCABULARY = 11, 23


def case(seed: int, *, with_tail: bool):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(SLOTS, VOCABULARY, generator=g)
    gold = torch.randint(0, VOCABULARY, (SLOTS,), generator=g)
    target = torch.softmax(3 * torch.randn(SLOTS, VOCABULARY, generator=g), 1)
    target[2] = 0.0
    target[2, 4] = 1.0  # zeros in a target are no NaN
    tail = kept = None
    if with_tail:
        kept = torch.rand(SLOTS, VOCABULARY, generator=g) < 0.5
        kept[2, 4] = True
        kept[3] = True  # everything kept: no tail
        tail = (target * ~kept).sum(1)
        target = target * kept
    has_target = torch.rand(SLOTS, generator=g) < 0.7
    has_target[:4] = True
    has_target[4] = False
    return logits, gold, target, tail, kept, has_target


def reference(logits, gold, target, tail, kept, has_target, kd, ce, temperature):
    """L(i) by loops in double precision."""
    out = []
    for i in range(len(gold)):
        row = logits[i].double().tolist()

        def student(t, row=row):
            top = max(row)
            e = [math.exp((x - top) / t) for x in row]
            return [x / sum(e) for x in e]

        entropy = -math.log(student(1.0)[gold[i]])
        if not has_target[i]:
            out.append((kd + ce) * entropy)
            continue
        p = student(temperature)
        divergence, outside = 0.0, 0.0
        for v in range(len(row)):
            if kept is not None and not kept[i, v]:
                outside += p[v]
            elif target[i, v] > 0:
                divergence += float(target[i, v]) * (math.log(target[i, v]) - math.log(p[v]))
        if tail is not None and tail[i] > 0:
            divergence += float(tail[i]) * (math.log(tail[i]) - math.log(outside))
        out.append(kd * temperature**2 * divergence + ce * entropy)
    return torch.tensor(out)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("with_tail", [False, True])
def test_readable_loss_agrees_with_plain_python(with_tail, temperature):
    for seed in range(4):
        given = case(seed, with_tail=with_tail)
        soft, hard = slot_loss(*given, 0.7, 0.4, temperature)
        expected = reference(*given, 0.7, 0.4, temperature)
        torch.testing.assert_close(soft + hard, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_tail", [False, True])
def test_readable_gradient_by_finite_differences(with_tail):
    logits, gold, target, tail, kept, has_target = case(1, with_tail=with_tail)
    logits = logits.requires_grad_()
    soft, hard = slot_loss(logits, gold, target, tail, kept, has_target, 0.7, 0.4, 2.0)
    (soft + hard).sum().backward()
    direction = torch.randn(SLOTS, VOCABULARY, generator=torch.Generator().manual_seed(9))
    h = 1e-4
    up, down = (
        reference(
            logits.detach().double() + s * h * direction, gold, target, tail, kept, has_target, 0.7, 0.4, 2.0
        )
        for s in (1, -1)
    )
    expected = (up.double().sum() - down.double().sum()) / (2 * h)
    assert float((logits.grad * direction).sum()) == pytest.approx(float(expected), rel=2e-2, abs=2e-2)


def test_a_slot_without_a_target_has_the_hard_label_alone():
    given = case(0, with_tail=True)
    without = torch.zeros(SLOTS, dtype=torch.bool)
    soft, hard = slot_loss(*given[:5], without, 0.7, 0.4, 2.0)
    cross_entropy = torch.nn.functional.cross_entropy(given[0], given[1], reduction="none")
    assert soft.abs().max() == 0
    torch.testing.assert_close(hard, 1.1 * cross_entropy)


def test_no_loss_where_the_student_agrees_and_finite_gradients_with_everything_kept():
    logits, gold, *_ = case(0, with_tail=False)
    logits.requires_grad_()
    target = torch.softmax(logits.detach(), 1)
    everything = torch.ones(SLOTS, VOCABULARY, dtype=torch.bool)
    has_target = torch.ones(SLOTS, dtype=torch.bool)
    values, _ = slot_values(logits, gold, target, torch.zeros(SLOTS), everything, has_target, 1.0)
    torch.testing.assert_close(values, torch.zeros(SLOTS), atol=1e-6, rtol=0)
    values.sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


def both(logits, gold, target, has_target, kd, ce, temperature):
    a, b = logits.detach().clone().requires_grad_(), logits.detach().clone().requires_grad_()
    soft, hard = slot_loss(a, gold, target, None, None, has_target, kd, ce, temperature)
    values = slot_values(a, gold, target, None, None, has_target, temperature)
    ((soft + hard).sum() * 0.5).backward()
    loss, kd_values, ce_values = fused_slot_loss(b, gold, target, has_target, kd, ce, temperature)
    (loss * 0.5).backward()
    return (soft + hard).sum(), values, a.grad, loss, (kd_values, ce_values), b.grad


@pytest.mark.parametrize("chunk", [1, 1 << 19])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("taught", ["some", "none", "no target"])
def test_fused_agrees_with_readable(taught, temperature, chunk, monkeypatch):
    monkeypatch.setattr("limbeck.distill.weighting._CHUNK_CPU", chunk)
    for seed in range(3):
        logits, gold, target, _, _, has_target = case(seed, with_tail=False)
        if taught != "some":
            has_target = torch.zeros_like(has_target)
        loss, values, grad, fused, fused_values, fused_grad = both(
            logits, gold, None if taught == "no target" else target, has_target, 0.7, 0.4, temperature
        )
        torch.testing.assert_close(fused, loss, atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(fused_grad, grad, atol=1e-5, rtol=1e-5)
        for one, other in zip(fused_values, values, strict=True):
            assert not one.requires_grad
            torch.testing.assert_close(one, other.detach(), atol=1e-5, rtol=1e-5)


def test_fused_agrees_at_a_real_vocabulary_and_at_large_logits():
    g = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(40, 30_522, generator=g) + 500
    gold = torch.randint(0, 30_522, (40,), generator=g)
    target = torch.softmax(6 * torch.randn(40, 30_522, generator=g), 1)
    has_target = torch.rand(40, generator=g) < 0.8
    loss, values, grad, fused, fused_values, fused_grad = both(
        logits, gold, target, has_target, 0.7, 0.3, 1.0
    )
    torch.testing.assert_close(fused, loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(fused_grad, grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(fused_values[0], values[0].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_takes_half_precision_and_computes_in_float32(dtype):
    logits, gold, target, _, _, has_target = case(0, with_tail=False)
    half = logits.to(dtype)
    loss, _, grad, fused, values, fused_grad = both(half, gold, target, has_target, 0.7, 0.4, 2.0)
    assert fused.dtype == values[0].dtype == torch.float32
    assert fused_grad.dtype == dtype
    torch.testing.assert_close(fused, loss, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(fused_grad, grad, atol=1e-2, rtol=1e-2)


def test_fused_keeps_neither_logits_nor_target_but_their_gradient():
    logits, gold, target, _, _, has_target = case(0, with_tail=False)
    logits.requires_grad_()
    saved: list[int] = []

    def pack(tensor):
        if tensor.numel() >= SLOTS * VOCABULARY:
            saved.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _, _ = fused_slot_loss(logits, gold, target, has_target, 0.7, 0.3, 1.0)
    assert saved == []
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute it again"):
        loss.backward()
    with torch.no_grad():
        fused_slot_loss(logits, gold, target, has_target, 0.7, 0.3, 1.0)


def test_f16_gradients_smaller_than_f16_survive_when_the_loss_is_scaled():
    logits = torch.zeros(1, 4, dtype=torch.float16, requires_grad=True)
    with torch.no_grad():
        logits[0, 0] = 20.0
    one = torch.zeros(1, dtype=torch.int64)
    loss, _, _ = fused_slot_loss(logits, one, None, one.bool(), 0.0, 1.0, 1.0)
    (loss * 2.0**16).backward()
    assert logits.grad[0, 1].item() == pytest.approx(2.0**16 * math.exp(-20), rel=1e-2)


def test_no_slots_is_zero_and_back_propagates():
    logits = torch.zeros(0, VOCABULARY, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss, _, _ = fused_slot_loss(logits, none, torch.zeros(0, VOCABULARY), none.bool(), 0.7, 0.3, 1.0)
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, VOCABULARY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_behind_the_slots_count_nothing(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(7, VOCABULARY, generator=generator).to(dtype)
    gold, taught = torch.tensor([1, 3, 0, 2, 1]), torch.tensor([True, True, False, True, True])
    target = torch.softmax(torch.randn(5, VOCABULARY, generator=generator), 1)
    ids = torch.arange(3).expand(5, -1)
    few, tail = target[:, :3], target[:, 3:].sum(1)
    for temperature in (1.0, 2.0):
        for loss_of in (
            lambda x, t=temperature: fused_slot_loss(x, gold, target, taught, 0.6, 0.4, t),
            lambda x, t=temperature: fused_slot_loss(x, gold, None, taught & False, 0.6, 0.4, t),
            lambda x, t=temperature: sparse_slot_loss(x, gold, ids, few, tail, taught, 0.6, 0.4, t),
        ):
            exact, padded = (x.clone().requires_grad_() for x in (logits[:5], logits))
            expected, found = loss_of(exact), loss_of(padded)
            torch.testing.assert_close(found, expected)
            expected[0].backward()
            found[0].backward()
            assert exact.grad is not None
            assert padded.grad is not None
            assert torch.equal(padded.grad[:5], exact.grad)
            assert not padded.grad[5:].any()
