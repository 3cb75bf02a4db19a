"""Speed of all variants in turns, peak memory of each alone."""

from __future__ import annotations

import ctypes
import gc
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rivals_hosts import PRECISIONS, build, hosted
from rivals_setting import RivalMade, RivalSetting
from rivals_variants import KINDS
from step_measure import _status, spread

Rates = dict[str, list[float]]


def speed(
    setting: RivalSetting,
    names: Sequence[str],
    rounds: int,
    steps: int | None,
    others: dict[str, str],
) -> dict[str, Any]:
    """Tokens per second of every variant, and the machine's peak, in turns: each round in another order.

    Limbeck's variants stand in one process, those of the other programs in another.

    Args:
        names: of the variants.
        rounds: turns that every variant takes.
        steps: of a turn; None: each variant's own number.
        others: environment variables of the other programs.
    """
    theirs = [name for name in names if KINDS[name.split()[0]].full]
    ours = [name for name in names if name not in theirs]
    rates: Rates = defaultdict(list)
    peaks: Rates = defaultdict(list)
    with ExitStack() as stack:
        ask, ask_others = (
            stack.enter_context(hosted(setting, some, environment))
            for some, environment in ((ours, {}), (theirs, others))
        )
        facts, more = ask("facts"), ask_others("facts")
        absent, flops = (facts[what] | more[what] for what in ("absent", "flops"))
        order = [name for name in names if name not in absent]
        for turn in range(rounds):
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                host = ask if name in ours else ask_others
                rates[name].append(host("turn", name, steps or KINDS[name.split()[0]].steps))
            for precision in PRECISIONS:
                peaks[precision].append(ask("product", precision))
    found = {name: spread(rates[name]) for name in order}
    return {
        "tokens_per_second": found,
        "milliseconds_per_step": {
            name: 1000 * facts["tokens"] / rate["median"] for name, rate in found.items()
        },
        "matrix_product": {precision: spread(found) for precision, found in peaks.items()},
        "flops": {name: flops[name] for name in order},
        "absent": absent,
    }


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
