"""The student's loss against targets of few pieces and a tail (docs/architecture.md §3.1), by hand.

Agrees with `losses.slot_values` to 1e-5 and costs about what the plain cross-entropy does: logits and
gradient are walked once each, and what the teachers add is of [S, K]. S slots, V pieces, K ids at most.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limbeck.distill.losses import gradient_like, softmax_and_total, take_gradient
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
        logits: [S, V], float32, bf16 or f16; computed in float32, the gradient has the logits' type. Rows
            behind the S of `gold` are padding: they count nothing.
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

    P is the student's mass outside the ids, r the tail. The forward keeps p in place of the logits; all that
    is left to the backward is a scale for every row, and the few places where that is not enough.
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
        padded, logits = logits, logits[: len(gold)]
        slots, width = logits.shape
        inside = ids < width
        held = ids.clamp_max(width - 1)
        p, p_t = None, None
        if ctx.needs_input_grad[0]:
            p = gradient_like(padded, slots)
            p_t = None if temperature == 1.0 else gradient_like(logits, slots)
        total = _softmax(logits, 1.0, p)
        total_t = total if temperature == 1.0 else _softmax(logits, temperature, p_t)
        own = logits.gather(1, gold[:, None]).squeeze(1).float()
        at_ids = logits.gather(1, held).float()
        ce_values = total - own
        log_student = at_ids / temperature - total_t[:, None]
        log_outside = _log_outside(logits, ids, inside, log_student, tail, total_t, temperature)
        divergence = (torch.xlogy(target, target) - torch.where(inside, target * log_student, 0.0)).sum(1)
        divergence += torch.xlogy(tail, tail) - tail * log_outside
        kd_values = torch.where(has_target, temperature**2 * divergence, 0.0)
        hard = torch.where(has_target, ce, kd + ce)  # [S]
        loss = (kd * kd_values + hard * ce_values).sum()
        ctx.mark_non_differentiable(kd_values, ce_values)
        if p is None:
            return loss, kd_values, ce_values
        soft = kd * temperature * has_target.float()  # [S]
        # r/P; nothing where there is no tail, and P may be 0
        ratio = torch.where(tail > 0, (tail.log() - log_outside).exp(), 0.0)
        elsewhere = soft * (1 - ratio)  # of p_T, outside the ids
        # At the ids the value is put in, not added to: r/P may be so large that nothing would be left of it.
        is_gold = inside & (held == gold[:, None])
        values = hard[:, None] * ((at_ids - total[:, None]).exp() - is_gold.float())
        values += soft[:, None] * (log_student.exp() - target)
        outside = hard * ((own - total).exp() - 1) + elsewhere * (own / temperature - total_t).exp()
        own_value = torch.where(is_gold.any(1), (values * is_gold).sum(1), outside)
        # Places of no id are the gold piece's, which is put in last.
        ctx.places = torch.cat([torch.where(inside, held, gold[:, None]), gold[:, None]], 1)
        ctx.values = torch.cat([torch.where(inside, values, own_value[:, None]), own_value[:, None]], 1)
        ctx.gradient, ctx.tempered, ctx.hard, ctx.elsewhere = p, p_t, hard, elsewhere
        ctx.dtype = logits.dtype
        return loss, kd_values, ce_values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradient = take_gradient(ctx)
        hard, elsewhere = ctx.hard * grad_loss, ctx.elsewhere * grad_loss
        for rows in row_chunks(len(hard), gradient.shape[1], gradient.device):
            if ctx.tempered is None:
                part = gradient[rows].float().mul_((hard + elsewhere)[rows, None])
            else:
                part = gradient[rows].float().mul_(hard[rows, None])
                part.addcmul_(ctx.tempered[rows].float(), elsewhere[rows, None])
            part.scatter_(1, ctx.places[rows], (ctx.values * grad_loss)[rows])
            if gradient.dtype != torch.float32:  # else `part` is its own memory
                gradient[rows] = part
        return gradient.to(ctx.dtype), None, None, None, None, None, None, None, None


def _softmax(logits: Tensor, temperature: float, out: Tensor | None) -> Tensor:
    """softmax(logits / temperature) by row into `out`; returns the log-sum-exps, float32 [S]."""
    total = torch.empty(len(logits), device=logits.device)
    for rows in row_chunks(len(logits), logits.shape[1], logits.device):
        part = logits[rows].float()
        if temperature != 1.0:
            part = part / temperature
        shares, total[rows] = softmax_and_total(part)
        if out is not None:
            out[rows] = shares
    return total


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
