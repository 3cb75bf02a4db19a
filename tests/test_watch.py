"""The watch over other processes: deaths here and on other machines, a lost store, who tells the user."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import TCPStore

from limbeck.processes import watch as watch_module
from limbeck.processes.watch import End, Place, Watch, gone, this_place

HERE = this_place()
ELSEWHERE = Place("another machine", "other-host", 4711)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(watch_module, "BEAT", 0.02)
    monkeypatch.setattr(watch_module, "SILENT", 0.3)
    monkeypatch.setattr(watch_module, "GRACE", 600.0)  # ends the test's own process otherwise
    return TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=5))


def until(happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def watching(store: Any, rank: int, *places: Place) -> Watch:
    made = Watch(lambda: TCPStore("127.0.0.1", store.port, 1, False, timedelta(seconds=5)), rank, places)
    made.start()
    return made


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_this_process_lives_and_a_zombie_does_not() -> None:
    assert not gone(os.getpid())
    assert gone(dead_process())
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: gone(process.pid))  # nobody has waited for it yet
    process.wait()


def test_a_silent_machine_is_named(store: Any) -> None:
    watch = watching(store, 0, HERE, ELSEWHERE)
    for beat in range(20):
        store.set("beat/1", str(beat))
        time.sleep(0.02)
    assert watch.end is None
    until(lambda: watch.end is not None)
    watch.stop()
    assert watch.end is not None
    assert (watch.end.rank, watch.end.code) == (1, 1)
    assert watch.end.line.startswith("process 1 of 2 on other-host died or cannot be reached; give the same")


def test_a_process_that_had_done_its_work_is_not_dead(store: Any) -> None:
    store.set("done/1", "")
    watch = watching(store, 0, HERE, HERE._replace(pid=dead_process()))
    time.sleep(0.2)
    watch.stop()
    assert watch.end is None


def test_what_ended_the_run_is_set_once(store: Any) -> None:
    watches = [Watch(lambda: store, rank, [HERE, HERE]) for rank in range(2)]
    first = watches[1].publish(store, End(1, 2, "first"))
    assert watches[0].publish(store, End(0, 1, "second")) == first == End(1, 2, "first")
    assert watches[0].look(store) == first
    assert [watch.speaks(store) for watch in watches] == [True, False]


def test_each_machine_is_told(store: Any) -> None:
    places = [HERE, ELSEWHERE, HERE]
    told = [Watch(lambda: store, rank, places).speaks(store) for rank in (2, 1, 0)]
    assert told == [True, True, False]


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (HERE, "torchrun was ended"),
        (ELSEWHERE, "process 0 on other-host, or torchrun there, cannot be reached any more"),
    ],
)
def test_a_lost_store_ends_the_run(store: Any, first: Place, line: str) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", "import sys, torch.distributed as d; s = d.TCPStore('127.0.0.1', 0, 1, True);"
         "print(s.port, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout
    port = int(server.stdout.readline())
    watch = Watch(lambda: TCPStore("127.0.0.1", port, 1, False, timedelta(seconds=5)), 1, [first, HERE])
    watch.start()
    time.sleep(0.1)
    server.kill()
    server.wait()
    until(lambda: watch.end is not None)
    watch.stop()
    assert watch.end is not None
    assert watch.end.line.startswith(line)
    assert watch.speaks(None) is (first is ELSEWHERE), "the lowest process that is left here"


def test_a_store_on_a_machine_without_power_ends_the_run(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes back and nothing breaks: only the clock tells. A suspended torchrun is no such case."""

    def hangs() -> Any:
        time.sleep(60)

    ended: list[Watch] = []
    monkeypatch.setattr(Watch, "_end_process", lambda self, store: ended.append(self))
    watches = [Watch(hangs, 1, [first, HERE]) for first in (ELSEWHERE, HERE)]
    for watch in watches:
        watch.start()
    until(lambda: bool(ended))
    time.sleep(0.2)
    assert ended == watches[:1]
    for watch in watches:
        watch.stop()
