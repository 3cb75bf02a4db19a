"""Speed, peak memory, and where the time of a step goes."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from step_setting import Made, Setting
from step_variants import VARIANTS, Ours

from limbeck.distill import step as step_module
from limbeck.distill import weighting
from limbeck.distill.mixture import Mixture
from limbeck.teachers import families
from limbeck.teachers.teacher import Teacher
from limbeck.training.interface import StepContext

RATIOS = (("online", "usual"), ("online_other", "usual"), ("online", "plain"))


def spread(values: list[float]) -> dict[str, Any]:
    """Median, lowest, highest, and the values by round."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": values}


# glibc gives big blocks back to the system at once and asks for them again in the next step; then the system
# must clear their pages. These make it keep them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


# Both sides in the same memory: Limbeck would have torch ask for large pages.
SMALL_PAGES = {"THP_MEM_ALLOC_ENABLE": "0"}


def isolated(function: Callable[..., Any], *arguments: Any, environment: dict[str, str] | None = None) -> Any:
    """The function's result in a fresh process, with more environment variables."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments))
    with patch.dict(os.environ, environment or {}):
        process.start()
    sender.close()
    try:
        return receiver.recv()  # EOFError: it failed, and its traceback is on stderr
    finally:
        process.join()


def _send(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What the fresh process does."""
    sender.send(function(*arguments))


def speed(setting: Setting, precision: str, rounds: int, steps: int) -> dict[str, Any]:
    """Tokens per second of every variant, in turns: round by round, each round in another order."""
    made, names = Made(setting), list(VARIANTS)
    variants = {name: VARIANTS[name](made, precision) for name in names}
    for variant in variants.values():
        variant(0)  # the first step makes the optimiser's moments and warms everything up
    rates: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            tokens, began = 0, time.perf_counter()
            for number in range(steps):
                tokens += variants[name](1 + turn * steps + number)
            rates[name].append(tokens / (time.perf_counter() - began))
    ratios = {
        f"{one} / {other}": spread([a / b for a, b in zip(rates[one], rates[other], strict=True)])
        for one, other in RATIOS
    }
    return {"tokens_per_second": {name: spread(rates[name]) for name in names}, "ratios": ratios}


def memory(setting: Setting, precision: str, name: str, steps: int) -> dict[str, int]:
    """Bytes resident after models and optimiser are built, and the most beyond that in some steps.

    To be called in a fresh process. AdamW's moments are made in the first step, so they count as part of the
    peak.
    """
    made = Made(setting)
    variant = VARIANTS[name](made, precision)
    made.collate(0, variant.which)  # reads the text
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM, the peak, back to the present size
    for number in range(steps):
        variant(number)
    return {"before": before, "over": _status("VmHWM") - before}


def _status(field: str) -> int:
    """A size of this process, in bytes (Linux)."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, field
    return int(found[1]) * 1024


class Parts:
    """A stopwatch: the time since the last mark goes to the part that is named now."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Of a new step."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.first = self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now

    def around(self, function: Callable[..., Any], before: str, part: str) -> Callable[..., Any]:
        """`function`, timed as `part`; what came before it is of the part `before`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self.mark(before)
            found = function(*arguments, **named)
            self.mark(part)
            return found

        return timed


TEACHERS, PROJECTION, WEIGHTS, MIXTURE = "teachers", "softmax and projection", "weights", "mixture"
BODY_FORWARD, HEAD_FORWARD, LOSS_FORWARD = (
    "student's body, forward",
    "student's head, forward",
    "loss, forward",
)
LOSS_BACKWARD, HEAD_BACKWARD = "loss, backward", "student's head, backward"
BODY_BACKWARD = "student's body, backward"
DATA, METRICS, CLIPPING, OPTIMISER = "data (collation)", "metrics", "clipping", "optimiser"


def parts(setting: Setting, precision: str, which: tuple[int, ...], steps: int) -> dict[str, Any]:
    """Where the time of an online step goes: medians of the parts, and their shares of the step.

    The real code runs; stopwatches stand between its parts.
    """
    variant = Ours(Made(setting), precision, which)
    variant(0)
    taken: dict[str, list[float]] = defaultdict(list)
    with stopwatch(variant) as watch:
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


def timed_step(variant: Ours, watch: Parts, number: int) -> None:
    """As `Variant.__call__`, with marks."""
    batch = variant.made.collate(number, variant.which)
    watch.mark(DATA)
    loss, count, _ = variant.step(variant.forward, batch, StepContext(0, 1))
    watch.mark(METRICS)
    (loss / count).backward()
    watch.mark(BODY_BACKWARD)
    step_of = variant.optimiser.step
    with patch.object(variant.optimiser, "step", watch.around(step_of, CLIPPING, OPTIMISER)):
        variant.update()
    watch.mark(OPTIMISER)


@contextmanager
def stopwatch(variant: Ours) -> Iterator[Parts]:
    """Marks between the parts of the step."""
    watch = Parts()
    head = families.head_of(variant.student.model)
    backbone = variant.student.model.base_model
    assert head is not None

    def loss(*arguments: Any) -> Any:
        watch.mark(HEAD_FORWARD)
        arguments[0].register_hook(lambda _: watch.mark(LOSS_BACKWARD))
        found = step_module_loss(*arguments)
        watch.mark(LOSS_FORWARD)
        return found

    step_module_loss = step_module.fused_slot_loss
    with ExitStack() as stack:
        for owner, name, before, part in (
            (Teacher, "logits", PROJECTION, TEACHERS),
            (step_module, "predict", PROJECTION, PROJECTION),
            (weighting, "stats", PROJECTION, WEIGHTS),
            (Mixture, "targets", LOSS_FORWARD, MIXTURE),
        ):
            timed = watch.around(getattr(owner, name), before, part)
            stack.enter_context(patch.object(owner, name, timed))
        stack.enter_context(patch.object(step_module, "fused_slot_loss", loss))
        handles = [
            backbone.register_forward_pre_hook(lambda *_: watch.mark(WEIGHTS)),
            backbone.register_forward_hook(lambda *_: watch.mark(BODY_FORWARD)),
            head.register_forward_hook(
                lambda _, given, __: given[0].register_hook(lambda _: watch.mark(HEAD_BACKWARD)) and None
            ),
        ]
        yield watch
        for handle in handles:
            handle.remove()
