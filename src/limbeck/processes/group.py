"""The processes of one run, side by side in the same code: what one makes for all, and what must be the same.

Something made once (prepared text, calibration, results) is made by one process while the others wait, for
hours if need be. Imports nothing heavy. See docs/scale.md.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from limbeck.errors import Ended, UserError
from limbeck.files import TEMPORARY, cache_dir, writing
from limbeck.processes.watch import Watch

POLL = 0.05
"""Seconds between two looks at the store."""
PART = 1 << 22
"""Bytes of one value in the store, which takes no more than 8 MB."""


class Group:
    """The processes of a run, as one of them sees them. `ALONE` is the group of one.

    Every process must call the methods that exchange something in the same order.

    Attributes:
        rank, world: this process, number of processes.
        main: the process that writes the run directory and talks to the user.
        on_end: called in this process when another one has ended the run and the main thread is busy.
    """

    def __init__(self, rank: int, world: int, store: Any = None, watch: Watch | None = None) -> None:
        self.rank, self.world, self.main = rank, world, rank == 0
        self.on_end: list[Callable[[], object]] = watch.hooks if watch else []
        self.store, self.watch = store, watch
        self._calls = 0
        self._maker = 0

    def meet(self) -> None:
        """Returns when every process is here."""
        if self.world > 1:
            key = self._key("meet")
            if self.store.add(key, 1) == self.world:
                self.store.set(f"{key}/all", "")
            self._wait(f"{key}/all")

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the main process, in every process; the others wait for it.

        In the other processes it has been through JSON.
        """
        return self._made(make, 0)

    def once_per_cache(self, make: Callable[[], Any]) -> Any:
        """As `from_main`, but made in one process for all that share its cache folder.

        Several machines whose caches are their own so prepare each for themselves, at the same time.
        """
        return self._made(make, self._maker)

    def check_same(self, values: Mapping[str, Any], what: str) -> None:
        """Compares named values with those of the main process.

        Raises:
            UserError: they differ; names which, and `what` to give to every machine.
        """
        here = json.loads(json.dumps(values))
        there = self.from_main(lambda: here)
        names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
        if names:
            assert self.watch is not None
            first, own = self.watch.places[0].host, self.watch.places[self.rank].host
            told = (f"{n} ({json.dumps(there.get(n))} there, {json.dumps(here.get(n))} here)" for n in names)
            raise UserError(
                f"process 0 on {first} and process {self.rank} on {own} differ in {'; '.join(told)}; "
                f"give every machine the same {what}"
            )
        self.meet()

    def _made(self, make: Callable[[], Any], maker: int) -> Any:
        if self.world == 1:
            return make()
        key = f"{self._key('made')}/{maker}"
        if self.rank == maker:
            value = make()
            content = json.dumps(value).encode()
            parts = range(0, len(content), PART)
            for number, start in enumerate(parts):
                self.store.set(f"{key}/{number}", content[start : start + PART])
            self.store.set(key, str(len(parts)))
            return value
        self._wait(key)
        count = int(self.store.get(key))
        return json.loads(b"".join(self.store.get(f"{key}/{number}") for number in range(count)))

    def _key(self, name: str) -> str:
        self._calls += 1
        return f"{name}/{self._calls}"

    def _wait(self, key: str) -> None:
        """Until `key` is set; the main thread stays open to signals."""
        assert self.watch is not None
        while not self.store.check([key]):
            if self.watch.end is not None:
                raise Ended(self.watch.end.line, self.watch.end.code, told=True)  # settled by `together`
            time.sleep(POLL)

    def find_maker(self) -> None:
        """Finds the lowest process that sees the same cache folder: each leaves a mark there and looks."""
        name = self.from_main(lambda: f"{TEMPORARY}process-{secrets.token_hex(8)}")
        mark = cache_dir() / f"{name}-{self.rank}"
        with writing(mark):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        try:
            self.meet()
            self._maker = min(r for r in range(self.rank + 1) if mark.with_name(f"{name}-{r}").exists())
            self.meet()
        finally:
            mark.unlink(missing_ok=True)


ALONE = Group(0, 1)
_current = ALONE


def current() -> Group:
    """The group that `together` has joined, or `ALONE`."""
    return _current


def set_current(group: Group) -> None:
    """For `together` alone."""
    global _current
    _current = group
