"""How much each teacher counts at each slot (docs/architecture.md §3.1).

Pure functions of tensors. T teachers, S slots, V pieces of the student's vocabulary, C slots one teacher
answers. Big tensors are walked in chunks of rows.

Zero mass: `stats` gives its logarithm as −inf. At `gold` such a teacher gets weight 0 as long as another
covering teacher has mass; when none has, the weights are the priors. In the sums of `evidence` every term is
bounded below by `LOG_MASS_FLOOR`, so that one underflow does not silence a teacher for a whole passage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

# Useful temperatures differ: `evidence` is a sum over many slots, `margin` lies within [0, 1]. These are the
# best of docs/results/study-convergence.md; `gold` cannot be judged there and keeps 1.
DEFAULT_TEMPERATURE: dict[str, float] = {
    "uniform": 1.0,
    "static": 1.0,
    "gold": 1.0,
    "evidence": 2.0,
    "entropy": 2.0,
    "max_prob": 1.0,
    "margin": 0.4,
}

# A teacher that can say less than this of its mass in the student's pieces says nothing.
LEAST_EXPRESSIBLE = 1e-6

# Logarithm of the smallest normal float32: what a term of `evidence` costs at most (nats).
LOG_MASS_FLOOR = math.log(torch.finfo(torch.float32).tiny)

# Elements of a chunk: small enough for the cache of a CPU, large enough to fill a GPU.
_CHUNK_CPU, _CHUNK_GPU = 1 << 19, 1 << 26


class Prediction(Protocol):
    """What one teacher says of the slots it answers, to be had row by row.

    `Projected` holds all of it; `predictions.Logits` makes it of the teacher's logits when asked.
    """

    @property
    def slot(self) -> Tensor:
        """The slots it answers, int64 [C], distinct."""

    @property
    def kept(self) -> Tensor | None:
        """Which ids are kept, bool [C, V]; None when every id is."""

    def rows(self, which: slice | Tensor) -> Projected:
        """Of some of its rows: a slice, or indices int64 [n] that may repeat."""


@dataclass(frozen=True)
class Projected:
    """What one teacher says, projected on the student's vocabulary and not conditioned on being expressible.

    slot: int64 [C], distinct; mass: float32 [C, V], 0 outside `kept`; inexpressible (u): [C]; tail (r): [C],
    mass on the ids outside `kept` (0 online); kept: bool [C, V], or None when every id is kept. Mass, u and r
    sum to 1. logits: float32 [C, V] of which `mass` is the softmax, where it is (then u and r are 0).
    """

    slot: Tensor
    mass: Tensor
    inexpressible: Tensor
    tail: Tensor
    kept: Tensor | None = None
    logits: Tensor | None = None

    def rows(self, which: slice | Tensor) -> Projected:
        """Some of its rows."""
        kept = None if self.kept is None else self.kept[which]
        logits = None if self.logits is None else self.logits[which]
        return Projected(
            self.slot[which], self.mass[which], self.inexpressible[which], self.tail[which], kept, logits
        )

    @cached_property
    def expressible(self) -> Tensor:
        """1 − u, [C], but summed from its parts: when u is nearly 1 the difference would have few digits."""
        if self.logits is not None:
            return torch.ones_like(self.tail)
        return self.mass.sum(1) + self.tail

    def entropy(self) -> Tensor:
        """−Σ m · log m over the pieces, [C], in nats."""
        log_z: Tensor | float = 0.0
        if self.logits is None:
            logs = self.mass.clamp_min(torch.finfo(self.mass.dtype).tiny).log_()
        else:  # log m = logit − log Z, which the largest tells: the costly logarithm of every mass is spared
            logs, log_z = self.logits, self.logits.amax(1) - self.mass.amax(1).log()
        mean: Tensor = torch.linalg.vecdot(self.mass, logs)
        return log_z - mean


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
    projected: Sequence[Prediction], gold: Tensor, slots: int, vocabulary: int, weighting: str | None = None
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
        for rows in row_chunks(len(said.slot), vocabulary, device):
            part = said.rows(rows)
            slot, mass = part.slot, part.mass
            covered[t, slot] = part.expressible >= LEAST_EXPRESSIBLE
            if "log_gold" in wanted:
                values["log_gold"][t, slot] = mass.gather(1, gold[slot][:, None]).squeeze(1).log()
            if "neg_uncertainty" in wanted:
                outside = part.inexpressible + part.tail
                values["neg_uncertainty"][t, slot] = -(part.entropy() + outside * math.log(vocabulary))
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
