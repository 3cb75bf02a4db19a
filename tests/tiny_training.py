"""A tiny real training job for the tests of the loop, and a program that runs, kills and resumes it.

python tiny_training.py kill FOLDER MOMENTS     runs it once whole, once killed MOMENTS times with SIGKILL
python tiny_training.py run FOLDER STEPS        runs it once, slowly (to be interrupted)
torchrun tiny_training.py gradients FOLDER even five SGD steps in two processes
"""

import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limbeck.run import Run
from limbeck.training.loop import StepContext, TrainResult, train

WORDS, WIDTH, LENGTH = 23, 16, 6
KILLED_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 12
    learning_rate: float = 0.02
    warmup: float = 0.2
    schedule: str = "linear"
    weight_decay: float = 0.1
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    precision: str = "f32"
    log_every: int = 2
    eval_every: int | None = 4
    save_every: int | None = 3
    keep: int = 2
    device: str = "cpu"
    threads: int | None = 1
    sharding: str = "none"


class Net(nn.Module):
    """Predicts each slot's word from the word before; tied output, dropout, a normalisation layer."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(WIDTH, WORDS)
        self.output.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        """[n] -> logits [n, WORDS]."""
        return self.output(self.dropout(self.norm(torch.tanh(self.mix(self.words(ids))))))


def make_net(dropout: float = 0.2) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Net(dropout)


@dataclasses.dataclass
class TinyBatch:
    ids: Tensor  # int64 [slots]
    gold: Tensor  # int64 [slots]
    tokens: int

    @property
    def count(self) -> int:
        return len(self.gold)

    def to(self, device: Any) -> "TinyBatch":
        return TinyBatch(self.ids.to(device), self.gold.to(device), self.tokens)


def no_slots() -> TinyBatch:
    return TinyBatch(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), LENGTH)


class Source:
    """Eight passages a step, of 0 to 5 slots each, in micro-batches of `micro`; a process takes its share."""

    def __init__(self, micro: int = 4, rank: int = 0, world: int = 1) -> None:
        self.micro, self.rank, self.world = micro, rank, world

    def passages(self, step: int) -> list[TinyBatch]:
        draw = np.random.default_rng([7, step])
        slots = [0, *draw.integers(0, 6, size=7).tolist()]
        ids = [torch.from_numpy(draw.integers(0, WORDS, size=n)) for n in slots]
        return [TinyBatch(i, (i * 3 + 1) % WORDS, LENGTH) for i in ids]

    def micro_batches(self, step: int) -> Sequence[TinyBatch]:
        mine = self.passages(step)
        mine = mine[self.rank * 8 // self.world : (self.rank + 1) * 8 // self.world]
        parts = [mine[i : i + self.micro] for i in range(0, len(mine), self.micro)]
        return [
            TinyBatch(
                torch.cat([p.ids for p in part]),
                torch.cat([p.gold for p in part]),
                sum(p.tokens for p in part),
            )
            for part in parts
        ]


class AllInOne(Source):
    """Two processes, of which the second has no slots at all."""

    def __init__(self, rank: int) -> None:
        super().__init__(micro=4)
        self.rank_of_two = rank

    def micro_batches(self, step: int) -> Sequence[TinyBatch]:
        return [no_slots()] if self.rank_of_two else super().micro_batches(step)


def tiny_step(
    module: nn.Module, batch: TinyBatch, context: StepContext
) -> tuple[Tensor, int, Mapping[str, Any]]:
    logits = module(batch.ids).float()
    loss = nn.functional.cross_entropy(logits, batch.gold, reduction="sum")
    right = (logits.argmax(-1) == batch.gold).sum()
    return loss, batch.count, {"accuracy": (right, batch.count), "progress": (context.progress, 1.0)}


def noisy_step(
    module: nn.Module, batch: TinyBatch, context: StepContext
) -> tuple[Tensor, int, Mapping[str, Any]]:
    """Draws from every generator, so that a resume must put all of them back."""
    loss, count, metrics = tiny_step(module, batch, context)
    return (
        loss * (1 + 0.1 * random.random() + 0.1 * random.gauss() + 0.1 * np.random.standard_normal()),
        count,
        metrics,
    )


def evaluator(source: Source) -> Callable[[nn.Module], dict[str, float]]:
    def evaluate(module: nn.Module) -> dict[str, float]:
        assert not module.training
        random.random()
        torch.rand(3)
        batch = Source(micro=8).micro_batches(10_000)[0]
        return {"valid_nats": float(nn.functional.cross_entropy(module(batch.ids), batch.gold))}

    return evaluate


def run_tiny(
    folder: Path,
    settings: Settings | None = None,
    *,
    step: Callable[..., Any] = tiny_step,
    source: Any = None,
    net: Net | None = None,
    extend: bool = False,
    main: bool = True,
    evaluate: bool = True,
    **more: Any,
) -> TrainResult:
    settings = settings or Settings()
    net = net or make_net()
    fields = {f"train.{k}": v for k, v in dataclasses.asdict(settings).items() if not k.endswith("_every")}

    def save_model(place: Path) -> None:
        save_file(
            {name: p.detach().clone() for name, p in net.named_parameters()}, place / "model.safetensors"
        )

    with Run.open(folder, "", fields, extend=extend, main=main, resume_hint="limbeck run x.toml") as run:
        source = source or Source()
        return train(
            net,
            step,
            source,
            settings,
            run,
            seed=3,
            save_model=save_model,
            evaluate=evaluator(source) if evaluate else None,
            **more,
        )


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Every line without what depends on the clock and the machine."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "tokens_per_second", "peak_memory", "peak_device_memory"}
    clock |= {"energy_joules", "energy_source"}
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def slow_noisy(
    module: nn.Module, batch: TinyBatch, context: StepContext
) -> tuple[Tensor, int, Mapping[str, Any]]:
    time.sleep(0.01)
    return noisy_step(module, batch, context)


def _child(folder: Path, beat: int | None = None) -> int:
    """Starts the job in a process of its own, which writes a byte to `beat` at each micro-batch.

    Only forked: this process itself never computes anything with torch.
    """
    process = os.fork()
    if process:
        return process
    code = 1

    def beats(
        module: nn.Module, batch: TinyBatch, context: StepContext
    ) -> tuple[Tensor, int, Mapping[str, Any]]:
        if beat is not None:
            os.write(beat, b".")
        time.sleep(0.002)
        return noisy_step(module, batch, context)

    try:
        run_tiny(folder, Settings(steps=KILLED_STEPS, threads=None, save_every=2), step=beats)
        code = 0
    finally:
        os._exit(code)


def _writes_checkpoint(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return any(name.startswith(".tmp-step") for name in os.listdir(folder / "checkpoints"))
    return False


def kill_and_resume(folder: Path, moments: int) -> None:
    """One whole run in `whole`, one in `killed` that dies `moments` times, the fourth in a checkpoint."""
    import torch._dynamo  # noqa: F401 - the optimiser imports it, which would cost every child a second

    assert os.waitpid(_child(folder / "whole"), 0)[1] == 0
    draw = random.Random(time.time_ns())  # other moments each time: the result must not depend on them
    in_write = 0
    for moment in range(moments):
        reader, writer = os.pipe()
        process = _child(folder / "killed", writer)
        os.close(writer)
        for _ in range(draw.randint(1, 14)):
            os.read(reader, 1)
        time.sleep(draw.uniform(0, 0.02))
        while moment == 3 and not _writes_checkpoint(folder / "killed"):
            time.sleep(0.0001)
        os.kill(process, signal.SIGKILL)
        os.close(reader)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL, "it had ended before"
        in_write += _writes_checkpoint(folder / "killed")
    assert os.waitpid(_child(folder / "killed"), 0)[1] == 0
    resumes = (folder / "killed" / "log.txt").read_text().count("going on after step")
    print(json.dumps({"in_write": in_write, "resumes": resumes}))


def five_sgd_steps(folder: Path, source: Source, *, main: bool = True) -> None:
    """Leaves the first step's gradients and the last weights in `folder`."""
    net = make_net(dropout=0.0)
    seen: list[dict[str, Tensor]] = []

    def sgd(module: nn.Module) -> torch.optim.Optimizer:
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)

        def remember(*_: Any) -> None:
            seen.append({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})

        optimiser.register_step_pre_hook(remember)
        return optimiser

    settings = Settings(steps=5, warmup=0.0, schedule="constant", learning_rate=0.1, clip=None, save_every=0)
    run_tiny(folder, settings, source=source, net=net, main=main, evaluate=False, make_optimiser=sgd)
    if main:
        save_file(seen[0], folder / "gradients.safetensors")


if __name__ == "__main__":
    job, place = sys.argv[1], Path(sys.argv[2])
    if job == "kill":
        kill_and_resume(place, int(sys.argv[3]))
    elif job == "run":
        run_tiny(place, Settings(steps=int(sys.argv[3])), step=slow_noisy)
    else:
        rank = int(os.environ["RANK"])
        halves = Source(micro=4, rank=rank, world=2)
        five_sgd_steps(place, halves if sys.argv[3] == "even" else AllInOne(rank), main=rank == 0)
