"""What processes do together in tests/test_processes.py, besides whole commands (tests/many_processes.py)."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from limbeck.cli import main
from limbeck.errors import TrainingDiverged, UserError
from limbeck.pipeline.store import build
from limbeck.processes import watch
from limbeck.processes.together import together
from limbeck.recipe import load_recipe
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm
from limbeck.terminal import work
from limbeck.training.engine import Engine
from limbeck.training.optimiser import trainable
from limbeck.training.sharding import whole
from tests.tiny_store import small_chunks
from tests.tiny_training import Settings, Source, make_net, run_tiny, tiny_step

SGD = Settings(steps=5, warmup=0.0, schedule="constant", learning_rate=0.1, clip=0.5, save_every=0)


def gradients(folder: str, sharding: str) -> None:
    """Five SGD steps; leaves the first step's gradients (whole) and the last weights."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    net = make_net(dropout=0.0)
    seen: list[dict[str, torch.Tensor]] = []

    def sgd(module: torch.nn.Module) -> torch.optim.Optimizer:
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)

        def remember(*_: Any) -> None:
            grads = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
            seen.append({name: whole(grad).clone() for name, grad in grads.items()})

        optimiser.register_step_pre_hook(remember)
        return optimiser

    settings = Settings(**{**vars(SGD), "sharding": sharding})
    source = Source(micro=2, rank=rank, world=world)
    run_tiny(Path(folder), settings, source=source, net=net, main=rank == 0, make_optimiser=sgd)
    if rank == 0:
        save_file(seen[0], Path(folder) / "gradients.safetensors")


def parts(folder: str, *command: str) -> None:
    """The tiny training, or a command; leaves how many modules DDP still wraps when the processes part."""
    destroy = dist.destroy_process_group

    def count() -> None:
        wrapped = sum(isinstance(found, DistributedDataParallel) for found in gc.get_objects())
        (Path(folder) / f"wrapped-{os.environ['RANK']}").write_text(str(wrapped))
        destroy()

    dist.destroy_process_group = count
    if command:
        sys.argv = ["limbeck", *command]
        main()
    else:
        tiny(f"{folder}/run", "2", "none")


def tiny(folder: str, steps: str, sharding: str, precision: str = "f32") -> None:
    """A tiny training with dropout and AdamW, extended to `steps` if it had fewer."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    settings = Settings(steps=int(steps), sharding=sharding, save_every=2, precision=precision)
    source = Source(micro=2, rank=rank, world=world)
    run_tiny(Path(folder), settings, source=source, main=rank == 0, extend=True)


def precise(folder: str, sharding: str) -> None:
    """f16's scaler, which works on the CPU as well, where the recipe refuses it."""
    import limbeck.training.engine as engine

    engine.choose_precision = lambda *_: torch.float16
    tiny(folder, "6", sharding, "f16")


def explodes(folder: str) -> None:
    """A loss that is infinite in process 1 alone."""
    rank = int(os.environ["RANK"])

    def step(module: Any, batch: Any, context: Any) -> Any:
        loss, count, measured = tiny_step(module, batch, context)
        return loss * (float("inf") if rank == 1 and context.step == 3 else 1.0), count, measured

    with work(several=True):
        run_tiny(Path(folder), step=step, source=Source(rank=rank, world=2), main=rank == 0)


def side_by_side(what: str, mark: str) -> None:
    """Joins, says so in `mark`, and then process 1 or 0 does something that ends the run."""
    watch.GRACE = 1.0
    with work(several=True), together() as group:
        group.on_end.append(lambda: Path(f"{mark}.hook").touch())
        group.meet()
        Path(f"{mark}.{group.rank}").touch()
        if what == "wait for main":
            group.from_main(lambda: time.sleep(60))
        elif what == "busy":
            time.sleep(60 if group.main else 600)
        elif what == "user error in 1" and group.rank == 1:
            raise UserError("a line of process 1")
        elif what == "diverged in 0" and group.main:
            raise TrainingDiverged("a line of process 0")
        elif what == "bug in 1" and group.rank == 1:
            raise AssertionError("a bug")
        elif what == "same error":
            raise UserError("a line of all")
        elif what == "left alone":
            dist.all_reduce(torch.zeros(1)) if group.main else time.sleep(60)
        group.meet()


def exchange(folder: str) -> None:
    """Leaves what each process got of the others."""
    with work(several=True), together() as group:
        long = group.from_main(lambda: "x" * 9_000_000)
        made = Path(folder) / f"made-by-{group.rank}"
        value = group.once_per_cache(lambda: (made.touch(), {"by": group.rank})[1])
        (Path(folder) / f"got-{group.rank}").write_text(f"{len(long)} {value['by']}")
        kinds = [torch.bool, torch.bfloat16, torch.float64, torch.int64, torch.uint8]
        all_of_main = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
        all_of_main |= {"scalar": torch.tensor(3.5), "none": torch.zeros(0, 4)}
        found = Engine(Settings(), group).share(all_of_main if group.main else {})
        assert found.keys() == all_of_main.keys()
        assert all(torch.equal(found[name], value) for name, value in all_of_main.items())


def family(folder: str, name: str, sharding: str) -> None:
    """Gradients of a real model, twice, against one process's; each process has half the passages."""
    with work(several=True), together() as group:
        loaded, tokenizer, _ = load_masked_lm(Path(folder) / name)
        module = MaskedLM(loaded.model.requires_grad_(True), tokenizer.mask_token_id)
        torch.manual_seed(1)
        ids = torch.randint(5, len(tokenizer), (8, 12))

        def loss(forward: Any, rows: torch.Tensor) -> torch.Tensor:
            part = ids[rows]
            position = torch.tensor([row * 12 + column for row in range(len(rows)) for column in (1, 4, 9)])
            logits = forward(part, torch.ones_like(part), position)
            return torch.nn.functional.cross_entropy(logits, part.flatten()[position], reduction="sum") / 24

        engine = Engine(Settings(sharding=sharding), group)
        prepared = engine.prepare(module)
        halves = torch.arange(8)[group.rank :: 2].chunk(2)
        for _ in range(2):
            prepared.trained.zero_grad()
            for number, rows in enumerate(halves):
                with engine.synchronised(prepared, last=number == 1):
                    engine.backward(loss(prepared.forward, rows) * 2)
        found = {n: p.grad for n, p in prepared.trained.named_parameters() if p.requires_grad}
        gradients = {name: whole(gradient).clone() for name, gradient in found.items()}
        module.zero_grad()
        loss(module, torch.arange(8)).backward()
        total = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
        for label, parameter in trainable(module):
            assert parameter.grad is not None, label
            difference = (gradients.pop(label) - parameter.grad).norm()
            # an attention key's bias has a gradient of zero, but for rounding
            assert difference < 1e-5 * max(parameter.grad.norm(), 0.01 * total), label
        assert not gradients
        if sharding == "fsdp":
            shares = [p.to_local().numel() for p in prepared.trained.parameters()]
            assert sum(shares) < 0.75 * sum(p.numel() for p in module.parameters())


def store(recipe: str, folder: str, killed_at: str) -> None:
    """Builds stores of small chunks; process 1 dies at this passage of the first one, unless it is 0."""
    with work(several=True), together() as group, small_chunks():

        def beats(what: str, done: int, total: int) -> None:
            if group.rank == 1 and what.startswith("storing") and 0 < int(killed_at) <= done:
                os.kill(os.getpid(), signal.SIGKILL)

        made = build(load_recipe(Path(recipe), [f"distill.store={folder}"]), progress=beats)
        assert all(store["complete"] for store in made["stores"])
