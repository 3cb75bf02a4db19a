"""Notices that a process of the group died or ended with an error, and ends this process too.

Every process sets a beat in the group's store once a second and looks at its neighbour's. A process of the
same machine is dead when the system no longer knows it; one of another machine when it has been silent for
`SILENT` seconds. What ended the run stands in the store, set once, so that every process tells the same.
See docs/scale.md.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BEAT = 1.0
"""Seconds between two signs of life."""
SILENT = 20.0
"""Seconds without one after which a process of another machine counts as dead."""
GRACE = 5.0
"""Seconds that a process has, once the run has ended elsewhere, to end by itself."""

AGAIN = "give the same command again to go on from the last checkpoint"


class Place(NamedTuple):
    """Where a process runs; `machine` tells two machines (and two containers) apart."""

    machine: str
    host: str
    pid: int


class End(NamedTuple):
    """What ended the run: the process that did (-1: not known), all exit codes, a line for the user or ""."""

    rank: int
    code: int
    line: str


def this_place() -> Place:
    """Where this process runs."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux alone has these; elsewhere the name must do
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return Place(" ".join(parts), parts[0], os.getpid())


def gone(pid: int) -> bool:
    """Whether a process of this machine has ended, also where nobody has asked for its exit code yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    with contextlib.suppress(OSError):  # no /proc, or it ended this moment, which the next look finds
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


class Watch:
    """Two threads of one process of the group, from `start` until `stop`.

    Args:
        connect: makes a connection to the group's store for these threads alone; one waiting on a shared
            connection would hold up the other.
        rank: this process.
        places: where each process runs, by rank.

    Attributes:
        end: what ended the run, once that is known.
        hooks: called before this process is ended from here, its main thread being busy or stuck.
    """

    def __init__(self, connect: Callable[[], Any], rank: int, places: Sequence[Place]) -> None:
        self.rank, self.places = rank, places
        self.end: End | None = None
        self.hooks: list[Callable[[], object]] = []
        self._connect = connect
        self._stopped = threading.Event()
        self._heard = time.monotonic()

    def start(self) -> None:
        """Begins to watch."""
        for work in (self._beats, self._guard):
            threading.Thread(target=work, name="limbeck watch", daemon=True).start()

    def stop(self) -> None:
        """Watches no longer: the main thread has taken the end into its own hands."""
        self._stopped.set()

    def publish(self, store: Any, end: End) -> End:
        """Sets what ended the run, unless another process did before; returns what holds."""
        held = store.compare_set("end", "", json.dumps(end))
        self.end = End(*json.loads(held))
        return self.end

    def look(self, store: Any) -> End | None:
        """What ended the run, if anything did: it stands in the store, or a process of this machine died."""
        if self.end is None and store.check(["end"]):
            self.end = End(*json.loads(store.get("end")))
        if self.end is None:
            for rank, place in enumerate(self.places):
                if place.machine == self.places[self.rank].machine and gone(place.pid):
                    self._died(store, rank, f"process {rank} of {len(self.places)} (pid {place.pid}) died")
        return self.end

    def dead(self) -> int:
        """How many processes of this machine are no more."""
        mine = self.places[self.rank].machine
        return sum(place.machine == mine and gone(place.pid) for place in self.places)

    def lost(self) -> End:
        """What ended the run when the store itself can no longer be reached."""
        first, here = self.places[0], self.places[self.rank].machine
        what = f"process 0 of {len(self.places)} (pid {first.pid}) died"
        if first.machine != here:
            what = f"process 0 on {first.host}, or torchrun there, cannot be reached any more"
        elif not gone(first.pid):
            what = "torchrun was ended"
        self.end = self.end or End(-1, 1, f"{what}; {AGAIN}")
        return self.end

    def speaks(self, store: Any) -> bool:
        """Whether this process is the one of its machine that tells the user what ended the run."""
        machine = self.places[self.rank].machine
        if store is not None:
            with contextlib.suppress(RuntimeError):
                return bool(store.add(f"told/{machine}", 1) == 1)
        here = [rank for rank, place in enumerate(self.places) if place.machine == machine]
        return self.rank == min(rank for rank in here if not gone(self.places[rank].pid))

    def _died(self, store: Any, rank: int, what: str) -> None:
        """Publishes a death, unless that process had reached the end of its work."""
        if not store.check([f"done/{rank}"]):
            self.publish(store, End(rank, 1, f"{what}; {AGAIN}"))

    def _beats(self) -> None:
        store: Any = None
        try:
            store = self._connect()
            neighbour, number = _Neighbour((self.rank + 1) % len(self.places)), 0
            while not self._stopped.wait(BEAT) and self.end is None:
                store.set(f"beat/{self.rank}", str(number := number + 1))
                self._heard = time.monotonic()
                if self.look(store) is None and neighbour.silent(store):
                    place = self.places[neighbour.rank]
                    if place.machine != self.places[self.rank].machine:
                        what = f"process {neighbour.rank} of {len(self.places)} on {place.host} died"
                        self._died(store, neighbour.rank, f"{what} or cannot be reached")
        except RuntimeError:  # what torch raises for a store that is gone
            self.lost()
        if self.end is not None:
            self._end_process(store)

    def _guard(self) -> None:
        """Ends the wait of `_beats` for a store on a machine that has lost its power or its network."""
        while not self._stopped.wait(BEAT) and self.end is None:
            elsewhere = self.places[0].machine != self.places[self.rank].machine
            if elsewhere and time.monotonic() - self._heard > SILENT:
                self.lost()
                self._end_process(None)

    def _end_process(self, store: Any) -> None:
        """Ends this process, its main thread having had `GRACE` seconds to do it in a better way."""
        if self._stopped.wait(GRACE):
            return
        assert self.end is not None
        if self.end.line and self.speaks(store):
            os.write(2, f"limbeck: {self.end.line}\n".encode())
        try:
            for hook in self.hooks:
                hook()
            if store is not None:
                store.add("ended", 1)
        finally:
            os._exit(self.end.code)


class _Neighbour:
    """The beats of one other process, as seen from here."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._last = b""
        self._since = time.monotonic()

    def silent(self, store: Any) -> bool:
        """Whether no new beat has come for `SILENT` seconds."""
        key = f"beat/{self.rank}"
        beat = store.get(key) if store.check([key]) else b""
        if beat != self._last:
            self._last, self._since = beat, time.monotonic()
        return time.monotonic() - self._since > SILENT
