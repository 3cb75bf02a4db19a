"""Speed of all variants in turns, peak memory of each alone."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rivals_flops import Product, step_flops
from rivals_others import NotInstalledError
from rivals_setting import RivalMade, RivalSetting
from rivals_variants import KINDS
from step_measure import _status, spread
from step_setting import SAME
from step_variants import Variant

PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}
Rates = dict[str, list[float]]


def build(made: RivalMade, names: Sequence[str]) -> tuple[dict[str, Variant], dict[str, str]]:
    """The variants of these names (`kind precision`), and why others are not there."""
    variants: dict[str, Variant] = {}
    absent: dict[str, str] = {}
    for name in names:
        kind, precision = name.split()
        try:
            variants[name] = KINDS[kind].make(made, precision)
        except NotInstalledError as error:
            absent[name] = str(error)
    return variants, absent


def speed(
    setting: RivalSetting, names: Sequence[str], rounds: int, steps: int | None = None
) -> dict[str, Any]:
    """Tokens per second of every variant, and the machine's peak, in turns: each round in another order.

    Args:
        names: of the variants.
        rounds: turns that every variant takes.
        steps: of a turn; None: each variant's own number.
    """
    made = RivalMade(setting)
    variants, absent = build(made, names)
    for variant in variants.values():
        variant(0)  # the first step makes the optimiser's moments and warms everything up
    products = {
        precision: Product(setting.product, dtype, made.device) for precision, dtype in PRECISIONS.items()
    }
    order = list(variants)
    rates: Rates = defaultdict(list)
    peaks: Rates = defaultdict(list)
    done: dict[str, int] = defaultdict(int)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            rates[name].append(_turn(variants[name], done, name, steps or KINDS[name.split()[0]].steps))
        for precision, product in products.items():
            peaks[precision].append(product())
    return {
        "tokens_per_second": {name: spread(rates[name]) for name in order},
        "milliseconds_per_step": {
            name: 1000 * _tokens(made) / statistics.median(rates[name]) for name in order
        },
        "matrix_product": {precision: spread(found) for precision, found in peaks.items()},
        "flops": {name: _flops(made, name) for name in order},
        "absent": absent,
    }


def _turn(variant: Variant, done: dict[str, int], name: str, steps: int) -> float:
    """Tokens per second over some steps; batches go on where the variant's last turn ended."""
    tokens, began = 0, time.perf_counter()
    for _ in range(steps):
        done[name] += 1
        tokens += variant(done[name])
    return tokens / (time.perf_counter() - began)


def _tokens(made: RivalMade) -> float:
    count = made.setting.batches
    return sum(made.collate(n).tokens for n in range(count)) / count


def _flops(made: RivalMade, name: str) -> dict[str, float]:
    """Operations of a step on average over the batches."""
    kind = KINDS[name.split()[0]]
    student = made.new_student()
    teachers = [p.teacher.module for p in made.placed(SAME, "f32")] if kind.teachers else []
    found = [step_flops(student, teachers, made.collate(n), kind.full) for n in range(made.setting.batches)]
    return {what: statistics.mean(getattr(each, what) for each in found) for what in ("needed", "done")}


def memory(setting: RivalSetting, name: str, steps: int) -> dict[str, int] | None:
    """Bytes in use after models and optimiser are built, and the most beyond that in some steps.

    Resident size on the CPU, the allocator's own count on a GPU. To be called in a fresh process. AdamW's
    moments are made in the first step, so they count as part of the peak. None: the variant is not there.
    """
    made = RivalMade(setting)
    variants, _ = build(made, [name])
    if not variants:
        return None
    variant = variants[name]
    made.collate(0, variant.which)  # reads the text
    gc.collect()
    if made.device.type == "cuda":
        before = torch.cuda.memory_allocated(made.device)
        torch.cuda.reset_peak_memory_stats(made.device)
    else:
        ctypes.CDLL(None).malloc_trim(0)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM, the peak, back to the present size
    for number in range(steps):
        variant(number)
    cuda = made.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(made.device) if cuda else _status("VmHWM")
    return {"before": before, "over": peak - before}
