"""How wrong the gloss head is, instance by instance (docs/architecture.md, section 3.2; arXiv 2301.08130).

Pure functions of tensors. N instances, P candidates of all of them on one axis; each candidate has two
logits, of no match and of match. Several candidates of an instance may be right.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OBJECTIVES = ("pairs", "choice")


def scores(match: Tensor) -> Tensor:
    """Log-odds that a gloss fits, float32 [P], of match logits [P, 2]: what `choice` compares."""
    match = match.float()
    return match[:, 1] - match[:, 0]


def pair_losses(match: Tensor, instance: Tensor, gold: Tensor, count: int) -> Tensor:
    """Binary cross-entropy summed over each instance's candidates, in nats: float32 [N] (published LMGC).

    Args:
        match: [P, 2], any floating type. instance: int64 [P], 0 … N−1. gold: bool [P]. count: N.
    """
    each = functional.cross_entropy(match.float(), gold.long(), reduction="none")
    return torch.zeros(count, device=match.device).index_add(0, instance, each)


def choice_losses(match: Tensor, instance: Tensor, gold: Tensor, count: int) -> Tensor:
    """−log Σ p(gold), p the softmax of `scores` over each instance's candidates, in nats: float32 [N].

    Arguments as in `pair_losses`. Every instance has a gold candidate; one whose candidates are all gold
    costs nothing.
    """
    score = scores(match)
    everything = _logsumexp(score, instance, count)
    right = _logsumexp(score[gold], instance[gold], count)
    return everything - right


def hits(match: Tensor, instance: Tensor, gold: Tensor, count: int) -> Tensor:
    """Instances whose best candidate is gold, a scalar; of candidates that are equally good one suffices."""
    score = scores(match)
    best = torch.full((count,), -torch.inf, device=score.device)
    best = best.scatter_reduce(0, instance, score, "amax")
    won = (score == best[instance]) & gold
    return torch.zeros(count, device=score.device).index_add(0, instance, won.float()).clamp_max(1).sum()


def _logsumexp(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Logarithm of Σ exp(values) by group, [count]; −inf for a group without values."""
    top = torch.full((count,), -torch.inf, device=values.device)
    top = top.scatter_reduce(0, group, values.detach(), "amax")
    finite = torch.where(torch.isfinite(top), top, 0.0)
    total = torch.zeros(count, device=values.device)
    total = total.index_add(0, group, (values - finite[group]).exp())
    return total.log() + finite
