"""What `torch.compile` of a teacher's body is worth: its warm-up, and the forward with and without it."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from rivals_setting import RivalMade, RivalSetting
from step_setting import SAME


def compiled(setting: RivalSetting, precision: str, turns: int) -> dict[str, Any] | None:
    """Milliseconds of a teacher's forward in turns, compiled and as it is; None without a C++ compiler.

    To be called in a fresh process. Shapes are dynamic, as no two batches are alike. after_steps: from how
    many steps on the time of compiling has come back.
    """
    if shutil.which("g++") is None:
        return None
    made = RivalMade(setting)
    plain, fast = (placed.teacher for placed in made.placed(SAME, precision))
    asked = [made.collate(n, SAME).teachers[0] for n in range(setting.batches)]
    body = fast.module.model.base_model
    body.forward = torch.compile(body.forward, dynamic=True)
    began = time.perf_counter()
    for batch in asked:
        fast.logits(batch)
    warm_up = time.perf_counter() - began
    spent: dict[str, list[float]] = defaultdict(list)
    for turn in range(turns):
        for name, teacher in (("plain", plain), ("compiled", fast)):
            began = time.perf_counter()
            teacher.logits(asked[turn % len(asked)])
            spent[name].append(1000 * (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in spent.items()}
    saved = (medians["plain"] - medians["compiled"]) / 1000
    return {
        "warm_up_seconds": warm_up,
        "milliseconds": medians,
        "after_steps": warm_up / saved if saved > 0 else None,
    }
