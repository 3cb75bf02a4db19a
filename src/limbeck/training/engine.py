"""Where a training step runs: device, processes (accelerate, FSDP2), precision, and sums over processes."""

import contextlib
import copy
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch import distributed as dist

from limbeck.errors import UserError
from limbeck.processes.group import Group
from limbeck.teachers.precision import mixed
from limbeck.training.sharding import collect, shard, spread


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

    @property
    def sharding(self) -> str:
        """Under several processes: `none`, each holds the whole model (DDP), or `fsdp`."""


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
    return mixed(name)


def check_share(group: Group, batch: int, device: torch.device, field: str = "train.batch") -> None:
    """Refuses a number of processes that cannot share the work evenly.

    Args:
        batch: passages (or instances) of a step over all processes; field: where the recipe says so.
        device: where the student trains.

    Raises:
        UserError: the number does not divide the batch, or there are more processes than GPUs on a machine.
    """
    if batch % group.world:
        raise UserError(
            f"{group.world} processes cannot share {field} = {batch} evenly; start a number of processes"
            f" that divides it, or change {field}"
        )
    if group.watch is not None and device.type == "cuda":
        mine = group.watch.places[group.rank].machine
        here, devices = sum(p.machine == mine for p in group.watch.places), torch.cuda.device_count()
        if here > devices:
            raise UserError(
                f"{here} processes on a machine with {devices} GPUs; start one for each GPU, or set"
                ' train.device = "cpu"'
            )


class Autocast(nn.Module):
    """The same forward as `inner`, under autocast."""

    def __init__(self, inner: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.device_type, self.dtype = inner, device.type, dtype

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Forward of the inner module."""
        with torch.autocast(self.device_type, self.dtype):
            return self.inner(*arguments, **named)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A stage's module, made ready for this process.

    Attributes:
        module: the stage's own, whole; measured and saved. Under FSDP up to date only after `gather`, and in
            the main process alone.
        trained: holds the parameters that are trained: `module` itself, or under FSDP a sharded copy.
        forward: what the step calls: `trained` with autocast and DDP around it.
    """

    module: nn.Module
    trained: nn.Module
    forward: nn.Module

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a share of the weights."""
        return self.trained is not self.module

    def gather(self, main: bool) -> None:
        """Brings `module` up to date in the main process; every process must call it."""
        if self.sharded:
            collect(self.trained, self.module if main else None)

    def scatter(self) -> None:
        """Brings `trained` up to date with `module`, which must be the same in every process."""
        if self.sharded:
            spread(self.module, self.trained)


class Engine:
    """Device, precision and processes of one run of the loop.

    accelerate wraps the module in DDP. Its mixed precision is not used: it casts every output of the forward
    to float32, a second copy of the [slots, vocabulary] logits, so autocast is applied by `Autocast` and
    f16's scaler is ours (and can be saved). Nor is its gradient accumulation, which divides the loss.

    Attributes:
        device: where batches go.
        rank, world: this process, number of processes.
        scaler: gradient scaler, active in f16 only.
    """

    def __init__(self, settings: EngineSettings, group: Group) -> None:
        self.device = choose_device(settings.device)
        self.dtype = choose_precision(settings.precision, self.device)
        self.group, self.rank, self.world = group, group.rank, group.world
        self.sharding = settings.sharding
        if self.world > 1 and self.device.type == "cuda":
            self.device = torch.device("cuda", torch.cuda.current_device())  # set when the group was joined
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def prepare(self, module: nn.Module) -> Prepared:
        """Moves `module` to the device, the main process's weights into every process, and wraps it."""
        trained = module
        if self.world > 1:
            self.share_weights(module)
            if self.sharding == "fsdp":
                trained = copy.deepcopy(module).to(self.device)
                shard(trained)
        if trained is module or self.rank == 0:
            module.to(self.device)
        outer = Autocast(trained, self.device, self.dtype) if self.dtype else trained
        if self.world > 1 and trained is module:
            outer = self._ddp(outer)
        return Prepared(module, trained, outer)

    def _ddp(self, module: nn.Module) -> nn.Module:
        AcceleratorState._reset_state(reset_partial_state=True)  # it keeps that of an earlier run
        # not kept: it holds on to what it wraps, which must be gone when the processes part (`together`)
        accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        prepared: nn.Module = accelerator.prepare_model(module)
        return prepared

    @contextlib.contextmanager
    def synchronised(self, prepared: Prepared, last: bool) -> Iterator[None]:
        """Gradients are summed over processes only in a step's last micro-batch."""
        context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if prepared.sharded:
            prepared.trained.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif self.world > 1 and not last:
            context = prepared.forward.no_sync()  # type: ignore[operator]
        with context:
            yield

    def backward(self, loss: Tensor) -> None:
        """Back-propagates, scaled in f16."""
        torch.autograd.backward(self.scaler.scale(loss))

    def sum(self, values: list[float]) -> list[float]:
        """Each number summed over the processes, in float64; on the CPU, which never waits for a GPU."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank, on every process."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def from_main(self, value: Any) -> Any:
        """The main process's value, in every process."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0)
        return held[0]

    def share(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The main process's named tensors, in every process, on the CPU; what the others give is ignored."""
        if self.world == 1:
            return tensors
        described = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]
        found: dict[str, Tensor] = {}
        for name, shape, dtype in self.from_main(described):
            mine = (
                tensors[name].detach().cpu().contiguous()
                if self.rank == 0
                else torch.empty(shape, dtype=dtype)
            )
            dist.broadcast(mine.flatten().view(torch.uint8), 0)  # as bytes: gloo does not know every type
            found[name] = mine
        return found

    def share_weights(self, module: nn.Module) -> None:
        """Copies the main process's weights and buffers into those of every other process."""
        if self.world > 1:
            found = self.share(dict(module.state_dict()))
            if self.rank:
                module.load_state_dict(found)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast for an evaluation, or nothing in f32."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext()
