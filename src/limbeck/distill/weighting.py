"""How much each teacher counts at each slot, and the mixture of what they say (docs/architecture.md §3.1).

Pure functions of tensors. T teachers, S slots, V pieces of the student's vocabulary, C slots one teacher
answers. Big tensors are walked in chunks of rows, so that nothing of [S, V] is made beside the target itself.

Zero mass: `stats` gives its logarithm as −inf. At `gold` such a teacher gets weight 0 as long as another
covering teacher has mass; when none has, the weights are the priors. In the sums of `evidence` every term is
bounded below by `LOG_MASS_FLOOR`, so that one underflow does not silence a teacher for a whole passage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Useful temperatures differ: `evidence` is a sum over many slots, `margin` lies within [0, 1]. These are the
# best of benchmarks/temperatures.py; `gold` cannot be judged there and keeps 1.
DEFAULT_TEMPERATURE: dict[str, float] = {
    "uniform": 1.0,
    "static": 1.0,
    "gold": 1.0,
    "evidence": 4.0,
    "entropy": 2.0,
    "max_prob": 2.0,
    "margin": 0.4,
}

MIXTURES = ("arithmetic", "geometric")

# A teacher that can say less than this of its mass in the student's pieces says nothing.
LEAST_EXPRESSIBLE = 1e-6

# Logarithm of the smallest normal float32: what a term of `evidence` costs at most (nats).
LOG_MASS_FLOOR = math.log(torch.finfo(torch.float32).tiny)

# Elements of a chunk: small enough for the cache of a CPU, large enough to fill a GPU.
_CHUNK_CPU, _CHUNK_GPU = 1 << 19, 1 << 26


@dataclass(frozen=True)
class Projected:
    """What one teacher says, projected on the student's vocabulary and not conditioned on being expressible.

    slot: int64 [C], distinct; mass: float32 [C, V], 0 outside `kept`; inexpressible (u): [C]; tail (r): [C],
    mass on the ids outside `kept` (0 online); kept: bool [C, V], or None when every id is kept. Mass, u and r
    sum to 1.
    """

    slot: Tensor
    mass: Tensor
    inexpressible: Tensor
    tail: Tensor
    kept: Tensor | None = None

    @cached_property
    def expressible(self) -> Tensor:
        """1 − u, [C], but summed from its parts: when u is nearly 1 the difference would have few digits."""
        return self.mass.sum(1) + self.tail


@dataclass(frozen=True)
class TeacherStats:
    """What the weightings read, each [T, S]; values count only where `covered`.

    covered: bool; log_gold: log mass on the true piece; log_max: log of the largest mass; margin: largest −
    second largest mass; neg_uncertainty: −(entropy of the mass + (u + r)·log V), the score of `entropy`.
    NaN: not asked for.
    """

    covered: Tensor
    log_gold: Tensor
    log_max: Tensor
    margin: Tensor
    neg_uncertainty: Tensor


def row_chunks(rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices that walk `rows` rows of `width` elements in pieces that suit the device."""
    size = max(1, (_CHUNK_CPU if device.type == "cpu" else _CHUNK_GPU) // max(1, width))
    for start in range(0, rows, size):
        yield slice(start, min(rows, start + size))


def stats(
    projected: Sequence[Projected], gold: Tensor, slots: int, vocabulary: int, weighting: str | None = None
) -> TeacherStats:
    """Statistics of every teacher's predictions.

    Args:
        projected: one per teacher, at T = 1.
        gold: int64 [S], the true pieces.
        slots: S.
        vocabulary: V.
        weighting: compute only what this weighting reads (the rest is NaN); None computes everything.

    A teacher whose expressible mass (1 − u) is under `LEAST_EXPRESSIBLE` at a slot does not cover it.
    """
    shape, device = (len(projected), slots), gold.device
    covered = torch.zeros(shape, dtype=torch.bool, device=device)
    names = ("log_gold", "log_max", "margin", "neg_uncertainty")
    values = {name: torch.full(shape, math.nan, device=device) for name in names}
    wanted = set(names) if weighting is None else _READS[weighting]
    for t, said in enumerate(projected):
        covered[t, said.slot] = said.expressible >= LEAST_EXPRESSIBLE
        if "log_gold" in wanted:
            own = said.mass.gather(1, gold[said.slot][:, None]).squeeze(1)
            values["log_gold"][t, said.slot] = own.log()
        if wanted <= {"log_gold"}:
            continue
        for rows in row_chunks(len(said.slot), vocabulary, said.mass.device):
            slot, mass = said.slot[rows], said.mass[rows]
            if "neg_uncertainty" in wanted:
                entropy = -(mass * mass.clamp_min(torch.finfo(mass.dtype).tiny).log()).sum(1)
                outside = said.inexpressible[rows] + said.tail[rows]
                values["neg_uncertainty"][t, slot] = -(entropy + outside * math.log(vocabulary))
            if "log_max" in wanted:
                values["log_max"][t, slot] = mass.amax(1).log()
            if "margin" in wanted:
                largest = mass.topk(2, dim=1).values
                values["margin"][t, slot] = largest[:, 0] - largest[:, 1]
    return TeacherStats(covered, **values)


_READS: dict[str, set[str]] = {
    "uniform": set(),
    "static": set(),
    "gold": {"log_gold"},
    "evidence": {"log_gold"},
    "entropy": {"neg_uncertainty"},
    "max_prob": {"log_max"},
    "margin": {"margin"},
}


def scores(weighting: str, stats: TeacherStats, passage: Tensor) -> Tensor:
    """Score s_t(i) of every teacher at every slot: float32 [T, S], finite or −inf where covered.

    Args:
        weighting: a key of `DEFAULT_TEMPERATURE`.
        stats: of these slots.
        passage: int64 [S], which passage each slot is of (any numbers ≥ 0).
    """
    if weighting in ("uniform", "static"):
        return torch.zeros_like(stats.log_gold)
    if weighting == "gold":
        return stats.log_gold
    if weighting == "evidence":
        return _evidence(stats, passage)
    if weighting == "entropy":
        return stats.neg_uncertainty
    if weighting == "max_prob":
        return stats.log_max
    assert weighting == "margin", weighting
    return stats.margin


def _evidence(stats: TeacherStats, passage: Tensor) -> Tensor:
    """Σ log mass on the true piece over the passage's *other* slots.

    Only slots count that every teacher with any slot in the passage covers: all are compared on the same
    words. The sum runs in float64, so that taking a slot's own term away again leaves nothing of it.
    """
    if len(passage) == 0:
        return stats.log_gold
    covered = stats.covered
    teachers, passages = len(covered), int(passage.max()) + 1
    touched = torch.zeros(teachers, passages, dtype=torch.int64, device=passage.device)
    touched.index_add_(1, passage, covered.long())
    active = touched[:, passage] > 0  # [T, S]: the teacher covers some slot of this slot's passage
    common = (covered | ~active).all(0) & covered.any(0)
    own = torch.where(common & covered, stats.log_gold.double().clamp_min(LOG_MASS_FLOOR), 0.0)
    total = torch.zeros(teachers, passages, dtype=torch.float64, device=passage.device)
    total.index_add_(1, passage, own)
    return (total[:, passage] - own).float()


def weights(scores: Tensor, log_prior: Tensor, temperature: float, covered: Tensor) -> Tensor:
    """w_t(i) = softmax over the covering teachers of log π_t + s_t(i)/τ.

    Args:
        scores: [T, S], finite or −inf where covered.
        log_prior: [T], −inf shuts a teacher out.
        temperature: τ > 0.
        covered: bool [T, S].

    Returns:
        float32 [T, S]; columns sum to 1 over the covering teachers with a prior, and are 0 where there is
        none. A score of −inf gives weight 0; where all of a slot's scores are −inf the weights are the
        priors.
    """
    assert temperature > 0, temperature
    prior = log_prior.float()[:, None]
    taking_part = covered & torch.isfinite(prior)
    score = scores.float().masked_fill(~taking_part, -math.inf)
    best = score.max(0).values
    # Taking the best score away before dividing keeps a small τ from overflowing.
    apart = torch.where(torch.isfinite(best), (score - best) / temperature, 0.0)
    logit = (prior + apart).masked_fill(~taking_part, -math.inf)
    highest = logit.max(0).values
    share = (logit - torch.where(torch.isfinite(highest), highest, 0.0)).exp()
    return share / share.sum(0).clamp_min(1.0)  # the largest share is 1; only an empty column has less


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
