"""Precisions by their names, for whatever runs a model: f32, bf16 and f16."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from limbeck.errors import UserError

PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def check_precision(name: str, device: torch.device, what: str = "precision") -> torch.dtype:
    """The type of this name.

    Args:
        what: what the user has set, at the head of the message.

    Raises:
        UserError: no such precision, or one that the device lacks.
    """
    if name not in PRECISIONS:
        raise UserError(f"{what} is {name!r}; it must be one of {', '.join(PRECISIONS)}")
    if name == "f16" and device.type == "cpu":
        raise UserError(f"{what} f16 does not work on the CPU; use f32 or bf16")
    return PRECISIONS[name]


def mixed(name: str) -> torch.dtype | None:
    """What autocast computes in; None for `f32`, which needs none."""
    return None if name == "f32" else PRECISIONS[name]


def autocast(device: torch.device, name: str) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision of this name while the block runs; nothing for `f32`."""
    dtype = mixed(name)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
