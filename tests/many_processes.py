"""Several processes that run Limbeck together, started by forking one that has made the heavy imports.

    python many_processes.py         then a request per line on stdin, an answer per line on stdout

`Starter` talks to that program; each process it starts gets the environment that torchrun would give it,
without torchrun's own noise, so that a test sees every exit code and every line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Ended:
    """Exit codes (minus the signal's number where one ended it) and what was said, by rank."""

    codes: list[int]
    out: list[str]
    err: list[str]

    @property
    def lines(self) -> list[str]:
        """What the processes together told the user of an error."""
        return [line for text in self.err for line in text.splitlines() if line.startswith("limbeck: ")]


class Started:
    """Processes that were started together."""

    def __init__(self, starter: Starter, pids: list[int], folder: Path) -> None:
        self.starter, self.pids, self.folder = starter, pids, folder

    def wait_for(self, happened: Callable[[], bool], limit: float = 120) -> None:
        """Until something happened, while all are at work."""
        until = time.monotonic() + limit
        while not happened():
            assert time.monotonic() < until, self.said()
            assert all(self.running(pid) for pid in self.pids), self.said()
            time.sleep(0.01)

    def running(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
        return False

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.pids[rank], number)

    def said(self) -> list[str]:
        return [(self.folder / f"{rank}.err").read_text() for rank in range(len(self.pids))]

    def end(self, limit: float = 120) -> Ended:
        codes = self.starter.ask({"wait": self.pids, "limit": limit})
        assert None not in codes, f"still running after {limit} s: {self.said()}"
        out = [(self.folder / f"{rank}.out").read_text() for rank in range(len(self.pids))]
        return Ended(codes, out, self.said())


class Starter:
    """Starts processes; one for a whole test module."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(HERE / "many_processes.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        *words: object,
        world: int = 2,
        each: Sequence[Mapping[str, str]] | None = None,
        job: str = "limbeck",
        words_of_rank: Callable[[int], Sequence[object]] | None = None,
    ) -> Started:
        """`world` processes of a command (`job`: of a function of `many_jobs`); `each`: their environment."""
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        jobs = []
        for rank in range(world):
            places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world)}
            own = dict(each[rank]) if each else {}
            mine = words_of_rank(rank) if words_of_rank else words
            environment = (common | places if world > 1 else {}) | own
            jobs.append({"words": [str(word) for word in mine], "environment": environment})
        return Started(self, self.ask({"start": jobs, "job": job, "folder": str(folder)}), folder)

    def run(self, *words: object, limit: float = 120, **options: Any) -> Ended:
        return self.start(*words, **options).end(limit)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


@contextlib.contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    made = Starter(folder)
    try:
        yield made
    finally:
        made.close()


def _start(job: str, own: Mapping[str, Any], folder: Path, rank: int) -> int:
    """Forks a process that does the job, and returns its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.update(own["environment"])
        if job == "limbeck":
            from limbeck.cli import main

            sys.argv = ["limbeck", *own["words"]]
            main()
        else:
            from tests import many_jobs

            getattr(many_jobs, job)(*own["words"])
        code = 0
    except typer.Exit as error:
        code = error.exit_code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pids: Sequence[int], limit: float) -> list[int | None]:
    """Exit codes; None for one that still runs after `limit` seconds, which is then killed."""
    codes: dict[int, int | None] = {}
    until = time.monotonic() + limit
    while len(codes) < len(pids) and time.monotonic() < until:
        for pid in pids:
            if pid not in codes and (status := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(status[1])
        time.sleep(0.01)
    for pid in set(pids) - codes.keys():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return [codes.get(pid) for pid in pids]


def serve() -> None:
    import torch._dynamo  # noqa: F401 - the optimiser imports it, which would cost every process a second

    import limbeck.cli
    import limbeck.pipeline  # noqa: F401
    import tests.many_jobs  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            place = Path(request["folder"])
            answer: Any = [
                _start(request["job"], own, place, rank) for rank, own in enumerate(request["start"])
            ]
        else:
            answer = _wait(request["wait"], request["limit"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
