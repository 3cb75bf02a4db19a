"""`limbeck eval cost`: what models cost, side by side, on the machine at hand (docs/cost.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from limbeck.errors import UserError
from limbeck.run import environment
from limbeck.tasks.cost_measure import MemoryTask, free_memory, measure_length, memory_of, waiter
from limbeck.tasks.cost_source import Subject, check_model, longest_input, open_model, usable_lengths
from limbeck.tasks.cost_training import energy, training_cost
from limbeck.tasks.mlm_result import versions
from limbeck.teachers.masked_lm import resolve_device
from limbeck.teachers.precision import check_precision
from limbeck.training.energy import find_meter

Progress = Callable[[str, int, int], None]

PROTOCOL = 1
"""Raised with every change after which the same model, data and settings give other figures: those that
an evaluation kept are not used again then (pipeline/evaluation.py)."""

LENGTHS = (16, 64, 256)
LONGEST = 8192


@dataclass(frozen=True)
class CostSettings:
    """How cost is measured.

    lengths: pieces of a passage, special ones included. precision: f32, bf16 or f16, of weights and states.
    seconds: for each of latency, search of the batch and throughput, at each length. threads: on the CPU;
    None: torch's number. watts: a power figure of the user's, for estimates where energy is not measured.

    Raises:
        UserError: a value out of range.
    """

    lengths: tuple[int, ...] = LENGTHS
    precision: str = "f32"
    seconds: float = 1.0
    threads: int | None = None
    device: str = "auto"
    watts: float | None = None

    def __post_init__(self) -> None:
        if not self.lengths or not all(1 <= length <= LONGEST for length in self.lengths):
            raise UserError(f"lengths must be from 1 to {LONGEST} pieces, such as 16,64,256")
        if not 0 < self.seconds < math.inf:
            raise UserError(f"seconds is {self.seconds}; it must be more than 0, such as 1")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is {self.threads}; it must be at least 1, or left out")
        if self.watts is not None and not 0 < self.watts < math.inf:
            raise UserError(f"watts is {self.watts}; it must be more than 0, such as 15")
        check_precision(self.precision, resolve_device(self.device))


def measure_models(
    models: Sequence[str], settings: CostSettings | None = None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Measures models one after the other; one is in memory at a time.

    Args:
        models: checkpoint folders, hub ids, or folders that `limbeck export` made.

    Returns:
        A JSON-ready dict: models, machine, settings, notes, versions.

    Raises:
        UserError: a model or device that cannot be used; a model that every length is too long for.
    """
    settings = settings or CostSettings()
    if not models:
        raise UserError("no model to measure; name at least one model folder or hub id")
    for model in models:
        check_model(model)  # or the second one's mistake would cost the first one's measurement
        usable_lengths(model, longest_input(model), settings.lengths)
    before = torch.get_num_threads()
    threads = settings.threads or before
    settings = replace(settings, threads=threads, lengths=tuple(sorted(set(settings.lengths))))
    try:
        torch.set_num_threads(threads)
        measured = []
        for place, model in enumerate(models):
            name = f"{model} ({place + 1} of {len(models)})" if len(models) > 1 else model
            measured.append(_measured(model, settings, _steps(name, settings, progress)))
            free_memory()
    finally:
        torch.set_num_threads(before)
    return {
        "task": "cost",
        "models": measured,
        "machine": _machine(settings),
        "settings": asdict(settings) | {"inputs": "random pieces, no padding", "seed": 0},
        "notes": notes(measured, settings),
        "versions": versions(),
    }


def _steps(name: str, settings: CostSettings, progress: Progress | None) -> Callable[[], None]:
    """A function to call when the next part of a model begins: loading, each length, memory."""
    done, total = -1, len(settings.lengths) + 2

    def begin() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(f"measuring {name}", done, total)

    return begin


def _measured(model: str, settings: CostSettings, begin: Callable[[], None]) -> dict[str, Any]:
    begin()
    threads = settings.threads or torch.get_num_threads()
    subject = open_model(model, device=settings.device, precision=settings.precision, threads=threads)
    lengths = []
    for length in usable_lengths(model, subject.limit, settings.lengths):
        begin()
        lengths.append(_length(subject, length, settings))
    begin()
    longest = lengths[-1]
    task = MemoryTask(
        model,
        settings.precision,
        settings.device,
        threads,
        length=longest["length"],
        batch=longest["throughput"]["batch"],
    )
    return {
        "name": model,
        "model": model,
        "weights": subject.weights,
        "head": subject.head,
        "family": subject.family,
        "runtime": subject.runtime,
        "precision": subject.precision,
        "device": str(subject.device),
        "parameters": subject.parameters,
        "parameters_without_embeddings": subject.bare_parameters,
        "disk_bytes": subject.disk,
        "longest_input": subject.limit,
        "lengths": lengths,
        "memory": asdict(task) | {"bytes": memory_of(task)},
        "training": training_cost(model, settings.watts),
    }


def _length(subject: Subject, length: int, settings: CostSettings) -> dict[str, Any]:
    meter = find_meter(subject.device)
    call = partial(subject.call, length=length)
    found = measure_length(call, length, settings.seconds, waiter(subject.device), meter)
    joules = found.pop("joules_per_1000_passages")
    seconds = 1000 / found["throughput"]["passages_per_second"]
    return {
        **found,
        "macs_per_token": subject.macs_per_token(length),
        "energy_per_1000_passages": energy(joules, meter.source if meter else None, seconds, settings.watts),
    }


def _machine(settings: CostSettings) -> dict[str, Any]:
    """What the figures were measured on."""
    device = resolve_device(settings.device)
    known = environment()
    return {
        **{name: known[name] for name in ("processor", "cores", "platform")},
        "threads": settings.threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }


def notes(measured: Sequence[dict[str, Any]], settings: CostSettings) -> list[str]:
    """What a reader must know beside the figures; measured: `models` of a result."""
    said = [
        "Inputs are random pieces without padding, already on the device; a tokenizer's work is not counted. "
        "Tokens are a model's own pieces."
    ]
    asked = str(resolve_device(settings.device))
    for one in measured:
        if left := [n for n in settings.lengths if n not in [cell["length"] for cell in one["lengths"]]]:
            lengths = ", ".join(map(str, left))
            said.append(
                f"{one['name']} takes at most {one['longest_input']} pieces; not measured at {lengths}."
            )
        if (one["precision"], one["device"]) != (settings.precision, asked):
            said.append(f"{one['name']} is an exported file: it runs on the CPU in {one['precision']}.")
    energies = [cell["energy_per_1000_passages"] for one in measured for cell in one["lengths"]]
    if None in energies:
        said.append(
            "Energy cannot be measured here (processors by RAPL, usually for root alone; GPUs by NVML, with "
            "limbeck[energy]); --watts W gives an estimate."
        )
    if any(found is not None and not found["measured"] for found in energies):
        said.append(f"Energy is an estimate: {settings.watts:g} W × time.")
    if any(one["training"] is None for one in measured):
        said.append("A model outside a run directory has no log of its training.")
    return said
