"""The likeliest pieces at each position, and some drawn from the rest: what a store keeps of full logits.

The drawn pieces make the kept ones an unbiased picture of the whole: a student that is taught with them is
pulled, on average, exactly where the full predictions would pull it. Without them it would learn nothing of
the order of the many pieces that are not among the likeliest (docs/store.md). Takes a few per cent of a
teacher's forward. Pure functions of tensors: n positions, V pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from limbeck.teachers.store_format import Layout, Said

# Elements taken at once: on a CPU so few that a copy of them stays in its cache.
_AT_ONCE_CPU, _AT_ONCE_GPU = 1 << 20, 1 << 26
# Columns whose maximum or sum is taken first, where few of them are wanted.
_BLOCK, _BLOCKS_PER_PIECE = 64, 4


@torch.no_grad()
def summarise(
    logits: Tensor, gold: Tensor, draw: Tensor, layout: Layout, temperatures: Sequence[float]
) -> tuple[Tensor, ...]:
    """What `Said` holds, as tensors on the logits' device.

    Args:
        logits: [n, V], any floating type. gold: int64 [n]. draw: float [n], from 0 up to 1, what decides the
            drawn pieces. temperatures: the last is the one at which they are drawn.

    Returns:
        ids int64 [n, L], below float32 [n, L], gold float32 [n], tail float32 [n, temperatures], drawn int64
        [n, D]; where a logit is not finite so is a tail.
    """
    rows, width = logits.shape
    size = max(1, (_AT_ONCE_CPU if logits.device.type == "cpu" else _AT_ONCE_GPU) // width)
    # A few rows at a time, copied once; all that is done with them is done while they are in the cache.
    shape = min(size, rows), -(-width // _BLOCK) * _BLOCK
    wide = torch.full(shape, -torch.inf, device=logits.device)
    mass = torch.empty(shape, device=logits.device)
    parts = []
    for start in range(0, rows, size):
        some = slice(start, min(rows, start + size))
        here = wide[: some.stop - start]
        here[:, :width] = logits[some]
        parts.append(_summary(here, mass[: len(here)], gold[some], draw[some], layout, temperatures))
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))


def _summary(
    logits: Tensor,
    mass: Tensor,
    gold: Tensor,
    draw: Tensor,
    layout: Layout,
    temperatures: Sequence[float],
) -> tuple[Tensor, ...]:
    """`summarise` of a few rows, whose logits float32 [n, B · _BLOCK] end in −inf; `mass` is for its use."""
    value, ids = likeliest(logits, layout.likeliest + 1)
    own = logits.gather(1, gold[:, None])
    hit = ids == gold[:, None]
    hit[:, -1] |= ~hit.any(1)  # where the gold piece is not among them the last one makes room for it
    others = ids[~hit].view(-1, layout.likeliest)
    other = value[~hit].view(-1, layout.likeliest)
    kept = torch.cat([gold[:, None], others], 1)
    tail, drawn = _rest(logits, mass, kept, draw, layout.drawn, temperatures)
    return others, other[:, :1] - other, own[:, 0] - other[:, 0], tail, drawn


def said(parts: Sequence[tuple[Tensor, ...]]) -> Said:
    """The parts' tensors, one behind the other, as arrays."""
    ids, below, gold, tail, drawn = (
        np.concatenate([part[i].cpu().numpy() for part in parts]) for i in range(5)
    )
    return Said(
        ids.astype(np.int64),
        below.astype(np.float32),
        gold.astype(np.float32),
        tail.astype(np.float32),
        drawn.astype(np.int64),
    )


def likeliest(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of [n, B · _BLOCK], in order: values [n, k] and columns int64 [n, k]."""
    blocks = logits.view(len(logits), -1, _BLOCK)
    if blocks.shape[1] < _BLOCKS_PER_PIECE * k:
        value, ids = logits.topk(k, 1)
        return value, ids
    # The k largest lie in the k blocks with the largest maxima.
    chosen = blocks.amax(2).topk(k, 1, sorted=False).indices
    candidates = blocks.gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    value, at = candidates.topk(k, 1)
    return value, chosen.gather(1, at // _BLOCK) * _BLOCK + at % _BLOCK


def _rest(
    logits: Tensor, mass: Tensor, kept: Tensor, draw: Tensor, count: int, temperatures: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Mass outside the kept ids [n, K] at each temperature, and `count` pieces drawn of it at the last."""
    rows = len(logits)
    tail = logits.new_zeros(rows, len(temperatures))
    if count == 0:  # nothing is outside; NaN stays NaN
        none = torch.zeros(rows, 0, dtype=torch.int64, device=logits.device)
        return tail + 0 * logits.gather(1, kept).sum(1, keepdim=True), none
    blocks = mass.view(rows, -1, _BLOCK)
    for t, temperature in enumerate(temperatures):
        if temperature != 1.0 and t == len(temperatures) - 1:
            logits.mul_(1 / temperature)  # nobody wants them any more
            temperature = 1.0
        torch.softmax(logits if temperature == 1.0 else logits / temperature, 1, out=mass)
        inside = mass.gather(1, kept).sum(1)
        mass.scatter_(1, kept, 0.0)
        sums = blocks.sum(2)
        outside = sums.sum(1)
        tail[:, t] = outside / (outside + inside)
    return tail, _drawn(blocks, sums, draw, count)


def _drawn(mass: Tensor, sums: Tensor, draw: Tensor, count: int) -> Tensor:
    """Systematic sampling: `count` points at equal distances along the mass [n, B, _BLOCK] of each row.

    sums: [n, B], of the blocks. Each piece is met, on average over `draw`, as often as its share of the mass
    times `count` says, and never more than once above or below that.
    """
    edges = sums.cumsum(1)
    steps = torch.arange(count, device=mass.device) + draw[:, None].to(mass)
    points = steps / count * edges[:, -1:]
    block = torch.searchsorted(edges, points, right=True).clamp_max(sums.shape[1] - 1)
    inner = points - (edges.gather(1, block) - sums.gather(1, block))
    window = mass.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))
    place = (window.cumsum(2) <= inner[:, :, None]).sum(2).clamp_max(_BLOCK - 1)
    # Rounding may lead to a place without mass: then the block's largest.
    lost = window.gather(2, place[:, :, None])[:, :, 0] <= 0
    if mass.device.type != "cpu" or bool(lost.any()):
        place = torch.where(lost, window.argmax(2), place)
    return block * _BLOCK + place
