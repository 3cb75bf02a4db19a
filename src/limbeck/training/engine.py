"""Where a training step runs: device, processes (accelerate), precision, and sums over processes."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn

from limbeck.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
"""Precisions that need autocast; `f32` needs none."""


class EngineSettings(Protocol):
    """The fields of the recipe's `[train]` that say where and how a step is computed."""

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda`, `cuda:1`."""

    @property
    def precision(self) -> str:
        """`f32`, `bf16` or `f16`."""

    @property
    def threads(self) -> int | None:
        """Threads on the CPU; None leaves torch's number."""


def choose_device(name: str) -> torch.device:
    """The device of a recipe's name; `auto` is the GPU where there is one.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f'train.device = "{name}" is no device; use "auto", "cpu", "cuda" or "cuda:1"')
    device = torch.device(name)
    here = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= here:
        raise UserError(
            f'train.device = "{name}", but there are {here} CUDA devices here; use "auto" or "cpu"'
        )
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The dtype for autocast, None for `f32`.

    Raises:
        UserError: f16 on the CPU.
    """
    if name == "f16" and device.type == "cpu":
        raise UserError('train.precision = "f16" needs a GPU; use "bf16" or "f32" on the CPU')
    return DTYPES.get(name)


class Autocast(nn.Module):
    """The same forward as `inner`, under autocast."""

    def __init__(self, inner: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.device_type, self.dtype = inner, device.type, dtype

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Forward of the inner module."""
        with torch.autocast(self.device_type, self.dtype):
            return self.inner(*arguments, **named)


class Engine:
    """Device, precision and processes of one run of the loop.

    accelerate starts and joins the processes and wraps the module in DDP. Its mixed precision is not used:
    it casts every output of the forward to float32, a second copy of the [slots, vocabulary] logits, so
    autocast is applied by `Autocast` and f16's scaler is ours (and can be saved). Nor is its gradient
    accumulation, which divides the loss.

    Attributes:
        device: where batches go.
        rank, world: this process, number of processes.
        scaler: gradient scaler, active in f16 only.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.device = choose_device(settings.device)
        self.dtype = choose_precision(settings.precision, self.device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            # accelerate keeps its state for the life of the process; a second run may use another device
            AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        self.accelerator.gradient_accumulation_steps = (
            1  # an environment variable of accelerate may have set it
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if self.world > 1:
            self.device = self.accelerator.device
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def prepare(self, module: nn.Module) -> nn.Module:
        """Moves `module` to the device; returns what the step calls in its place, with autocast and DDP."""
        module.to(self.device)
        outer = Autocast(module, self.device, self.dtype) if self.dtype else module
        if self.world == 1:
            return outer
        prepared: nn.Module = self.accelerator.prepare_model(outer)
        return prepared

    @contextlib.contextmanager
    def synchronised(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Gradients are summed over processes only in a step's last micro-batch."""
        with contextlib.nullcontext() if last or self.world == 1 else self.accelerator.no_sync(module):
            yield

    def backward(self, loss: Tensor) -> None:
        """Back-propagates, scaled in f16."""
        self.accelerator.backward(self.scaler.scale(loss))

    def sum(self, values: list[float]) -> list[float]:
        """Each number summed over the processes, in float64."""
        if self.world == 1:
            return values
        total = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return [float(value) for value in total.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank, on every process."""
        return list(gather_object([value])) if self.world > 1 else [value]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast for an evaluation, or nothing in f32."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext()

    def wait(self) -> None:
        """Returns when every process is here."""
        self.accelerator.wait_for_everyone()
