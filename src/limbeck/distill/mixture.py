"""The mixture of what the teachers say, by their weights (docs/architecture.md §3.1).

Pure functions of tensors. T teachers, S slots, V pieces of the student's vocabulary. Big tensors are walked
in chunks of rows, so that nothing of [S, V] is made beside the target itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.distill.weighting import Projected, row_chunks

MIXTURES = ("arithmetic", "geometric")


def mix(
    projected: Sequence[Projected], weights: Tensor, slots: int, vocabulary: int, mixture: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The teachers' target q(i), each teacher conditioned on what the student can express.

    Args:
        projected: one per teacher, at the targets' temperature.
        weights: [T, S].
        slots: S.
        vocabulary: V.
        mixture: `arithmetic`, Σ w·p, where a teacher's tail goes to the tail bucket; or `geometric`, the
            normalised Π p^w, where an id absent from a teacher's kept set counts as r/(number of absent ids),
            and so do the ids of the tail bucket. A product that is 0 everywhere (it takes an underflow) gives
            way to Σ w·p.

    Returns:
        target float32 [S, V], tail [S] and kept bool [S, V] (the union over the teachers with weight; None
        when all teachers keep everything). A row and its tail sum to 1, or to 0 where no teacher has weight.
    """
    assert mixture in MIXTURES, mixture
    assert len(projected) == len(weights), (len(projected), len(weights))
    shares = [_share(said, weights[t]) for t, said in enumerate(projected)]
    kept = _union(projected, shares, slots, vocabulary)
    if mixture == "arithmetic":
        return *_arithmetic(projected, shares, slots, vocabulary), kept
    target, tail, dead = _geometric(projected, shares, kept, weights.sum(0) > 0, vocabulary)
    if bool(dead.any()):
        plain, plain_tail = _arithmetic(projected, [s.only(dead) for s in shares], slots, vocabulary)
        target.add_(plain)
        tail.add_(plain_tail)
    return target, tail, kept


@dataclass(frozen=True)
class _Share:
    """Of one teacher, the rows with weight, each [n]: row (of C), slot, weight, expressible mass."""

    row: Tensor
    slot: Tensor
    weight: Tensor
    expressible: Tensor

    def only(self, wanted: Tensor) -> _Share:
        """The rows whose slot is `wanted` (bool [S])."""
        here = wanted[self.slot]
        return _Share(self.row[here], self.slot[here], self.weight[here], self.expressible[here])


def _share(said: Projected, weight: Tensor) -> _Share:
    row = torch.nonzero(weight[said.slot] > 0).squeeze(1)
    # Bounded below: at a T under 1 all that a teacher can express may underflow, and must not become NaN.
    expressible = said.expressible[row].clamp_min(torch.finfo(torch.float32).tiny)
    return _Share(row, said.slot[row], weight[said.slot[row]], expressible)


def _union(
    projected: Sequence[Projected], shares: Sequence[_Share], slots: int, vocabulary: int
) -> Tensor | None:
    if all(said.kept is None for said in projected):
        return None
    kept = torch.zeros(slots, vocabulary, dtype=torch.bool, device=projected[0].mass.device)
    for said, share in zip(projected, shares, strict=True):
        kept[share.slot] = True if said.kept is None else kept[share.slot] | said.kept[share.row]
    return kept


def _arithmetic(
    projected: Sequence[Projected], shares: Sequence[_Share], slots: int, vocabulary: int
) -> tuple[Tensor, Tensor]:
    device = projected[0].mass.device
    target, tail = torch.empty(slots, vocabulary, device=device), torch.zeros(slots, device=device)
    row = torch.zeros(len(shares), slots, dtype=torch.int64, device=device)
    # 0 where a teacher says nothing, whatever its row
    factor = torch.zeros(len(shares), slots, device=device)
    for t, (said, share) in enumerate(zip(projected, shares, strict=True)):
        row[t, share.slot] = share.row
        factor[t, share.slot] = share.weight / share.expressible
        tail.index_add_(0, share.slot, factor[t, share.slot] * said.tail[share.row])
    # Slot by slot and not teacher by teacher, so that a part of the target stays in the cache while it grows.
    for rows in row_chunks(slots, vocabulary, device):
        part = target[rows].zero_()
        for t, said in enumerate(projected):
            if len(shares[t].row):
                part.addcmul_(said.mass.index_select(0, row[t, rows]), factor[t, rows, None])
    return target, tail


def _geometric(
    projected: Sequence[Projected],
    shares: Sequence[_Share],
    kept: Tensor | None,
    taught: Tensor,
    vocabulary: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Target [S, V], tail [S] and which rows came out empty, bool [S]; `taught`: which should not."""
    slots, device = len(taught), taught.device
    target = torch.zeros(slots, vocabulary, device=device)
    absent_sum = torch.zeros(slots, device=device)  # Σ w·log of the mass of one id outside the union
    for said, share in zip(projected, shares, strict=True):
        absent = torch.zeros_like(share.weight)
        if said.kept is not None:
            absent = (~said.kept[share.row]).sum(1).float()
        each = torch.where(absent > 0, said.tail[share.row] / share.expressible / absent.clamp_min(1), 0.0)
        absent_sum.index_add_(0, share.slot, share.weight * each.log())
        for rows in row_chunks(len(share.row), vocabulary, device):
            mass = said.mass[share.row[rows]].div_(share.expressible[rows, None])
            if said.kept is not None:
                mass = torch.where(said.kept[share.row[rows]], mass, each[rows, None])
            target.index_add_(0, share.slot[rows], mass.log_().mul_(share.weight[rows, None]))
    outside = torch.zeros(slots, device=device) if kept is None else (~kept).sum(1).float()
    log_tail = torch.where(outside > 0, absent_sum + outside.log(), -math.inf)
    log_tail.masked_fill_(~taught, -math.inf)
    tail, dead = torch.zeros(slots, device=device), torch.zeros(slots, dtype=torch.bool, device=device)
    for rows in row_chunks(slots, vocabulary, device):
        part = target[rows]
        part.masked_fill_(~taught[rows, None], -math.inf)
        if kept is not None:
            part.masked_fill_(~kept[rows], -math.inf)
        top = torch.maximum(part.max(1).values, log_tail[rows])
        alive = torch.isfinite(top)
        top = torch.where(alive, top, 0.0)
        part.sub_(top[:, None]).exp_()
        last = (log_tail[rows] - top).exp()
        total = torch.where(alive, part.sum(1) + last, 1.0)
        part.div_(total[:, None])
        tail[rows], dead[rows] = last / total, taught[rows] & ~alive
    return target, tail, dead
