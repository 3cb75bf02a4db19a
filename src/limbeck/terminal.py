"""What the command line shows: tables on stdout, log and progress on stderr, a line for each user's mistake.

Imports nothing heavy; rich and tqdm are loaded where they are used.
"""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer

from limbeck.errors import Ended, TrainingDiverged, UserError
from limbeck.processes.group import Group, current
from limbeck.processes.together import refuse_several, together
from limbeck.tables import Table

LINE_EVERY = 30.0
"""Seconds from one progress line to the next where stderr is no terminal."""


class Progress:
    """Shows `progress(what, done, total)`: a bar on a terminal, else a line for each new `what` and at times.

    A `total` of 0 is not known.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""
        self._said = -LINE_EVERY

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tells that `done` of `total` of `what` is done."""
        if sys.stderr.isatty():
            self._show_bar(what, done, total)
        else:
            self._say(what, done, total)

    def _show_bar(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what or self._bar is None:
            self.close()
            self._what = what
            self._bar = tqdm(desc=what, dynamic_ncols=True, leave=False, file=sys.stderr, unit_scale=True)
        self._bar.total = total or None
        self._bar.n = done
        self._bar.refresh()
        if total and done >= total:
            self.close()

    def _say(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what == self._what and now - self._said < LINE_EVERY:
            return
        self._what, self._said = what, now
        share = f" · {done:,}" + (f" of {total:,}" if total else "") if done else ""
        print(what + share, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the bar away, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Silent(Progress):
    """The progress of all but one of several processes."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Shows nothing."""


@contextlib.contextmanager
def work(verbose: bool = False, *, several: bool = False) -> Iterator[Progress]:
    """The setting a command works in: log and progress to stderr, libraries quiet, errors as exit codes.

    Args:
        verbose: debugging lines as well, and what the libraries have to say.
        several: the command runs on as many processes as torchrun starts; the main one shows what there is
            to be shown. Else it refuses more than one.

    Raises:
        typer.Exit: 2 after a `UserError` and 1 after `TrainingDiverged`, which are shown; 130 after
            Ctrl-C; 0 if stdout's reader has gone; the same in every process.
    """
    try:
        if not several:
            refuse_several("this command")
        with together() as group, _logging(verbose, group), contextlib.closing(_progress(group)) as progress:
            yield progress
            sys.stdout.flush()
    except Ended as error:
        if not error.told:
            complain(error)
        raise typer.Exit(error.code) from error
    except UserError as error:
        complain(error)
        raise typer.Exit(2) from error
    except TrainingDiverged as error:
        complain(error)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the flush at exit would complain
        raise typer.Exit(0) from error


def _progress(group: Group) -> Progress:
    return Progress() if group.main else _Silent()


@contextlib.contextmanager
def _logging(verbose: bool, group: Group) -> Iterator[None]:
    if not verbose:
        for name, value in (
            ("TRANSFORMERS_VERBOSITY", "error"),
            ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
            ("TOKENIZERS_PARALLELISM", "false"),
        ):
            os.environ.setdefault(name, value)
    from tqdm.contrib.logging import logging_redirect_tqdm

    logger = logging.getLogger("limbeck")
    # A logger without any handler would show warnings.
    shown = group.main or verbose
    handler = logging.StreamHandler(sys.stderr) if shown else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(message)s" if group.main else f"[{group.rank}] %(message)s"))
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.addHandler(handler)
    try:
        bars = shown and sys.stderr.isatty()
        with logging_redirect_tqdm([logger]) if bars else contextlib.nullcontext():
            yield
    finally:
        logger.removeHandler(handler)


def show(result: Any, as_json: bool, tables: Callable[[Any], Iterator[Table]]) -> None:
    """Prints a command's result to stdout, in the main process: as JSON, or as the tables of `tables`."""
    if not current().main:
        return
    if as_json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return
    for number, (title, columns, rows) in enumerate(tables(result)):
        if number:
            print()
        show_table(title, columns, rows)


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False
) -> None:
    """Prints a table, the first column to the left, others to the right; lines are cut on terminals only.

    `words`: the table is of words, not of numbers: all columns stand to the left.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a table is only as wide as it must be
    table = RichTable(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if columns else None,
        show_header=bool(columns),
    )
    longest = [
        max(map(len, " ".join(column).split()), default=0)
        for column in zip(columns, *rows, strict=bool(columns))
    ]
    whole_words = sum(longest) + 3 * len(longest) + 2 <= console.width
    for number in range(len(columns) or 2):
        table.add_column(
            Text(columns[number] if columns else ""),
            justify="right" if columns and number and not words else "left",
            overflow="fold",
            min_width=longest[number] if columns and whole_words else None,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()))


def complain(message: object) -> None:
    """Prints what is wrong to stderr, each line headed `limbeck:`."""
    for line in str(message).splitlines():
        print(f"limbeck: {line}", file=sys.stderr)
