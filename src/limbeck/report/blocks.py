"""What a page is made of: sections with tables, figures, notes and listings; plain data, without any HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limbeck.report.joined import Column, Model
from limbeck.report.markdown import NONE, count, duration
from limbeck.report.runs import is_number
from limbeck.tasks.rows import Row


@dataclass(frozen=True)
class Cell:
    """A cell of a table. small: said beside, such as an interval; best: the best of its column."""

    text: str
    small: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows. words: columns of words, which stand at the left."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    words: frozenset[int] = frozenset((0,))


@dataclass(frozen=True)
class Figure:
    """A figure. draw: makes its SVG, wide or narrow; said: what it shows, in words and numbers."""

    title: str
    said: str
    draw: Callable[[bool], str]


@dataclass(frozen=True)
class Listing:
    """Text that is shown as it is, folded away under a summary."""

    summary: str
    text: str


@dataclass(frozen=True)
class Notes:
    """Paragraphs; warning: set apart from the rest."""

    lines: list[str]
    warning: bool = False


Block = Table | Figure | Listing | Notes


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    blocks: Sequence[Block]


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    notes: Sequence[str] = (),
    words: Iterable[int] = (0,),
) -> Table:
    """A table of plain values; None and "" are dashes."""
    cells = [[one if isinstance(one, Cell) else Cell(_plain(one)) for one in row] for row in rows]
    return Table(caption, list(columns), cells, list(notes), frozenset(words))


def _plain(value: Any) -> str:
    return NONE if value is None or value == "" else str(value)


def measured_cell(row: Row | None, best: float | None = None) -> Cell:
    """A row's value with its interval or spread; a dash where it was not measured."""
    if row is None or not is_number(row["value"]):
        return Cell(NONE)
    value, unit = float(row["value"]), str(row["unit"])
    small = []
    if is_number(row["low"]) and is_number(row["high"]):
        small.append(f"{shown(row['low'], unit)} to {shown(row['high'], unit)}")
    if is_number(row["std"]):
        small.append(f"± {shown(row['std'], unit)}")
    if is_number(row["seeds"]) and row["seeds"] > 1:
        small.append(f"{row['seeds']} seeds")
    return Cell(shown(value, unit), ", ".join(small), best is not None and value == best)


def shown(value: Any, unit: str) -> str:
    """A number for people, by its unit (see `tasks.rows`)."""
    if not is_number(value):
        return NONE
    known: Mapping[str, Callable[[float], str]] = {
        "nats": "{:.3f}".format,
        "share": "{:.1%}".format,
        "correlation": "{:.3f}".format,
        "error": "{:.4g}".format,
        "count": count,
        "bytes": size,
        "ms": lambda x: f"{x:.3g} ms" if x < 1000 else f"{x / 1000:.3g} s",
        "per second": count,
        "seconds": duration,
        "joules": lambda x: f"{x / 3600:.3g} Wh",
    }
    return known.get(unit, "{:.4g}".format)(float(value))


def size(value: Any) -> str:
    """`16.9 MB` (powers of 1000), of bytes."""
    if not is_number(value):
        return NONE
    number = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


Shown = Column | Callable[[Model], Cell]
"""What stands in a column of a table of models: a column of values, or a cell made of each model."""


def models_table(
    caption: str,
    models: Sequence[Model],
    chosen: Sequence[tuple[str, Shown]],
    *,
    notes: Sequence[str] = (),
    everyone: bool = False,
) -> Table:
    """Models below each other, each of `chosen` (heading, values) beside the other.

    everyone: also models that none of the columns holds.
    """

    def cell(place: int, column: Shown) -> Cell:
        if isinstance(column, Column):
            return measured_cell(column.cells.get(place), column.best)
        return column(models[place])

    held = {place for _, column in chosen if isinstance(column, Column) for place in column.cells}
    rows = [
        [Cell(model.name, model.role), *(cell(place, column) for _, column in chosen)]
        for place, model in enumerate(models)
        if everyone or place in held
    ]
    return Table(caption, ["model", *(heading for heading, _ in chosen)], rows, list(notes))
