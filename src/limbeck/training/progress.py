"""What the loop shows and listens to: averages of metrics, one progress bar or plain lines, and signals."""

import contextlib
import logging
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from limbeck.run import Run

_log = logging.getLogger(__name__)
SAME_KEYSTROKE = 0.5
"""Seconds within which a second signal counts as the first."""
LINE_EVERY = 5.0
"""Seconds from one line on stderr to the next, where it is no terminal."""


class Window:
    """Sums and weights of metrics since the log's last line; a metric's value is sum over weight."""

    def __init__(self, sums: Mapping[str, list[float]] | None = None) -> None:
        self.sums: dict[str, list[float]] = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, name: str, total: float, weight: float) -> None:
        """Adds to a metric's sum and weight."""
        pair = self.sums.setdefault(name, [0.0, 0.0])
        pair[0] += total
        pair[1] += weight

    def merge(self, others: list[dict[str, list[float]]]) -> None:
        """Takes the sums of `others` (one per process, by rank) in place of its own."""
        self.sums = {}
        for other in others:
            for name, (total, weight) in other.items():
                self.add(name, total, weight)

    def averages(self) -> dict[str, float]:
        """Value of each metric; one whose weight is 0 was not measured and is left out."""
        return {name: total / weight for name, (total, weight) in self.sums.items() if weight}


class Interruption:
    """In its `with` block Ctrl-C and SIGTERM only set `asked`; a second one raises KeyboardInterrupt at once.

    A second one within half a second is the same keystroke, passed on by make, torchrun or a shell. Signals
    can be caught in the main thread only; elsewhere they act as before. `quiet`: says nothing, as all but one
    of several processes.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.asked = False
        self.quiet = quiet
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if time.monotonic() - self._first < SAME_KEYSTROKE:
                return
            raise KeyboardInterrupt
        self.asked, self._first = True, time.monotonic()
        if number == signal.SIGINT and not self.quiet:
            line = b"\nstopping after this step (once more: at once, without saving)\n"
            os.write(2, line)  # print() may be at work

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Progress:
    """One bar on a terminal, elsewhere the first and the last line and one in `LINE_EVERY` seconds between.

    `log.txt` gets a line at each `show`.
    """

    def __init__(self, run: Run, steps: int, done: int) -> None:
        self.run, self.steps, self.first = run, steps, done
        self.terminal = run.main and sys.stderr.isatty()
        self.said = -LINE_EVERY  # time.monotonic() starts at 0 or more
        self.bar = tqdm(
            total=steps, initial=done, unit="step", disable=not self.terminal, dynamic_ncols=True, leave=False
        )

    @contextlib.contextmanager
    def open(self) -> Iterator["Progress"]:
        """Keeps log lines above the bar while it is shown, and takes it away at the end."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.bar.close)
            if self.terminal:
                loggers = [logging.getLogger(), logging.getLogger("limbeck")]
                stack.enter_context(logging_redirect_tqdm([one for one in loggers if _on_console(one)]))
            yield self

    def advance(self) -> None:
        """One step is done."""
        self.bar.update(1)

    def show(self, step: int, values: Mapping[str, float], seconds_left: float) -> None:
        """Shows loss and speed, and the time left where there is no bar to tell it."""
        speed = f"{values['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in values else ""
        loss = f"loss {values['loss']:.4f}" if "loss" in values else "no loss"
        line = f"step {step:,} of {self.steps:,} · {loss} · {speed} · {duration(seconds_left)} left"
        if self.terminal:
            self.bar.set_postfix_str(f"{loss}, {speed}")
            self.run.note(line)
        elif self.run.main:
            now = time.monotonic()
            if step == self.steps or now - self.said >= LINE_EVERY:
                self.said = now
                _log.info(line)
            else:
                self.run.note(line)


def _on_console(logger: logging.Logger) -> bool:
    """Whether it shows anything there; tqdm would give one that does not a handler that does."""
    streams = [handler.stream for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    return any(stream in (sys.stdout, sys.stderr) for stream in streams)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def reset_peak_memory(device: torch.device) -> None:
    """Starts what `peak_memory` measures, where the system lets us: Linux, and CUDA devices."""
    with contextlib.suppress(OSError):  # another system or a locked one: the peak is the process's, as told
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> tuple[int, int]:
    """Highest resident size of this process, highest memory of tensors on a CUDA `device`, in bytes.

    Both since `reset_peak_memory`, and the first with all that was resident then: libraries, teachers, the
    pages of mapped files. Where the resident size's peak cannot be reset (other systems than Linux, a
    process that may not write to `/proc`), it is that of the process's whole life.
    """
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    if found:
        resident = int(found[1]) * 1024
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return resident, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
