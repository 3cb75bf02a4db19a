"""The widest product of a masked language model, float32 on a CPU, into rows that begin at a cache line.

The CPU's matrix library writes [S, 30522] at two thirds of its speed, because no row but the first is aligned
to 64 bytes. The same product into rows padded to a multiple of 16 floats, of which the first V are shown,
gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_FLOATS = 16  # of one cache line
# Below this a head is no bottleneck, and a short product gains nothing.
_WIDE = 4096


def aligned_empty(like: Tensor, rows: int, width: int) -> Tensor:
    """[rows, width] of the type and device of `like`, uninitialised; each row starts a cache line."""
    return like.new_empty(rows, -(-width // _FLOATS) * _FLOATS)[:, :width]


class PaddedLinear(nn.Linear):
    """`nn.Linear` with aligned rows for float32 [S, H] on a CPU; elsewhere `nn.Linear` itself."""

    def forward(self, input: Tensor) -> Tensor:
        """[S, V] of [S, H]."""
        if (
            input.dtype != torch.float32
            or input.dim() != 2
            or input.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
            or self.weight.dtype != torch.float32
        ):
            return super().forward(input)
        found: Tensor = _Padded.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


class _Padded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.biased = bias is not None
        out = aligned_empty(input, len(input), len(weight))
        if bias is None:
            return torch.mm(input, weight.t(), out=out)
        return torch.addmm(bias, input, weight.t(), out=out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            gradient @ weight if needs[0] else None,
            gradient.t() @ input if needs[1] else None,
            gradient.sum(0) if ctx.biased and needs[2] else None,
        )


def pad_head(model: PreTrainedModel) -> None:
    """Makes a wide masked-LM head a `PaddedLinear`; names, shapes and tied weights stay."""
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is nn.Linear and head.out_features >= _WIDE and head.out_features % _FLOATS:
        head.__class__ = PaddedLinear


@contextmanager
def plain_head(model: PreTrainedModel) -> Iterator[None]:
    """The head as torch's own, for a program that is to be written down: padded rows have a fixed number."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not PaddedLinear:
        yield
        return
    head.__class__ = nn.Linear  # type: ignore[assignment]
    try:
        yield
    finally:
        head.__class__ = PaddedLinear
