"""What a forward costs: operations by torch's counter, latency, throughput, memory in its own process."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from limbeck.errors import UserError
from limbeck.tasks.cost_model import Call, Loaded, random_ids
from limbeck.teachers.teacher import is_out_of_memory
from limbeck.training.energy import Meter

MOST_ROWS, MOST_PIECES = 512, 1 << 16
"""Where the search for the best batch ends: passages and pieces of one forward."""

# A batch that is not this much faster per passage than the best so far has gained nothing.
_GAIN = 1.02
_WARM = 3
_LEAST = 5

Wait = Callable[[], None]


@dataclass(frozen=True)
class Times:
    """Seconds of repeated forwards: median, 95th percentile, lowest, highest, and how many."""

    p50: float
    p95: float
    low: float
    high: float
    repetitions: int

    def __post_init__(self) -> None:
        assert self.repetitions > 0


def waiter(device: torch.device) -> Wait:
    """A function that returns when the device has done what it was given."""
    if device.type == "cpu":
        return lambda: None
    return torch.accelerator.synchronize


def timed(call: Call, seconds: float, wait: Wait, *, warm: int = _WARM, least: int = _LEAST) -> Times:
    """Times of `call`, repeated for about so many seconds after `warm` calls that do not count."""
    with torch.inference_mode():
        for _ in range(warm):
            call()
        wait()
        taken: list[float] = []
        last = time.perf_counter()
        end = last + seconds
        while len(taken) < least or last < end:
            began = time.perf_counter()
            call()
            wait()
            last = time.perf_counter()
            taken.append(last - began)
    p50, p95 = np.percentile(taken, [50, 95])
    return Times(float(p50), float(p95), min(taken), max(taken), len(taken))


@dataclass(frozen=True)
class Tried:
    """A batch of so many passages, and its lowest seconds: a few forwards on a machine with other work."""

    batch: int
    seconds: float


def best_batch(
    call_of: Callable[[int], Call], length: int, seconds: float, wait: Wait
) -> tuple[int, list[Tried]]:
    """The number of passages with the most passages per second, among powers of two, and all that was tried.

    Larger ones are tried for as long as they pay, fit the memory, and take less than `seconds` at a time.

    Args:
        call_of: makes the forward of a number of passages. length: pieces of a passage.
    """
    tried: list[Tried] = []
    best, rate, stale = 1, 0.0, 0
    rows = 1
    while rows <= MOST_ROWS and rows * length <= max(length, MOST_PIECES) and stale < 2:
        try:
            taken = timed(call_of(rows), seconds / 8, wait, warm=1, least=2).low
        except (MemoryError, RuntimeError) as error:
            if not tried or not (isinstance(error, MemoryError) or is_out_of_memory(error)):
                raise
            break  # what fits less than the best batch so far is no candidate
        tried.append(Tried(rows, taken))
        if rows / taken > _GAIN * rate:
            best, rate, stale = rows, rows / taken, 0
        else:
            stale += 1
        if taken > seconds:
            break
        rows *= 2
    return best, tried


@contextmanager
def written_out_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention as matrix products, because torch's counter knows no fused kernel of the CPU."""
    before = model.config._attn_implementation
    if not model._can_set_attn_implementation():
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def macs_per_token(loaded: Loaded, length: int, device: torch.device) -> float:
    """Multiply–accumulates of one passage of `length` pieces with its head, over its pieces.

    Counted by `torch.utils.flop_counter`, which counts matrix products and convolutions alone (two operations
    each multiply–accumulate); norms, softmax and the look-up of embeddings are left out, as is usual.
    Attention is counted in full also where a layer looks only at its neighbourhood.
    """
    ids = random_ids(loaded.tokenizer, 1, length).to(device)
    call = loaded.call(ids)
    with written_out_attention(loaded.model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 2 / length


def measure_length(
    call_of: Callable[[int], Call], length: int, seconds: float, wait: Wait, meter: Meter | None = None
) -> dict[str, Any]:
    """Latency at batch 1 and throughput at the best batch, of passages of `length` pieces.

    With a meter also `joules_per_1000_passages`, at the best batch; else that is None.
    """
    alone = timed(call_of(1), seconds, wait)
    best, tried = best_batch(call_of, length, seconds, wait)
    call = call_of(best)
    timed(call, 0, wait)
    before = meter.joules() if meter else 0.0
    full = timed(call, seconds, wait, warm=0)
    used = meter.joules() - before if meter else None
    return {
        "length": length,
        "latency": {
            "p50_ms": 1000 * alone.p50,
            "p95_ms": 1000 * alone.p95,
            "low_ms": 1000 * alone.low,
            "high_ms": 1000 * alone.high,
            "repetitions": alone.repetitions,
        },
        "throughput": {
            "batch": best,
            "passages_per_second": best / full.p50,
            "tokens_per_second": best * length / full.p50,
            "low_tokens_per_second": best * length / full.high,
            "high_tokens_per_second": best * length / full.low,
            "repetitions": full.repetitions,
            "tried": [{"batch": t.batch, "tokens_per_second": t.batch * length / t.seconds} for t in tried],
        },
        "joules_per_1000_passages": None if used is None else 1000 * used / (full.repetitions * best),
    }


@dataclass(frozen=True)
class MemoryTask:
    """What the process that measures memory is told. batch: passages of `length` pieces."""

    model: str
    precision: str
    device: str
    threads: int
    length: int
    batch: int


def memory_of(task: MemoryTask) -> dict[str, int]:
    """Resident sizes in bytes of a fresh process that loads the model and runs it (see tasks/cost_memory.py).

    Raises:
        UserError: the system ended the process.
        RuntimeError: it failed by itself; with the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "limbeck.tasks.cost_memory", json.dumps(asdict(task))],
        capture_output=True,
        text=True,
    )
    if done.returncode < 0:
        raise UserError(
            f"the process that measures the memory of {task.model!r} was ended by signal {-done.returncode}, "
            "most likely for lack of memory; free some, or measure shorter --lengths"
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise RuntimeError(f"the process that measures memory ended with {done.returncode}: {said[0]}")
    return {name: int(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def free_memory() -> None:
    """Gives back what is no longer used, so that the next model is measured alone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
