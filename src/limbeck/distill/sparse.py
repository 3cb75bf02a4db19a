"""The same statistics and mixtures as in weighting.py, of predictions that keep few pieces per slot.

Stored predictions name k pieces of thousands (docs/architecture.md §4), so nothing of [S, V] is made here.
Pure functions of tensors; `Sparse.dense` leads back to weighting.py, which is the reference.

T teachers, S slots, V pieces of the student's vocabulary, C slots one teacher answers, K pieces at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from limbeck.distill.mixture import MIXTURES
from limbeck.distill.weighting import LEAST_EXPRESSIBLE, Projected, TeacherStats


@dataclass(frozen=True)
class Sparse:
    """What one teacher says, projected on the student's vocabulary, as `Projected` with few kept ids.

    slot: int64 [C], distinct; ids: int64 [C, K], ascending in each row and distinct, V where there are no
    more; mass: float32 [C, K], 0 there; inexpressible (u): [C], of the kept pieces; tail (r): [C], outside
    them.
    """

    slot: Tensor
    ids: Tensor
    mass: Tensor
    inexpressible: Tensor
    tail: Tensor

    @cached_property
    def expressible(self) -> Tensor:
        """1 − u, [C], summed from its parts."""
        return self.mass.sum(1) + self.tail

    def dense(self, vocabulary: int) -> Projected:
        """The same with a column for every piece."""
        wide = self.mass.new_zeros(len(self.slot), vocabulary + 1)
        kept = torch.zeros_like(wide, dtype=torch.bool)
        mass, kept = wide.scatter(1, self.ids, self.mass), kept.scatter(1, self.ids, True)
        return Projected(self.slot, mass[:, :-1], self.inexpressible, self.tail, kept[:, :-1])


def gather(slot: Tensor, ids: Tensor, mass: Tensor, tail: Tensor, vocabulary: int) -> Sparse:
    """Adds up the mass of pieces that stand for the same piece of the student.

    Args:
        ids: int64 [C, k], the student's piece of each of the teacher's, −1 where there is none.
        mass: float32 [C, k]. tail: [C], mass outside these pieces.
    """
    nowhere = ids < 0
    inexpressible = torch.where(nowhere, mass, 0.0).sum(1)
    merged = _merge(torch.where(nowhere, vocabulary, ids), mass, vocabulary)
    return Sparse(slot, *merged, inexpressible, tail)


def _merge(ids: Tensor, mass: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids [n, k] sorted, each once, and the sums of their mass [n, k]; V and 0 behind them."""
    ids, order = ids.sort(1)
    run = torch.zeros_like(ids)  # which distinct id of its row
    run[:, 1:] = (ids[:, 1:] != ids[:, :-1]).cumsum(1)
    total = torch.zeros_like(mass).scatter_add_(1, run, mass.gather(1, order))
    found = torch.full_like(ids, vocabulary).scatter_(1, run, ids)
    return found, total.masked_fill_(found == vocabulary, 0.0)


def stats(said: Sequence[Sparse], gold: Tensor, slots: int, vocabulary: int) -> TeacherStats:
    """As `weighting.stats`, all of them: they cost little here."""
    shape, device = (len(said), slots), gold.device
    covered = torch.zeros(shape, dtype=torch.bool, device=device)
    values = torch.full((4, *shape), math.nan, device=device)
    for t, one in enumerate(said):
        slot, mass = one.slot, one.mass
        covered[t, slot] = one.expressible >= LEAST_EXPRESSIBLE
        values[0, t, slot] = torch.where(one.ids == gold[slot, None], mass, 0.0).sum(1).log()
        largest = mass.topk(2, 1).values
        values[1, t, slot] = largest[:, 0].log()
        values[2, t, slot] = largest[:, 0] - largest[:, 1]
        entropy = -torch.xlogy(mass, mass).sum(1)
        values[3, t, slot] = -(entropy + (one.inexpressible + one.tail) * math.log(vocabulary))
    return TeacherStats(covered, *values)


def mix(
    said: Sequence[Sparse], weights: Tensor, slots: int, vocabulary: int, mixture: str
) -> tuple[Tensor, Tensor, Tensor]:
    """As `Mixture.rows`, of all slots: ids int64 [S, K] (as in `Sparse`), target float32 [S, K], tail [S].

    A row and its tail sum to 1, or to 0 where no teacher has weight.
    """
    assert mixture in MIXTURES, mixture
    assert len(said) == len(weights), (len(said), len(weights))
    spread = [_spread(one, weights[t], slots, vocabulary) for t, one in enumerate(said)]
    ids, target, tail = _arithmetic(spread, vocabulary)
    if mixture == "arithmetic":
        return ids, target, tail
    return _geometric(spread, ids, target, tail, vocabulary)


@dataclass(frozen=True)
class _Spread:
    """One teacher over all slots, conditioned on what the student can express; nothing where it has no say.

    ids [S, K], mass [S, K], tail [S], weight [S].
    """

    ids: Tensor
    mass: Tensor
    tail: Tensor
    weight: Tensor


def _spread(one: Sparse, weight: Tensor, slots: int, vocabulary: int) -> _Spread:
    wide = one.ids.shape[1]
    ids = torch.full((slots, wide), vocabulary, dtype=torch.int64, device=weight.device)
    mass, tail = weight.new_zeros(slots, wide), weight.new_zeros(slots)
    heard = weight[one.slot] > 0
    # Bounded below as in weighting.py: at a T under 1 all of it may underflow.
    share = torch.where(heard, 1 / one.expressible.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
    ids[one.slot] = torch.where(heard[:, None], one.ids, vocabulary)
    mass[one.slot] = one.mass * share[:, None]
    tail[one.slot] = one.tail * share
    own = torch.zeros_like(weight).index_copy_(0, one.slot, weight[one.slot])
    return _Spread(ids, mass, tail, own)


def _arithmetic(spread: Sequence[_Spread], vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    tail = torch.stack([one.weight * one.tail for one in spread]).sum(0)
    weighed = [one.mass * one.weight[:, None] for one in spread]
    if len(spread) == 1:
        return spread[0].ids, weighed[0], tail
    ids, target = _merge(torch.cat([one.ids for one in spread], 1), torch.cat(weighed, 1), vocabulary)
    return ids, target, tail


def _geometric(
    spread: Sequence[_Spread], ids: Tensor, plain: Tensor, plain_tail: Tensor, vocabulary: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Π p^w over the union `ids`; a row that is 0 everywhere gives way to the arithmetic one."""
    there = ids < vocabulary
    outside = vocabulary - there.sum(1)
    logs, absent_logs = torch.zeros_like(plain), torch.zeros_like(plain_tail)
    for one in spread:
        absent = (vocabulary - (one.ids < vocabulary).sum(1)).float()
        each = torch.where(absent > 0, one.tail / absent.clamp_min(1), 0.0)
        at = torch.searchsorted(one.ids, ids).clamp_max(one.ids.shape[1] - 1)
        kept = (one.ids.gather(1, at) == ids) & there
        mass = torch.where(kept, one.mass.gather(1, at), each[:, None])
        heard = one.weight > 0
        logs += torch.where(heard[:, None], one.weight[:, None] * mass.log(), 0.0)
        absent_logs += torch.where(heard, one.weight * each.log(), 0.0)
    taught = torch.stack([one.weight for one in spread]).sum(0) > 0
    logs = logs.masked_fill(~there | ~taught[:, None], -math.inf)
    last = torch.where((outside > 0) & taught, absent_logs + outside.log(), -math.inf)
    highest = torch.maximum(logs.amax(1), last)
    alive = torch.isfinite(highest)
    highest = torch.where(alive, highest, 0.0)
    target, tail = (logs - highest[:, None]).exp(), (last - highest).exp()
    total = torch.where(alive, target.sum(1) + tail, 1.0)
    dead = taught & ~alive
    target = torch.where(dead[:, None], plain, target / total[:, None])
    return ids, target, torch.where(dead, plain_tail, tail / total)
