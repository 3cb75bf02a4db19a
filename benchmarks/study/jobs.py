"""Trainings and measurements side by side: as many processes as cores, one thread each.

The processes are kept from one call to the next, because to start torch takes seconds; they end with the
program. Every job is a run of Limbeck's own that goes on where it was stopped, so this keeps no state.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

from limbeck.errors import Interrupted

from .setting import Setting


@dataclass(frozen=True)
class Job:
    """What is done, and the call that does it: importable, so that another process can."""

    name: str
    call: Callable[[], dict[str, Any]]


@dataclass
class _Pool:
    """Processes, and the event that tells them to begin nothing more."""

    workers: int
    executor: ProcessPoolExecutor
    stop: Event

    def end(self) -> None:
        """What runs saves a checkpoint and stops, as at Ctrl-C; returns when all processes are gone."""
        self.stop.set()
        for process in (self.executor._processes or {}).values():
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGINT)
        self.executor.shutdown(wait=True, cancel_futures=True)


_kept: _Pool | None = None
_busy = threading.Lock()
"""Of a worker: held while it is at a job."""
_stopping: Event | None = None


def digest(*made_by: object) -> str:
    """Of all that a kept result depends on, for its name: what was made by other settings is another."""
    return hashlib.blake2b(repr(made_by).encode(), digest_size=4).hexdigest()


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"study: {what}", file=sys.stderr, flush=True)


def _begin(stop: Event) -> None:
    """In a worker, once. Between jobs it leaves Ctrl-C to the program, whose business the end is."""
    global _stopping
    _stopping = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("limbeck").setLevel(logging.WARNING)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends this worker after the program was killed; a job saves first."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is no worker"
    parent.join()
    assert _stopping is not None
    _stopping.set()
    os.kill(os.getpid(), signal.SIGINT)
    with _busy:
        os._exit(1)


def _do(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A job, in a worker."""
    assert _stopping is not None
    with _busy:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if _stopping.is_set():
                raise Interrupted("not begun")
            if torch := sys.modules.get("torch"):
                torch.set_num_threads(1)  # whatever the job before has set
            return call()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.collect()


def _pool(workers: int) -> _Pool:
    """The kept one, or a new one."""
    global _kept
    if _kept is not None and _kept.workers != workers:
        end()
    if _kept is None:
        os.environ["OMP_NUM_THREADS"] = "1"
        spawn = multiprocessing.get_context("spawn")
        stop = spawn.Event()
        _kept = _Pool(workers, ProcessPoolExecutor(workers, spawn, _begin, (stop,)), stop)
    return _kept


def end() -> None:
    """Ends the kept processes, where there are any; what runs is saved and stops."""
    global _kept
    if _kept is not None:
        pool, _kept = _kept, None
        pool.end()


def do_all(setting: Setting, what: str, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Results in the order of the jobs. What fails ends all, with its reason; the rest is kept on disk."""
    if not jobs:
        return []
    began, found = time.perf_counter(), {}
    try:
        executor = _pool(setting.workers).executor
        places: dict[Future[dict[str, Any]], int] = {
            executor.submit(_do, job.call): place for place, job in enumerate(jobs)
        }
        for future in as_completed(places):
            place = places[future]
            found[place] = future.result()
            seconds = time.perf_counter() - began
            say(f"{what}: {len(found)}/{len(jobs)} {jobs[place].name} ({seconds / 60:.1f} min)")
    except BaseException:
        end()
        raise
    return [found[place] for place in range(len(jobs))]
