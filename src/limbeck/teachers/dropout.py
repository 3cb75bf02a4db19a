"""Dropout on a CPU, where a draw for every element takes longer than most products of a small model do.

A draw of 64 bits decides over four elements, each by 16 of them: the share dropped is a multiple of 1/65,536,
and what stays is scaled by just that share. Draws come from torch's own generator, so that a resume is exact.
Other devices keep their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


def dropout(values: Tensor, share: float) -> Tensor:
    """`values` with a random share of the elements 0 and the others scaled up, as `nn.functional.dropout`."""
    dropped = round(share * _LEVELS)
    if values.device.type != "cpu" or not 0 < dropped < _LEVELS:
        return nn.functional.dropout(values, share)
    count = values.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)  # all 64 bits
    kept = draws.view(torch.int16)[:count].view(values.shape) >= dropped - _LEVELS // 2
    return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class _Dropout(nn.Dropout):
    def forward(self, values: Tensor) -> Tensor:
        """As `nn.Dropout`."""
        return dropout(values, self.p) if self.training and not self.inplace else super().forward(values)


def use_fast_dropout(model: nn.Module) -> None:
    """Puts `dropout` in the place of every `nn.Dropout`; classes derived from that stay as they are."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = _Dropout
