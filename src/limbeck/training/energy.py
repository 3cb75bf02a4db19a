"""Joules, where the machine can measure them; nothing where it cannot: a value is never made up.

Processors by RAPL (Linux's powercap files; since 2020 only root may read them on most systems), NVIDIA's GPUs
by NVML (the `energy` extra). Both count all that runs there, not this process alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
JOULES_PER_KWH = 3.6e6


class Counter:
    """Joules that have been used since it was made, by a counter that starts again at `wrap`.

    A processor's counter goes round in as little as twenty minutes: ask more often.
    """

    def __init__(self, read: Callable[[], float], wrap: float | None = None) -> None:
        self._read, self._wrap = read, wrap
        self._last, self._sum = read(), 0.0

    def joules(self) -> float:
        """Since it was made."""
        now = self._read()
        step = now - self._last
        if step < 0 and self._wrap is not None:
            step += self._wrap
        self._last, self._sum = now, self._sum + max(step, 0.0)
        return self._sum


class Meter:
    """Several counters as one. `source` says what they count: `processor and memory (RAPL)`."""

    def __init__(self, counters: list[Counter], source: str) -> None:
        self._counters, self.source = counters, source

    def joules(self) -> float:
        """Since it was made."""
        return sum(counter.joules() for counter in self._counters)


class RunEnergy:
    """Joules of all sessions of a training run; None as soon as part of it was not measured.

    Measured where one process trains alone: several may be on several machines. `source` as `Meter.source`.
    """

    def __init__(self, device: torch.device, *, processes: int) -> None:
        self._meter = find_meter(device) if processes == 1 else None
        self._before: float | None = 0.0
        self.source = self._meter.source if self._meter else None

    def go_on(self, joules: float | None, source: str | None) -> None:
        """After a session that used so much, by that source; None: it was not measured, or not all of it."""
        self._before = joules if source == self.source else None

    def joules(self) -> float | None:
        """Up to now."""
        if self._meter is None or self._before is None:
            return None
        return self._before + self._meter.joules()


def find_meter(device: torch.device) -> Meter | None:
    """What can be measured for work on `device`; None where nothing can.

    Of a GPU its own energy and the processors', if both are there; else the one that is.
    """
    rapl, gpu = _rapl(POWERCAP), _nvml(device) if device.type == "cuda" else []
    named = [("processor (RAPL)", rapl), ("GPU (NVML)", gpu)]
    if device.type != "cpu" and not gpu:  # the processor's part alone would look like the whole
        return None
    found = [(name, counters) for name, counters in named if counters]
    if not found:
        return None
    return Meter([c for _, counters in found for c in counters], " and ".join(name for name, _ in found))


def _rapl(folder: Path) -> list[Counter]:
    """A counter for each processor package and its memory; none where they are absent or locked."""
    counters = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's processors have the same name
        with contextlib.suppress(OSError):  # no counter there, or for root alone: not measured
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                counters.append(_zone(zone))
    return counters


def _zone(zone: Path) -> Counter:
    wrap = int((zone / "max_energy_range_uj").read_text()) / 1e6
    return Counter(lambda: int((zone / "energy_uj").read_text()) / 1e6, wrap)


def _nvml(device: torch.device) -> list[Counter]:
    """A counter for this GPU (Volta and newer); none without the extra or where it has none."""
    try:
        import pynvml
    except ImportError:
        return []
    index = torch.cuda.current_device() if device.index is None else device.index
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return [Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)]
    except pynvml.NVMLError:  # an old GPU, or a driver that does not tell: not measured
        return []
