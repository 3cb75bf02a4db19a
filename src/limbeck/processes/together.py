"""Joining the processes that torchrun started, and parting again (docs/scale.md)."""

import contextlib
import gc
import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any

from limbeck.errors import Ended, UserError
from limbeck.processes.ending import Terminated, settle
from limbeck.processes.group import ALONE, POLL, Group, current, set_current
from limbeck.processes.watch import GRACE, Place, Watch, this_place

JOIN = timedelta(minutes=10)
"""How long the processes may take to come together."""
STUCK = timedelta(hours=24)
"""How long an exchange of tensors may take; a dead process is noticed long before, see `watch`."""

_joined = 0


def several() -> bool:
    """Whether this process was started as one of several."""
    return _number("WORLD_SIZE", 1) > 1


@contextlib.contextmanager
def together() -> Iterator[Group]:
    """Joins the processes that torchrun started; alone, or inside another `together`, it does nothing.

    Raises:
        UserError, TrainingDiverged: as raised inside, in the process of each machine that tells the user.
        Ended: in the others.
    """
    if current() is not ALONE or not several():
        yield current()
        return
    with _terminable():
        try:
            group = _join()
        except UserError as error:
            _ignore_signals()
            if _speaks_unjoined():
                raise
            raise Ended(str(error), 2, told=True) from error
        set_current(group)
        try:
            group.find_maker()
            yield group
            _leave(group)
        except BaseException as error:
            _ignore_signals()
            settled = settle(group, error)
            if settled is error:
                raise
            raise settled from error
        finally:
            set_current(ALONE)


def _leave(group: Group) -> None:
    """The good end: all are here, and none counts as dead from now on.

    Whatever DDP wrapped must be gone by now. If its reducer were the last to hold gloo's process group, it
    would wait, holding Python's lock, for a thread of the group that may be waiting for just that lock.
    """
    import torch.distributed as dist

    group.meet()
    assert group.watch is not None
    group.store.set(f"done/{group.rank}", "")
    group.watch.stop()
    gc.collect()
    dist.destroy_process_group()
    if group.store.add("left", 1) < group.world and group.main:  # it may hold the store of all
        limit = time.monotonic() + GRACE
        while int(group.store.add("left", 0)) < group.world and time.monotonic() < limit:
            time.sleep(POLL)


def refuse_several(what: str) -> None:
    """For a command that runs in one process.

    Raises:
        UserError, Ended: there are several; the first is for the user, one on each machine.
    """
    if several():
        _ignore_signals()  # the first to exit makes torchrun stop the others
        line = f"{what} runs in one process; start it without torchrun"
        raise UserError(line) if _speaks_unjoined() else Ended(line, 2, told=True)


def command_again(arguments: Sequence[str]) -> str:
    """What the user types to go on: the command of these arguments, under torchrun if it started us."""
    if not several():
        return shlex.join(["limbeck", *arguments])
    here = _number("LOCAL_WORLD_SIZE", 0)
    if here != _number("WORLD_SIZE", 1) or "TORCHELASTIC_RUN_ID" not in os.environ:
        return "the same command again, on every machine"
    return shlex.join(["torchrun", f"--nproc-per-node={here}", "-m", "limbeck", *arguments])


def _number(name: str, default: int | None = None) -> int:
    value = os.environ.get(name, "" if default is None else str(default))
    if not value.isdecimal():
        what = f"is {value!r}" if value else "is not set"
        raise UserError(f"the environment variable {name} {what}; start several processes with torchrun")
    return int(value)


def _speaks_unjoined() -> bool:
    """Whether this process tells the user what all of its machine would tell."""
    return _number("LOCAL_RANK", _number("RANK", 0)) == 0


def _join() -> Group:
    """Connects to the store that torchrun or process 0 holds, and makes torch's process group.

    Raises:
        UserError: the environment is not torchrun's, or not all processes came.
    """
    global _joined
    rank, world, local = _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK", 0)
    if rank >= world:
        raise UserError(f"RANK is {rank} and WORLD_SIZE {world}; start several processes with torchrun")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UserError(f"the environment variable {name} is not set; start the processes with torchrun")
    # Without torchrun nobody has shared out the cores; torch reads this when it is loaded.
    here = _number("LOCAL_WORLD_SIZE", world)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // here)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a stack of C++ for every connection that ends
    import torch
    from torch import distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    _joined += 1  # a script may join several times, one run after the other
    prefix = f"limbeck/{_joined}"

    def connect(part: str = "") -> Any:
        store, _, _ = next(rendezvous("env://", timeout=JOIN))
        return PrefixStore(f"{prefix}{part}", store)

    try:
        store = connect()
        places = _exchange_places(store, rank, world)
        if torch.cuda.is_available():
            torch.cuda.set_device(local % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=connect("/torch"), rank=rank, world_size=world, timeout=STUCK)
    except RuntimeError as error:  # torch's DistError
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"process {rank} of {world} cannot join the others at {where} ({str(error).splitlines()[0]});"
            " start all of them, on machines that can reach each other"
        ) from error
    watch = Watch(connect, rank, places)
    watch.start()
    return Group(rank, world, store, watch)


def _exchange_places(store: Any, rank: int, world: int) -> list[Place]:
    store.set(f"place/{rank}", json.dumps(this_place()))
    store.wait([f"place/{other}" for other in range(world)], JOIN)
    return [Place(*json.loads(store.get(f"place/{other}"))) for other in range(world)]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated`, so that a process that torchrun stops can tell why. Main thread only.

    After an error it stays ignored: the first process that exits makes torchrun stop the others, which are
    about to exit with the same code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, before)


def _ignore_signals() -> None:
    """Nothing may break into the way that the group ends."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
