"""Where the time of a step goes: by kind of operation (torch's profiler), and by part of Limbeck's step."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from operations import operations
from rivals_hosts import build
from rivals_setting import RivalMade, RivalSetting
from step_measure import HEAD_FORWARD, LOSS_BACKWARD, LOSS_FORWARD, Parts, stopwatch, timed_step
from step_variants import Variant

from limbeck.distill import stored


def profiled(setting: RivalSetting, name: str, steps: int) -> dict[str, Any]:
    """Of one variant: `operations` and, on a CPU, `parts`."""
    made = RivalMade(setting)
    variant = build(made, [name])[0][name]
    for number in range(2):
        variant(number)
    return {
        "operations": operations(
            lambda: [variant(number) for number in range(2, 2 + steps)],
            steps,
            cuda=made.device.type == "cuda",
        ),
        "parts": parts(variant, steps) if made.device.type == "cpu" else None,
    }


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
