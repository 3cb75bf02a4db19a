"""Trainings and measurements side by side: as many processes as cores, one thread each.

Every job is a run of Limbeck's own that goes on where it was stopped, so this keeps no state.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from .setting import Setting


@dataclass(frozen=True)
class Job:
    """What is done, and the call that does it: importable, so that another process can."""

    name: str
    call: Callable[[], dict[str, Any]]


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"study: {what}", file=sys.stderr, flush=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    logging.getLogger("limbeck").setLevel(logging.WARNING)


def do_all(setting: Setting, what: str, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Results in the order of the jobs. What fails ends all, with its reason; the rest is kept on disk."""
    if not jobs:
        return []
    began, found = time.perf_counter(), {}
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(setting.workers, len(jobs)), spawn, initializer=_one_thread)
    try:
        places: dict[Future[dict[str, Any]], int] = {
            pool.submit(job.call): place for place, job in enumerate(jobs)
        }
        for future in as_completed(places):
            place = places[future]
            found[place] = future.result()
            seconds = time.perf_counter() - began
            say(f"{what}: {len(found)}/{len(jobs)} {jobs[place].name} ({seconds / 60:.1f} min)")
    except BaseException:
        # The others save a checkpoint and stop, as at Ctrl-C.
        for process in (pool._processes or {}).values():
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGINT)
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()
    return [found[place] for place in range(len(jobs))]
