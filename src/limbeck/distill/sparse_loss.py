"""The student's loss against targets of few pieces and a tail (docs/architecture.md §3.1), by hand.

Agrees with `losses.slot_values` to 1e-5 and costs about what the plain cross-entropy does: logits and
gradient are walked once each, and what the teachers add is of [S, K]. S slots, V pieces, K ids at most.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limbeck.distill.weighting import row_chunks

# Where the student has less than this outside the kept ids, that mass is summed up instead of 1 − the rest.
_LITTLE = 0.1


def sparse_slot_loss(
    logits: Tensor,
    gold: Tensor,
    ids: Tensor,
    target: Tensor,
    tail: Tensor,
    has_target: Tensor,
    kd: float,
    ce: float,
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the slots' losses, as `losses.fused_slot_loss`.

    Args:
        logits: [S, V], float32, bf16 or f16; computed in float32, the gradient has the logits' type.
        gold: int64 [S], the true pieces.
        ids: int64 [S, K], ascending and distinct in each row, V where there are no more.
        target: float32 [S, K]. tail: float32 [S], against the student's mass outside the ids.
        has_target: bool [S]. kd, ce: λ. temperature: T of the distillation term.

    Returns:
        (loss, kd_values, ce_values): a scalar to call `backward` on (once), and the detached, unweighted
        values of `slot_values`, float32 [S] each.
    """
    arguments = logits, gold, ids, target, tail, has_target, kd, ce, temperature
    loss, kd_values, ce_values = _SparseSlotLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss, kd_values, ce_values


class _SparseSlotLoss(torch.autograd.Function):
    """d/dlogits = ce·(p − onehot) + kd·T·g, where g is p_T − q at the ids and p_T·(1 − r/P) elsewhere.

    P is the student's mass outside the ids, r the tail.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        gold: Tensor,
        ids: Tensor,
        target: Tensor,
        tail: Tensor,
        has_target: Tensor,
        kd: float,
        ce: float,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        slots, width = logits.shape
        inside = ids < width
        held = ids.clamp_max(width - 1)
        total = torch.empty(slots, device=logits.device)  # log-sum-exp of each row, at 1 and at T
        total_t = total if temperature == 1.0 else torch.empty_like(total)
        for rows in row_chunks(slots, width, logits.device):
            part = logits[rows].float()
            total[rows] = torch.logsumexp(part, 1)
            if temperature != 1.0:
                total_t[rows] = torch.logsumexp(part / temperature, 1)
        ce_values = total - logits.gather(1, gold[:, None]).squeeze(1).float()
        log_student = logits.gather(1, held).float() / temperature - total_t[:, None]
        log_outside = _log_outside(logits, ids, inside, log_student, tail, total_t, temperature)
        divergence = (torch.xlogy(target, target) - torch.where(inside, target * log_student, 0.0)).sum(1)
        divergence += torch.xlogy(tail, tail) - tail * log_outside
        kd_values = torch.where(has_target, temperature**2 * divergence, 0.0)
        loss = (kd * kd_values + torch.where(has_target, ce, kd + ce) * ce_values).sum()
        # r/P; nothing where there is no tail, and P may be 0
        ratio = torch.where(tail > 0, (tail.log() - log_outside).exp(), 0.0)
        ctx.save_for_backward(
            logits, gold, held, inside, target, has_target, total, total_t, log_student, ratio
        )
        ctx.settings = kd, ce, temperature
        ctx.mark_non_differentiable(kd_values, ce_values)
        return loss, kd_values, ce_values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        logits, gold, held, inside, target, has_target, total, total_t, log_student, ratio = ctx.saved_tensors
        kd, ce, temperature = ctx.settings
        soft = grad_loss * kd * temperature * has_target.float()  # [S]
        hard = grad_loss * torch.where(has_target, ce, kd + ce)  # [S]
        elsewhere = soft * (1 - ratio)  # of p_T, outside the ids
        gradient = torch.empty_like(logits)
        # At the ids the value is put in, not added to: r/P may be so large that nothing would be left of it.
        p = (logits.gather(1, held).float() - total[:, None]).exp()
        values = hard[:, None] * p + soft[:, None] * (log_student.exp() - target)
        empty = ~inside[:, 0]  # no ids at all: the place of the gold piece keeps what it has
        spare = torch.where(empty, gold, held[:, 0])
        at = torch.where(inside, held, spare[:, None])
        own = logits.gather(1, gold[:, None]).squeeze(1).float()
        own_value = hard * (own - total).exp() + elsewhere * (own / temperature - total_t).exp()
        spare_value = torch.where(empty, own_value, values[:, 0])
        values = torch.where(inside, values, spare_value[:, None])
        for rows in row_chunks(len(logits), logits.shape[1], logits.device):
            part = logits[rows].float()
            student = (part - total[rows, None]).exp_()
            if temperature == 1.0:
                student.mul_((hard + elsewhere)[rows, None])
            else:
                tempered = part.div(temperature).sub_(total_t[rows, None]).exp_()
                student.mul_(hard[rows, None]).addcmul_(tempered, elsewhere[rows, None])
            student.scatter_(1, at[rows], values[rows])
            student.scatter_add_(1, gold[rows, None], -hard[rows, None])
            gradient[rows] = student
        return gradient, None, None, None, None, None, None, None, None


def _log_outside(
    logits: Tensor,
    ids: Tensor,
    inside: Tensor,
    log_student: Tensor,
    tail: Tensor,
    total: Tensor,
    temperature: float,
) -> Tensor:
    """Log of the student's mass outside the ids, float32 [S]; of no account where there is no tail."""
    mass = torch.where(inside, log_student.exp(), 0.0).sum(1)
    found = torch.log1p(-mass.clamp_max(1 - _LITTLE / 2))
    if logits.device.type == "cpu":
        little = ((mass > 1 - _LITTLE) & (tail > 0)).nonzero()[:, 0]
    else:  # everywhere: to ask where it must would make the processor wait for the GPU
        little = torch.arange(len(mass), device=mass.device)
    width = logits.shape[1]
    for part in row_chunks(len(little), width, logits.device):
        rows = little[part]
        wide = torch.nn.functional.pad(logits[rows].float() / temperature, (0, 1))
        wide.scatter_(1, ids[rows], torch.finfo(torch.float32).min)
        found[rows] = torch.logsumexp(wide[:, :width], 1) - total[rows]
    return found
