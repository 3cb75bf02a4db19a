"""The mixture of what the teachers say, by their weights (docs/architecture.md §3.1).

T teachers, S slots, V pieces of the student's vocabulary. The target is made row by row, where the loss wants
it: nothing of [S, V] is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from limbeck.distill.weighting import Prediction, Projected

MIXTURES = ("arithmetic", "geometric")

Rows = tuple[Tensor, Tensor, Tensor | None]
"""Of n slots: target float32 [n, V], tail [n], kept bool [n, V] or None."""


class Mixture:
    """The teachers' target q(i), each teacher conditioned on what the student can express.

    Args:
        projected: one per teacher, at the targets' temperature.
        weights: [T, S].
        vocabulary: V.
        mixture: `arithmetic`, Σ w·p, where a teacher's tail goes to the tail bucket; or `geometric`, the
            normalised Π p^w, where an id absent from a teacher's kept set counts as r/(number of absent ids),
            and so do the ids of the tail bucket. A product that is 0 everywhere (it takes an underflow) gives
            way to Σ w·p.
    """

    def __init__(
        self, projected: Sequence[Prediction], weights: Tensor, vocabulary: int, mixture: str
    ) -> None:
        assert mixture in MIXTURES, mixture
        assert len(projected) == len(weights), (len(projected), len(weights))
        self.vocabulary, self.mixture = vocabulary, mixture
        # Of each slot, the teacher's row of it and what that counts: nothing where it does not answer.
        self._row = torch.zeros(weights.shape, dtype=torch.int64, device=weights.device)
        self._weight = torch.zeros_like(weights)
        for t, said in enumerate(projected):
            self._row[t, said.slot] = torch.arange(len(said.slot), device=weights.device)
            self._weight[t, said.slot] = weights[t, said.slot]
        # A teacher without rows or without any weight is not asked.
        self._said = [(t, said) for t, said in enumerate(projected) if bool(self._weight[t].any())]
        self._all_kept = all(said.kept is None for said in projected)

    def rows(self, which: slice | Tensor) -> Rows:
        """Of some slots: a slice, or indices int64 [n] that may repeat.

        Returns:
            target float32 [n, V], tail [n] and kept bool [n, V] (the union over the teachers with weight;
            None when all teachers keep everything). A row and its tail sum to 1, or to 0 where no teacher
            has weight.
        """
        weight = self._weight[:, which]
        parts = [(said.rows(self._row[t, which]), weight[t]) for t, said in self._said]
        target = torch.zeros(weight.shape[1], self.vocabulary, device=weight.device)
        kept = None if self._all_kept else torch.zeros_like(target, dtype=torch.bool)
        if kept is not None:
            for part, own in parts:
                kept |= (own > 0)[:, None] & (True if part.kept is None else part.kept)
        if self.mixture == "arithmetic":
            return *_arithmetic(parts, target), kept
        return *_geometric(parts, target, kept), kept

    def targets(self, which: slice | Tensor) -> Tensor:
        """`rows` without tail and kept, where teachers keep everything."""
        return self.rows(which)[0]

    def at(self, slots: Tensor) -> Callable[[slice], Tensor]:
        """`targets` of these slots, int64 [n]: what a loss over them asks for."""
        return lambda rows: self.targets(slots[rows])


def _expressible(part: Projected) -> Tensor:
    # Bounded below: at a T under 1 all that a teacher can express may underflow, and must not become NaN.
    return part.expressible.clamp_min(torch.finfo(torch.float32).tiny)


def _arithmetic(parts: Sequence[tuple[Projected, Tensor]], target: Tensor) -> tuple[Tensor, Tensor]:
    """Target [n, V], added to the zeros given, and tail [n]; parts: each with its weights [n]."""
    tail = target.new_zeros(len(target))
    for part, weight in parts:
        factor = weight / _expressible(part)
        target.addcmul_(part.mass, factor[:, None])
        tail.addcmul_(part.tail, factor)
    return target, tail


def _geometric(
    parts: Sequence[tuple[Projected, Tensor]], target: Tensor, kept: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `_arithmetic`; kept: the union."""
    logs, absent_sum = torch.zeros_like(target), target.new_zeros(len(target))
    taught = torch.zeros_like(absent_sum, dtype=torch.bool)
    for part, weight in parts:
        heard, expressible = weight > 0, _expressible(part)
        taught |= heard
        mass = part.mass / expressible[:, None]
        if part.kept is not None:
            absent = (~part.kept).sum(1).float()
            each = torch.where(absent > 0, part.tail / expressible / absent.clamp_min(1), 0.0)
            mass = torch.where(part.kept, mass, each[:, None])
            # Σ w·log of the mass of one id outside the union
            absent_sum += torch.where(heard, weight * each.log(), 0.0)
        # 0 · log 0 is no number
        logs += torch.where(heard[:, None], mass.log_().mul_(weight[:, None]), 0.0)
    outside = torch.zeros_like(absent_sum) if kept is None else (~kept).sum(1).float()
    log_tail = torch.where((outside > 0) & taught, absent_sum + outside.log(), -math.inf)
    logs.masked_fill_(~taught[:, None], -math.inf)
    if kept is not None:
        logs.masked_fill_(~kept, -math.inf)
    top = torch.maximum(logs.amax(1), log_tail)
    alive = torch.isfinite(top)
    top = torch.where(alive, top, 0.0)
    logs.sub_(top[:, None]).exp_()
    last = (log_tail - top).exp()
    total = torch.where(alive, logs.sum(1) + last, 1.0)
    tail, dead = last / total, taught & ~alive
    if bool(dead.any()):
        plain, plain_tail = _arithmetic(parts, target)
        return torch.where(dead[:, None], plain, logs / total[:, None]), torch.where(dead, plain_tail, tail)
    return logs.div_(total[:, None]), tail
