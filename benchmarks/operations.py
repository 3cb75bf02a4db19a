"""Where time goes by kind of operation, by torch's profiler."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# Part of an operation's name -> kind; the first that fits.
KINDS_OF_OPERATION: dict[str, tuple[str, ...]] = {
    "attention": ("scaled_dot_product", "flash", "fmha", "_PackedAttention"),
    "matrix products": ("mm", "linear", "matmul", "gemm", "cutlass", "cublas", "nvjet"),
    "optimiser, norm of the gradient": ("adam", "norm.", "foreach_norm", "vector_norm", "linalg"),
    "layer norm": ("layer_norm", "layernorm"),
    "softmax and losses": ("softmax", "logsumexp", "_FusedSlotLoss", "cross_entropy", "nll"),
    "random numbers": ("random_", "bernoulli"),
    "gather and scatter": ("index", "gather", "scatter", "embedding", "nonzero", "take"),
    "copies, conversions, filling": ("copy", "clone", "cat", "fill", "zero", "empty", "pad", "to_"),
    "activation": ("gelu", "tanh", "silu", "erf"),
    "reductions": ("sum", "amax", "max", "min", "argsort", "sort", "cumsum", "any", "all", "reduce"),
}
OTHER, REST = "other element-wise", "between operations (Python, launches)"


def operations(work: Callable[[], Any], count: int, *, cuda: bool = False) -> dict[str, Any]:
    """Milliseconds by kind of operation, and the largest ones, of one of the `count` things that `work` does.

    On a GPU the kernels are counted, on a CPU the operators' own time on the threads that call them.
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as recorded:
        began = time.perf_counter()
        work()
        wall = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    largest: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if cuda and event.device_type != DeviceType.CUDA:
            continue
        spent[_kind(event.key)] += own / 1e3 / count
        largest[event.key] += own / 1e3 / count
    whole = 1000 * wall / count
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
