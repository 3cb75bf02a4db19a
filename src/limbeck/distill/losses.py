"""The student's loss at a slot (docs/architecture.md §3.1).

    L(i) = λ_kd · T² · KL(q ‖ p_student^T) + λ_ce · CE(yᵢ)       slot without a target: (λ_kd + λ_ce) · CE(yᵢ)

`slot_values` and `slot_loss` are the readable version, differentiable by autograd. `fused_slot_loss` is the
fast one for targets without a tail; it agrees with the readable one to 1e-5. S slots, V pieces of the
student's vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from limbeck.distill.weighting import row_chunks


def slot_values(
    logits: Tensor,
    gold: Tensor,
    target: Tensor | None,
    tail: Tensor | None,
    kept: Tensor | None,
    has_target: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """T² · KL(q ‖ p_student^T) (0 where there is no target) and CE, unweighted, in nats: float32 [S] each.

    Args:
        logits: [S, V], any floating type.
        gold: int64 [S], the true pieces.
        target: [S, V] as `Mixture.rows` gives it; None: no slot has one.
        tail: [S], as `Mixture.rows` gives it; it stands against the student's total mass outside `kept`.
        kept: bool [S, V], as `Mixture.rows` gives it; None: everything, and then there is no tail.
        has_target: bool [S].
        temperature: T.
    """
    logits = logits.float()
    ce = torch.logsumexp(logits, 1) - logits.gather(1, gold[:, None]).squeeze(1)
    if target is None:
        return torch.zeros_like(ce), ce
    tempered = logits / temperature
    log_student = torch.log_softmax(tempered, 1)
    divergence = (torch.xlogy(target, target) - target * log_student).sum(1)
    if kept is not None:
        assert tail is not None
        # The lowest number, not −inf: where everything is kept the gradient must stay a number.
        outside = tempered.masked_fill(kept, torch.finfo(tempered.dtype).min)
        log_outside = torch.logsumexp(outside, 1) - torch.logsumexp(tempered, 1)
        divergence = divergence + torch.xlogy(tail, tail) - tail * log_outside
    return torch.where(has_target, temperature**2 * divergence, 0.0), ce


def slot_loss(
    logits: Tensor,
    gold: Tensor,
    target: Tensor | None,
    tail: Tensor | None,
    kept: Tensor | None,
    has_target: Tensor,
    kd: float,
    ce: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """The two weighted terms of every slot's loss, float32 [S] each; their sum is L(i).

    Args:
        logits: [S, V], any floating type.
        gold: int64 [S], the true pieces.
        target: [S, V] or None, as in `slot_values`.
        tail: [S] or None, as in `slot_values`.
        kept: bool [S, V] or None, as in `slot_values`.
        has_target: bool [S]; a slot without one has no first term, and (λ_kd + λ_ce) · CE for the second.
        kd: λ_kd.
        ce: λ_ce.
        temperature: T.
    """
    divergence, entropy = slot_values(logits, gold, target, tail, kept, has_target, temperature)
    return kd * divergence, torch.where(has_target, ce, kd + ce) * entropy


TargetRows = Callable[[slice], Tensor]
"""Makes some rows of a target, float32 [n, V]: it need not be there whole."""


def fused_slot_loss(
    logits: Tensor,
    gold: Tensor,
    target: Tensor | TargetRows | None,
    has_target: Tensor,
    kd: float,
    ce: float,
    temperature: float,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the slots' losses, by hand: no copy of [S, V] is kept, and only the gradient is ever made.

    Args:
        logits: [S, V], float32, bf16 or f16; computed in float32, the gradient has the logits' type. Rows
            behind the S of `gold` are padding: they count nothing.
        gold: int64 [S], the true pieces.
        target: float32 [S, V] without a tail, or what makes its rows; None for plain cross-entropy.
        has_target: bool [S]; all False when `target` is None.
        kd: λ_kd.
        ce: λ_ce.
        temperature: T of the distillation term.
        weight: float32 [S], what each slot's loss counts in the sum; None: 1.

    Returns:
        (loss, kd_values, ce_values): a scalar to call `backward` on (once), and the detached, unweighted
        values of `slot_values`, float32 [S] each.
    """
    arguments = logits, gold, target, has_target, kd, ce, temperature, weight
    loss, kd_values, ce_values = _FusedSlotLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss, kd_values, ce_values


class _FusedSlotLoss(torch.autograd.Function):
    """Walks the rows in chunks; loss and gradient are made of the same softmax, in the forward.

    d/dlogits = ce·(p − onehot) + kd·T·(p_T − q) with a target, (kd + ce)·(p − onehot) without one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        gold: Tensor,
        target: Tensor | TargetRows | None,
        has_target: Tensor,
        kd: float,
        ce: float,
        temperature: float,
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        slots, width = len(gold), logits.shape[1]
        kd_values = torch.zeros(slots, device=logits.device)
        ce_values = torch.zeros(slots, device=logits.device)
        soft = kd * temperature * has_target.float()  # [S], before p_T − q
        hard = torch.where(has_target, ce, kd + ce)  # [S], before p − onehot
        if weight is not None:
            soft, hard = soft * weight, hard * weight
        gradient = gradient_like(logits, slots) if ctx.needs_input_grad[0] else None
        for rows in row_chunks(slots, width, logits.device):
            part = logits[rows].float()
            student, total = softmax_and_total(part)
            ce_values[rows] = total - part.gather(1, gold[rows, None]).squeeze(1)
            tempered, total_t = student, total
            if target is not None:
                if temperature != 1.0:
                    part = part / temperature
                    tempered, total_t = softmax_and_total(part)
                q = target[rows] if isinstance(target, Tensor) else target(rows)
                apart = q.clamp_min(torch.finfo(q.dtype).tiny).log_()  # 0 · log(tiny) = 0
                apart.sub_(part).add_(total_t[:, None])
                kd_values[rows] = temperature**2 * torch.linalg.vecdot(q, apart)
            if gradient is None:
                continue
            if target is None:
                student.mul_(hard[rows, None])
            elif temperature == 1.0:
                student.mul_((hard + soft)[rows, None]).addcmul_(q, soft[rows, None], value=-1.0)
            else:
                student.mul_(hard[rows, None]).addcmul_(tempered.sub_(q), soft[rows, None])
            student.scatter_add_(1, gold[rows, None], -hard[rows, None])
            gradient[rows] = student
        kd_values = torch.where(has_target, kd_values, 0.0)
        losses = kd * kd_values + torch.where(has_target, ce, kd + ce) * ce_values
        loss = losses.sum() if weight is None else (weight * losses).sum()
        ctx.gradient, ctx.dtype = gradient, logits.dtype
        ctx.mark_non_differentiable(kd_values, ce_values)
        return loss, kd_values, ce_values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return take_gradient(ctx).mul_(grad_loss).to(ctx.dtype), None, None, None, None, None, None, None


def softmax_and_total(part: Tensor) -> tuple[Tensor, Tensor]:
    """The softmax [n, V] of float32 rows, and their log-sum-exps [n], found at the largest share.

    A third of what softmax and log_softmax cost together; `torch.logsumexp` alone takes twice a softmax.
    """
    shares = torch.softmax(part, 1)
    return shares, part.amax(1) - shares.amax(1).log()


def gradient_like(logits: Tensor, slots: int) -> Tensor:
    """Where the gradient of logits [S or more, V] is put before its scale is known: of their type.

    In float32 for f16, whose small numbers would be lost before the loss is scaled up. 0 behind the S slots.
    """
    gradient = torch.empty_like(logits, dtype=torch.float32 if logits.dtype == torch.float16 else None)
    gradient[slots:] = 0.0
    return gradient


def take_gradient(ctx: Any) -> Tensor:
    """The gradient that a forward has left in `ctx`; there to be had once.

    Raises:
        RuntimeError: asked for a second time.
    """
    gradient, ctx.gradient = ctx.gradient, None
    if gradient is None:
        raise RuntimeError("the loss was sent backward before; compute it again")
    found: Tensor = gradient
    return found
