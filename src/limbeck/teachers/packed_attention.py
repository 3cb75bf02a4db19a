"""Attention over packed rows, segment by segment: no product of two glosses is ever made.

In the packed layout (gloss/layout.py) a piece of a gloss sees the context and its own gloss, a piece of the
context sees the context: of the L·L scores that a mask over the row would have made, most are thrown away.
Here every piece meets the row's context, [L, context], and every gloss itself, [gloss, gloss]; the two parts
of a piece's softmax are brought to one scale by their sums. The same function as with the mask, to rounding.

Rows come with the mask as well: `mark` leaves the segments on that tensor, and where a model changes or
copies the mask on its way to the layers, or this code does not serve, the mask alone is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.teachers.dropout import dropout as drop

PADDING, OPENING, CONTEXT = -2, -1, 0
"""Segments of a packed row; those of the glosses count from 1."""

_NAME = "limbeck_segments"


@dataclass(frozen=True)
class Segments:
    """Where the parts of B packed rows of L pieces stand; G glosses in all rows, the longest of M pieces.

    visible: bool [B, 1, L, C], which piece sees which of the first C, among them all contexts.
    place: int64 [G·M], flat in B·L, of each piece of each gloss (0 behind a gloss's last); real: bool
    [G, 1, M, 1], not behind the last.
    cell: int64 [B·L], where in G·M a piece stands (0 if it is of no gloss); inside: bool [B, 1, L, 1], it is
    of a gloss.
    """

    visible: Tensor
    place: Tensor
    real: Tensor
    cell: Tensor
    inside: Tensor

    @classmethod
    def of(cls, segment: Tensor) -> Segments | None:
        """From segments int64 [B, L]; None where a row begins with no context, or there is no gloss."""
        rows, width = segment.shape
        flat = segment.flatten()
        inside = flat > 0
        starts = bool((segment[:, 0] == OPENING).all())
        if not starts or not bool(inside.any()):
            return None
        place = inside.nonzero()[:, 0]
        row = place // width
        gloss = flat[place]
        # pieces of a gloss stand side by side, so a new one begins where row or segment changes
        new = torch.ones_like(place, dtype=torch.bool)
        new[1:] = (row[1:] != row[:-1]) | (gloss[1:] != gloss[:-1])
        number = new.cumsum(0) - 1
        first = new.nonzero()[:, 0]
        within = torch.arange(len(place), device=place.device) - first[number]
        glosses, most = len(first), int(within.max()) + 1
        cells = number * most + within
        grid = torch.zeros(glosses * most, dtype=torch.int64, device=place.device)
        real = torch.zeros(glosses * most, dtype=torch.bool, device=place.device)
        grid[cells], real[cells] = place, True
        cell = torch.zeros_like(flat)
        cell[place] = cells
        query = segment[:, :, None]
        key = segment[:, None, : int(((segment == CONTEXT) | (segment == OPENING)).sum(1).max())]
        visible = ((key == CONTEXT) & (query != PADDING)) | (
            (key == OPENING) & ((query == CONTEXT) | (query == OPENING))
        )
        return cls(
            visible[:, None],
            grid,
            real.view(glosses, 1, most, 1),
            cell,
            inside.view(rows, 1, width, 1),
        )

    def to_grid(self, values: Tensor) -> Tensor:
        """[B, H, L, D] -> [G, H, M, D], gloss by gloss; behind a gloss's last piece stands anything."""
        batch, heads, length, width = values.shape
        flat = values.transpose(1, 2).reshape(batch * length, heads * width)
        found = flat.index_select(0, self.place)
        return found.view(*self.real.shape[::2], heads, width).transpose(1, 2)

    def add_from_grid(self, values: Tensor, grid: Tensor) -> Tensor:
        """`values` [B, L, H, D] and, where a piece is of a gloss, what `grid` [G, H, M, D] has for it."""
        batch, length, heads, width = values.shape
        flat = grid.transpose(1, 2).reshape(-1, heads * width)
        found = flat.index_select(0, self.cell).view(batch, length, heads, width)
        return torch.addcmul(values, found, self.inside.view(batch, length, 1, 1).to(values.dtype))


def mark(mask: Tensor, segment: Tensor) -> None:
    """Leaves on a mask bool [B, 1, L, L] what it stands for, where the rows allow it."""
    setattr(mask, _NAME, Segments.of(segment))


def marked(mask: Tensor | None) -> Segments | None:
    """What `mark` has left on this very tensor."""
    return getattr(mask, _NAME, None)


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float, dropout: float
) -> Tensor:
    """Attention of [B, H, L, D]; the result is [B, L, H, D]. `dropout`: share of the weights dropped."""
    found: Tensor = _PackedAttention.apply(query, key, value, segments, scaling, dropout)  # type: ignore[no-untyped-call]
    return found


class _PackedAttention(torch.autograd.Function):
    """By hand, because the two parts of the scores share one softmax. P is that, D what dropout makes of it.

    dV = Dᵀ·dO,  dS = D∘(dO·Vᵀ) − P·Σ(dO∘O),  dQ = dS·K,  dK = dSᵀ·Q,  each once per part of the scores.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Segments,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        context = segments.visible.shape[3]
        query = query * scaling
        shares = _softmax(query @ key[:, :, :context].mT, segments.visible)
        grid_query, grid_key = segments.to_grid(query), segments.to_grid(key)
        grid_value = segments.to_grid(value)
        own = _softmax(grid_query @ grid_key.mT, segments.real.mT)
        _to_one_scale(shares, own, segments)
        dropped = [drop(part.values, dropout) if dropout else part.values for part in (shares, own)]
        found = (dropped[0] @ value[:, :, :context]).transpose(1, 2)
        found = segments.add_from_grid(found, dropped[1] @ grid_value)
        if any(ctx.needs_input_grad):
            ctx.segments, ctx.scaling, ctx.dropout = segments, scaling, dropout
            ctx.save_for_backward(query, key, value, shares.values, own.values, *dropped, found)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        segments: Segments = ctx.segments
        query, key, value, shares, own, dropped, dropped_own, found = ctx.saved_tensors
        context = shares.shape[3]
        wide = torch.promote_types(grad.dtype, torch.float32)
        delta = torch.linalg.vecdot(grad.to(wide), found.to(wide)).to(grad.dtype)[..., None].transpose(1, 2)
        grad = grad.transpose(1, 2)
        # what stands behind a gloss's last piece must say nothing
        grid_grad = segments.to_grid(grad) * segments.real
        grid_delta = segments.to_grid(delta) * segments.real
        scores = torch.addcmul(dropped * (grad @ value[:, :, :context].mT), shares, delta, value=-1)
        grid_key, grid_value = segments.to_grid(key), segments.to_grid(value)
        own_scores = torch.addcmul(dropped_own * (grid_grad @ grid_value.mT), own, grid_delta, value=-1)
        of_query = segments.add_from_grid(
            (scores @ key[:, :, :context]).transpose(1, 2), own_scores @ grid_key
        )
        of_key, of_value = key.new_zeros(_by_piece(key)), value.new_zeros(_by_piece(value))
        of_key[:, :context] = (scores.mT @ query).transpose(1, 2)
        of_value[:, :context] = (dropped.mT @ grad).transpose(1, 2)
        of_key = segments.add_from_grid(of_key, own_scores.mT @ segments.to_grid(query))
        of_value = segments.add_from_grid(of_value, dropped_own.mT @ grid_grad)
        of_query.mul_(ctx.scaling)
        return *(of.transpose(1, 2) for of in (of_query, of_key, of_value)), None, None, None


@dataclass
class _Softmax:
    """A softmax [.., n] and the logarithm of the sum it was divided by, [.., 1]."""

    values: Tensor
    total: Tensor


def _softmax(scores: Tensor, visible: Tensor) -> _Softmax:
    scores.masked_fill_(~visible, torch.finfo(scores.dtype).min)
    values = torch.softmax(scores, -1)
    # the largest share is 1 / sum of exp(score − largest score)
    wide = torch.promote_types(scores.dtype, torch.float32)
    largest, most = scores.amax(-1, keepdim=True), values.amax(-1, keepdim=True)
    return _Softmax(values, largest.to(wide) - most.to(wide).log())


def _to_one_scale(shares: _Softmax, own: _Softmax, segments: Segments) -> None:
    """Makes of the two softmaxes of each piece of a gloss the two parts of one."""
    kind = shares.values.dtype
    part = torch.sigmoid(segments.to_grid(shares.total) - own.total)  # of the context
    own.values.mul_((1 - part).to(kind))
    whole = torch.ones_like(shares.total).transpose(1, 2)
    shares.values.mul_(segments.add_from_grid(whole, part - 1).transpose(1, 2).to(kind))


def _by_piece(values: Tensor) -> tuple[int, ...]:
    batch, heads, length, width = values.shape
    return batch, length, heads, width
