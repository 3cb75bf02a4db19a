"""How a group ends: what ended it, told once and to all, with one exit code (docs/scale.md)."""

import time

from limbeck.errors import Ended, TrainingDiverged, UserError
from limbeck.processes.group import POLL, Group
from limbeck.processes.watch import GRACE, SILENT, End, Watch

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class Terminated(KeyboardInterrupt):
    """SIGTERM outside the training loop: torchrun's way of telling that another process has ended."""


def settle(group: Group, error: BaseException) -> BaseException:
    """Finds out what ended the run, tells the others, and returns what to raise in place of `error`."""
    watch = group.watch
    assert watch is not None
    speaks: bool | None = None
    try:
        found = _cause(group, error, watch)
        watch.stop()
        end = watch.publish(group.store, found or End(group.rank, *_told(error, group.rank, group.world)))
        speaks = watch.speaks(group.store)  # before any process exits, and perhaps the store with it
        _wait_for_others(group, watch)
    except RuntimeError:
        watch.stop()
        end = watch.end or watch.lost()
    if end.code == INTERRUPTED and isinstance(error, KeyboardInterrupt):
        return error
    mine = end.rank == group.rank and not isinstance(error, Ended | Terminated)
    if mine and not isinstance(error, UserError | TrainingDiverged):
        return error
    if speaks is None:
        speaks = watch.speaks(None)
    return error if mine and speaks else Ended(end.line, end.code, told=not (speaks and end.line))


def _cause(group: Group, error: BaseException, watch: Watch) -> End | None:
    """What had ended the run before `error`, which may be no more than an echo of that."""
    patience = 0.0
    if isinstance(error, Terminated):
        patience = 2.0
    elif _of_connection(error):
        patience = SILENT + GRACE
    limit = time.monotonic() + patience
    while (end := watch.look(group.store)) is None and time.monotonic() < limit:
        time.sleep(POLL)
    return end


def _wait_for_others(group: Group, watch: Watch) -> None:
    """Until they have ended too, or a while: an exit makes torchrun stop them, and may take the store."""
    group.store.add("ended", 1)
    limit = time.monotonic() + GRACE + 3
    while time.monotonic() < limit:
        if int(group.store.add("ended", 0)) + watch.dead() >= group.world:
            return
        time.sleep(POLL)


def _of_connection(error: BaseException) -> bool:
    """Whether the error is about the connection to other processes, which is how another's death shows."""
    from torch import distributed as dist

    words = ("gloo", "nccl", "connection", "socket")
    said = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in said for word in words)
    )


def _told(error: BaseException, rank: int, world: int) -> tuple[int, str]:
    """Exit code and line of an error that ends the run."""
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, TrainingDiverged):
        return 1, str(error)
    if isinstance(error, BrokenPipeError):
        return 0, ""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, ""
    first = (str(error).splitlines() or [""])[0]
    return 1, f"process {rank} of {world} failed: {type(error).__name__}: {first}"
