"""The sections of a page task by task: masked words, word senses, GLUE, paraphrase, what running costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from limbeck.report import figures
from limbeck.report.blocks import (  # fmt: skip
    Block,
    Cell,
    Figure,
    Notes,
    Section,
    Table,
    measured_cell,
    models_table,
    shown,
    table,
)
from limbeck.report.joined import Column, Model
from limbeck.report.markdown import NONE, count, last_part
from limbeck.report.parts import (  # fmt: skip
    ARROWS,
    NATS,
    PARAMETERS,
    TRAINING,
    metric_name,
    part_of,
    pieces,
    with_arrow,
)
from limbeck.report.runs import is_number
from limbeck.report.sources import Source

UP, DOWN = ARROWS["higher"], ARROWS["lower"]


def task_parts(sources: Sequence[Source], models: Sequence[Model], found: Sequence[Column]) -> list[Section]:
    """The sections of what was measured task by task; those of tasks not measured have no blocks."""
    return [
        Section("Masked words", _words(models, found, sources)),
        Section("Word senses", _senses(models, found, sources)),
        Section("GLUE", _by_task(models, found, "glue", sources)),
        Section("Paraphrase detection", _by_task(models, found, "paraphrase", sources)),
        Section("Classification", _classified(models, found)),
        Section("What running costs", _running(models, found, sources)),
    ]


def _notes(results: Iterable[dict[str, Any]], task: str) -> list[Block]:
    """What the results of a task say to keep in mind, each once."""
    lines = [str(n) for one in results if one.get("task") == task for n in one.get("notes") or ()]
    return [Notes(list(dict.fromkeys(lines)))] if lines else []


def _results(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """All results of tasks, also those inside the results of runs."""
    found = [result for source in sources for result, _ in source.results]
    inner = [result.get(part) for result in found for part in ("words", "gloss_words")]
    return [*found, *(one for one in inner if isinstance(one, dict))]


def _by_data(found: Iterable[Column]) -> dict[str, list[Column]]:
    groups: dict[str, list[Column]] = {}
    for column in found:
        groups.setdefault(column.data, []).append(column)
    return groups


def _words(models: Sequence[Model], found: Sequence[Column], sources: Sequence[Source]) -> list[Block]:
    """A table for each text and choice of words on which at least two models were measured, or for all."""
    groups = _by_data(c for c in found if c.task == "mlm" and c.data)
    several = {data: some for data, some in groups.items() if max(len(c.cells) for c in some) > 1}
    blocks: list[Block] = [
        models_table(data[:1].upper() + data[1:], models, [(with_arrow(c), c) for c in some])
        for data, some in sorted((several or groups).items(), key=lambda group: -len(group[1][0].cells))
    ]
    return [*blocks, *_notes(_results(sources), "mlm")] if blocks else []


def _senses(models: Sequence[Model], found: Sequence[Column], sources: Sequence[Source]) -> list[Block]:
    """F1 by set, and by part of speech and seen senses: of all sets together where they were."""
    senses = [c for c in found if c.task == "wsd" and c.metric == "f1"]
    wholes = [c for c in senses if part_of(c.data) is None]
    if not wholes:
        return []
    named = [(f"{_set_name(c.data)}{UP}", c) for c in wholes]
    blocks: list[Block] = [models_table("F1 by set", models, named, notes=[c.data for c in wholes])]
    together = [c for c in wholes if c.data.startswith("ALL ")]
    for whole in together or wholes:
        parts = [(f"{part_of(c.data)}{UP}", c) for c in senses if c.data.startswith(f"{whole.data}: ")]
        if parts:
            caption = f"F1 by kind of instance: {_set_name(whole.data)}"
            blocks.append(models_table(caption, models, [(f"all{UP}", whole), *parts]))
    return [*blocks, *_notes(_results(sources), "wsd")]


def _set_name(data: str) -> str:
    return _without_digest(data.split(", ")[0])


def _without_digest(data: str) -> str:
    """The name of a task's data, without the digests in it."""
    return re.sub(r" [0-9a-f]{8}(?=,|$)", "", data)


def _by_task(
    models: Sequence[Model], found: Sequence[Column], task: str, sources: Sequence[Source]
) -> list[Block]:
    """A row for each data and metric, a column for each model: data are many, models few."""
    of = [c for c in found if c.task == task and c.metric != PARAMETERS]
    notes = []
    if any(c.metric == "f1_micro" for c in of):  # of each class as well, in results.json
        of = [c for c in of if c.metric == "f1_micro"]
        notes.append("The F1 of each class stands in results.json.")
    if not of:
        return []
    places = sorted({place for column in of for place in column.cells})
    rows = [
        [_without_digest(c.data), metric_name(c) + ARROWS[c.better], _count(c)]
        + [measured_cell(c.cells.get(place), c.best) for place in places]
        for c in of
    ]
    names = [models[place].name for place in places]
    caption = "GLUE, on the dev sets" if task == "glue" else "Original or machine paraphrase"
    made = table(caption, ["data", "metric", "texts", *names], rows, notes=notes, words=(0, 1))
    return [made, *_notes(_results(sources), task)]


def _count(column: Column) -> str | None:
    return next((f"{row['n']:,}" for row in column.cells.values() if is_number(row["n"])), None)


def _classified(models: Sequence[Model], found: Sequence[Column]) -> list[Block]:
    """What fine-tuning runs measured on their own labelled rows."""
    groups = _by_data(c for c in found if c.task == "run" and c.data not in ("", TRAINING))
    return [
        models_table(_without_digest(data), models, [(with_arrow(c), c) for c in some])
        for data, some in groups.items()
    ]


def _running(models: Sequence[Model], found: Sequence[Column], sources: Sequence[Source]) -> list[Block]:
    """A table for each machine and setting, its rows by the length of the passages."""
    of = [c for c in found if c.task == "cost" and c.data and "×" not in c.data]
    tables: dict[str, dict[tuple[int, int], dict[str, Cell]]] = {}
    for column in of:
        where = column.data.rpartition(", ")[0]
        for place, one in column.cells.items() if where else ():
            line = tables.setdefault(where, {}).setdefault((pieces(column), place), {})
            line[column.metric] = measured_cell(one, column.best)
    metrics = {c.metric: c.metric + ARROWS[c.better] for c in of if c.data.rpartition(", ")[0]}
    operations = {pieces(c): c for c in of if not c.data.rpartition(", ")[0]}
    blocks: list[Block] = []
    for where, lines in tables.items():
        rows = [
            [
                models[place].name,
                str(length),
                *(line.get(metric) for metric in metrics),
                *(measured_cell(c.cells.get(place)) for c in operations.values() if pieces(c) == length),
            ]
            for (length, place), line in sorted(lines.items())
        ]
        heads = ["model", "pieces of a passage", *metrics.values()]
        heads += [f"MACs per token{ARROWS['lower']}"] if operations else []
        rows = [[*row, *[None] * (len(heads) - len(row))] for row in rows]
        blocks.append(table(f"On {where}", heads, rows))
    return [*blocks, *_notes(_results(sources), "cost")] if blocks else []


def leave_one_out(source: Source) -> list[Block]:
    """How much worse the student gets without each teacher; nothing where that was not measured."""
    given = source.without.get("teachers")
    rows, cells = [], []
    for one in given if isinstance(given, list) else []:
        if not isinstance(one, dict) or not is_number(one.get("usefulness")):
            continue
        low, high = one.get("low"), one.get("high")
        bounds = (float(low), float(high)) if is_number(low) and is_number(high) else None
        rows.append(figures.Estimate(str(one.get("name")), float(one["usefulness"]), bounds))
        small = f"{bounds[0]:+.3f} to {bounds[1]:+.3f}" if bounds else ""
        without = shown(one.get("without"), "nats")
        cells.append([str(one.get("name")), without, Cell(f"{one['usefulness']:+.3f}", small)])
    if not rows:
        return []
    best = max(rows, key=lambda row: row.value)
    unit, whole = str(source.without.get("metric", NATS)), source.without.get("all")
    nats = shown(whole.get("nats") if isinstance(whole, dict) else None, "nats")
    title = f"{source.name}: {best.label} is the most useful teacher"
    said = "; ".join(f"without {row.label} {row.value:+.3f} {unit}" for row in rows)
    draw = partial(_draw_usefulness, rows, f"{unit} more without the teacher")
    made: Table = table(
        f"The student of {source.name}, trained once more without each teacher",
        ["without", f"{unit}{DOWN}", "more than with all"],
        cells,
        notes=[f"With all teachers: {nats}. Measured on: {_asked(source.without.get('data'))}."],
    )
    return [Figure(title, f"{said}; with all teachers {nats}.", draw), made]


def _asked(data: Any) -> str:
    """The words that students were asked for, without the folders of their text."""
    if not isinstance(data, dict):
        return NONE
    given = data.get("texts")
    named = ", ".join(map(last_part, given)) if isinstance(given, list) else NONE
    known = str(data.get("fingerprint", NONE))[:8]
    return f"{count(data.get('words'))} words of {count(data.get('passages'))} passages of {named} ({known})"


def _draw_usefulness(rows: Sequence[figures.Estimate], unit: str, narrow: bool) -> str:
    return figures.estimates(rows, title="", unit=unit, better="higher", narrow=narrow)
