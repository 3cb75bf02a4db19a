"""Where the time of a step goes: by kind of operation (torch's profiler), and by part of Limbeck's step."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rivals_measure import build
from rivals_setting import RivalMade, RivalSetting
from step_measure import HEAD_FORWARD, LOSS_BACKWARD, LOSS_FORWARD, Parts, stopwatch, timed_step
from step_variants import Variant
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from limbeck.distill import stored

# Part of an operation's name -> kind; the first that fits.
KINDS_OF_OPERATION: dict[str, tuple[str, ...]] = {
    "attention": ("scaled_dot_product", "flash", "fmha"),
    "matrix products": ("mm", "linear", "matmul", "gemm", "cutlass", "cublas", "nvjet"),
    "optimiser, norm of the gradient": ("adam", "norm.", "foreach_norm", "vector_norm", "linalg"),
    "layer norm": ("layer_norm", "layernorm"),
    "softmax and losses": ("softmax", "logsumexp", "_FusedSlotLoss", "cross_entropy", "nll"),
    "gather and scatter": ("index", "gather", "scatter", "embedding", "nonzero", "take"),
    "copies, conversions, filling": ("copy", "clone", "cat", "fill", "zero", "empty", "pad", "to_"),
    "activation": ("gelu", "tanh", "silu", "erf"),
    "reductions": ("sum", "amax", "max", "min", "argsort", "sort", "cumsum", "any", "all", "reduce"),
}
OTHER, REST = "other element-wise", "between operations (Python, launches)"


def profiled(setting: RivalSetting, name: str, steps: int) -> dict[str, Any]:
    """Of one variant: `operations` and, on a CPU, `parts`."""
    made = RivalMade(setting)
    variant = build(made, [name])[0][name]
    for number in range(2):
        variant(number)
    return {
        "operations": operations(made, variant, steps),
        "parts": parts(variant, steps) if made.device.type == "cpu" else None,
    }


def operations(made: RivalMade, variant: Variant, steps: int) -> dict[str, Any]:
    """Milliseconds of a step by kind of operation.

    On a GPU the kernels are counted, on a CPU the operators' own time on the threads that call them.
    """
    cuda = made.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as recorded:
        began = time.perf_counter()
        for number in range(2, 2 + steps):
            variant(number)
        wall = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    largest: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if cuda and event.device_type != DeviceType.CUDA:
            continue
        spent[_kind(event.key)] += own / 1e3 / steps
        largest[event.key] += own / 1e3 / steps
    whole = 1000 * wall / steps
    spent[REST] = max(0.0, whole - sum(spent.values()))
    order = sorted(spent, key=lambda kind: -spent[kind])
    top = sorted(largest, key=lambda key: -largest[key])[:12]
    return {
        "milliseconds": {kind: spent[kind] for kind in order},
        "share": {kind: spent[kind] / whole for kind in order},
        "largest": {key: largest[key] for key in top},
    }


def _kind(operation: str) -> str:
    name = operation.lower()
    for kind, signs in KINDS_OF_OPERATION.items():
        if any(sign.lower() in name for sign in signs):
            return kind
    return OTHER


@contextmanager
def _stored_loss(watch: Parts) -> Iterator[None]:
    """The marks of `stopwatch` around the loss, for the store-fed step."""
    sparse_slot_loss = stored.sparse_slot_loss

    def loss(*arguments: Any) -> Any:
        watch.mark(HEAD_FORWARD)
        arguments[0].register_hook(lambda _: watch.mark(LOSS_BACKWARD))
        found = sparse_slot_loss(*arguments)
        watch.mark(LOSS_FORWARD)
        return found

    with patch.object(stored, "sparse_slot_loss", loss):
        yield


def parts(variant: Variant, steps: int) -> dict[str, Any]:
    """Medians of the parts of Limbeck's step, between stopwatches in the real code."""
    taken: dict[str, list[float]] = defaultdict(list)
    with stopwatch(variant) as watch, _stored_loss(watch):
        for number in range(1, steps + 1):
            watch.start()
            timed_step(variant, watch, number)
            for part, seconds in watch.seconds.items():
                taken[part].append(seconds)
    medians = {part: statistics.median(values) for part, values in taken.items()}
    whole = sum(medians.values())
    return {
        "milliseconds": {part: 1000 * seconds for part, seconds in medians.items()},
        "share": {part: seconds / whole for part, seconds in medians.items()},
    }
