"""`python -m limbeck.tasks.cost_memory TASK`: what a model takes in memory, in a process of its own.

Prints bytes as JSON: resident with the libraries loaded, with the model loaded, and the peaks of a forward of
one passage and of a batch; on a CUDA device also the peak of its memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys

import torch

from limbeck.tasks.cost_measure import MemoryTask
from limbeck.tasks.cost_source import open_model
from limbeck.training.progress import peak_memory, reset_peak_memory


def measure(task: MemoryTask) -> dict[str, int]:
    """To be called in a fresh process."""
    torch.set_num_threads(task.threads)
    libraries = _now(torch.device("cpu"))
    model = open_model(task.model, device=task.device, precision=task.precision, threads=task.threads)
    found = {"libraries": libraries, "loaded": _now(model.device)}
    for name, rows in (("peak_one", 1), ("peak_batch", task.batch)):
        reset_peak_memory(model.device)
        with torch.inference_mode():
            call = model.call(rows, task.length)
            for _ in range(3):
                call()
        found[name], device = peak_memory(model.device)
        if device:
            found[f"{name}_device"] = device
    return found


def _now(device: torch.device) -> int:
    """Bytes resident now, without what the allocator keeps for later."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory(device)
    return peak_memory(device)[0]


if __name__ == "__main__":
    print(json.dumps(measure(MemoryTask(**json.loads(sys.argv[1])))))
