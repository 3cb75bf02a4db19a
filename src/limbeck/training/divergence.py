"""A loss or a gradient that is not finite: the batch is kept, the run ends with a line."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from limbeck.errors import TrainingDiverged
from limbeck.files import writing
from limbeck.training.engine import Engine


def check_finite(
    engine: Engine, folder: Path, step: int, loss: float, gradient_norm: float, batches: Sequence[Any]
) -> None:
    """Checks what is the same in every process; `folder` gets each one's micro-batches if it is not finite.

    In f16 a gradient that overflows is the scaler's business, until its scale falls below 1.

    Raises:
        TrainingDiverged: the loss or the gradient's norm is not finite.
    """
    scaler = engine.scaler
    if not math.isfinite(loss):
        what = f"the loss is {loss}"
    elif not math.isfinite(gradient_norm) and not (scaler.is_enabled() and scaler.get_scale() >= 1.0):
        what = f"the gradient's norm is {gradient_norm}"
    else:
        return
    name = f"non-finite-step-{step}"
    target = folder / (f"{name}-{engine.rank}.safetensors" if engine.rank else f"{name}.safetensors")
    with writing(target):
        folder.mkdir(parents=True, exist_ok=True)  # another machine than the main process's
        save_file(tensors_of(batches), target)
    shown = folder / f"{name}{'*' if engine.world > 1 else ''}.safetensors"
    raise TrainingDiverged(
        f"{what} in step {step}: its batch is in {shown}; a lower train.learning_rate,"
        ' a longer train.warmup or train.precision = "f32" may help'
    )


def tensors_of(value: Any, name: str = "batch") -> dict[str, Tensor]:
    """Every tensor, array and number in nested dataclasses, mappings and sequences, by dotted place."""
    if isinstance(value, Tensor):
        return {name: value.detach().cpu().contiguous()}
    if isinstance(value, np.ndarray | int | float):
        return {name: torch.as_tensor(value).contiguous()}
    if dataclasses.is_dataclass(value):
        parts: Any = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = enumerate(value)
    else:
        return {}
    return {
        key: tensor for label, part in parts for key, tensor in tensors_of(part, f"{name}.{label}").items()
    }
