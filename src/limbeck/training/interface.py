"""What a stage and the loop hand each other: step, source, settings, result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from limbeck.processes.group import current
from limbeck.training.engine import EngineSettings
from limbeck.training.optimiser import OptimiserSettings


@dataclasses.dataclass(frozen=True)
class Best:
    """The evaluation's figure that decides which weights are the best. `higher`: the higher the better."""

    metric: str
    higher: bool = False

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than the best so far, if there is one."""
        return best is None or (value > best if self.higher else value < best)


BEST_METRIC = "valid_nats"
"""What a masked language model is judged by; lower is better."""


@dataclasses.dataclass(frozen=True)
class StepContext:
    """Where in the run a step is. `step` counts from 0; `steps` is the total, which `--extend` raises."""

    step: int
    steps: int

    @property
    def progress(self) -> float:
        """0 in the first step, 1 in the last; for whatever runs from a first to a last value."""
        return self.step / max(1, self.steps - 1)


Metrics = Mapping[str, tuple[float | Tensor, float | Tensor]]
"""Name -> (sum, weight), scalars; the log shows sums over weights."""

Step = Callable[[nn.Module, Any, StepContext], tuple[Tensor, int, Metrics]]
"""`step(module, batch, context) -> (loss_sum, count, metrics)`.

Only the module's forward may be called, and what it returns may not be changed in place. `loss_sum` is a
scalar summed (not averaged) over the batch's `count` slots; without slots it is a zero that still depends on
the module's output, so that every process back-propagates.
"""


class BatchSource(Protocol):
    """Batches as a pure function of the step: nothing to save, and a resumed run sees the same ones."""

    def micro_batches(self, step: int) -> Sequence[Any]:
        """This process's micro-batches of step `step` (from 0), at least one; draws no global random numbers.

        Each has `count` (slots), `tokens` (fed, without padding) and `to(device)`, which returns it on a
        device.
        """


class TrainSettings(OptimiserSettings, EngineSettings, Protocol):
    """The recipe's `[train]` as far as the loop reads it. An interval of 0 means: at the end only."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def warmup(self) -> float:
        """Share of the steps in which the learning rate climbs."""

    @property
    def schedule(self) -> str:
        """`linear`, `cosine` or `constant`."""

    @property
    def clip(self) -> float | None:
        """Largest gradient norm; 0 or None: no limit."""

    @property
    def log_every(self) -> int:
        """Steps between lines of metrics."""

    @property
    def eval_every(self) -> int | None:
        """Steps between evaluations."""

    @property
    def save_every(self) -> int | None:
        """Steps between checkpoints."""

    @property
    def keep(self) -> int:
        """Checkpoints kept, at least one."""


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """`TrainSettings` of a stage that has no `[train]` of its own."""

    steps: int
    learning_rate: float
    warmup: float
    schedule: str
    weight_decay: float
    clip: float
    betas: tuple[float, float]
    precision: str
    device: str
    threads: int | None
    sharding: str
    log_every: int
    eval_every: int | None
    save_every: int
    keep: int


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a finished run says: seconds and tokens of all its sessions together, memory in bytes.

    `metrics` is the last evaluation; `best` the best over the run of the figure that decides (`Best`),
    reached after step `best_step`. `energy_joules` is None where it was not measured for all of the run (see
    training/energy.py), `energy_source` what measured it.
    """

    steps: int
    tokens: int
    seconds: float
    peak_memory: int
    peak_device_memory: int
    best: float | None
    best_step: int | None
    metrics: dict[str, float]
    energy_joules: float | None = None
    energy_source: str | None = None

    def cost(self) -> dict[str, Any]:
        """What a stage's results say under `cost`, in this process group."""
        return {
            "steps": self.steps,
            "processes": current().world,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / self.seconds,
            "peak_memory_bytes": self.peak_memory,
            "peak_device_memory_bytes": self.peak_device_memory,
            "energy_joules": self.energy_joules,
            "energy_source": self.energy_source,
        }
