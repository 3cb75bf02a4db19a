"""The sections of a page on all models: the one table of quality and cost, and quality against cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from limbeck.report import figures
from limbeck.report.blocks import Block, Cell, Figure, Notes, Shown, models_table, shown
from limbeck.report.joined import Column, Model, covering
from limbeck.report.markdown import NONE, duration
from limbeck.report.runs import is_number
from limbeck.tasks.rows import POS, TRAINED

NATS, PARAMETERS, TRAINING = "nats per masked word", "parameters", TRAINED
LATENCY = "latency p50"
MOST = 2
"""Columns of one kind in the table of all models; the sections of the tasks have all."""

METRICS = {
    "f1": "F1",
    "f1_micro": "F1-micro",
    "macro_f1": "F1, mean of the classes",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "mse": "squared error",
}
ARROWS = {"lower": "\u00a0↓", "higher": "\u00a0↑", None: ""}
"""Behind a heading; the blank never ends a line."""
ARROWS_SAID = "↑ higher is better, ↓ lower is better."


def chosen_columns(found: Sequence[Column]) -> list[Column]:
    """The columns of quality in the table of all models: per task those that hold most of them."""
    words = [c for c in found if (c.task, c.metric) == ("mlm", NATS)]
    words.sort(key=lambda column: ": all " in column.data)  # single pieces first, where as many have them
    senses = [c for c in found if c.task == "wsd" and c.metric == "f1" and part_of(c.data) is None]
    senses.sort(key=lambda column: not column.data.startswith("ALL "))
    kinds = [words, senses]
    glue = [c for c in found if c.task == "glue" and c.metric != PARAMETERS]
    kinds.append([c for c in glue if c.metric == "score"] or glue)
    detection = [c for c in found if c.task == "paraphrase" and c.metric == "f1_micro"]
    detection.sort(key=lambda column: ("whole texts" not in column.data, -_training_texts(column.data)))
    kinds.append(detection)
    kinds.append([c for c in found if c.task == "run" and c.data not in ("", TRAINING)])
    return [column for kind in kinds for column in covering(kind, MOST)]


def _training_texts(data: str) -> int:
    """Of a column of paraphrase detection: `… 30,000 training texts …`."""
    found = re.search(r"([\d,]+) training texts", data)
    return int(found[1].replace(",", "")) if found else 0


def part_of(data: str) -> str | None:
    """The part of a set of word senses that a column is of: `nouns`, `unseen`."""
    end = data.rsplit(": ", 1)[-1]
    return end if ": " in data and end in POS.values() else None


def metric_name(column: Column) -> str:
    """`F1`, `accuracy, matched`."""
    return METRICS.get(column.metric, column.metric.replace("_", ", "))


def heading(column: Column) -> str:
    """`nats per masked word`, `GLUE: accuracy`."""
    tasks = {"wsd": "word senses: ", "glue": "GLUE: ", "paraphrase": "paraphrase: "}
    if column.metric == "disk":
        return "weights on disk"
    return tasks.get(column.task, "") + metric_name(column)


def with_arrow(column: Column) -> str:
    """A heading that says which direction is better."""
    return heading(column) + ARROWS[column.better]


def _lettered(chosen: Sequence[Column]) -> tuple[list[tuple[str, Shown]], list[str]]:
    """Headings with a letter that names the data, and what the letters mean."""
    letters: dict[str, str] = {}
    named: list[tuple[str, Shown]] = []
    for column in chosen:
        mark = ""
        if column.data:
            mark = f" [{letters.setdefault(column.data, chr(ord('a') + len(letters) % 26))}]"
        named.append((f"{heading(column)}{mark}{ARROWS[column.better]}", column))
    return named, [f"[{letter}] {data}" for data, letter in letters.items()]


def overview(models: Sequence[Model], found: Sequence[Column]) -> list[Block]:
    """The table of all models, quality beside cost, and what it says of students and teachers."""
    if not models:
        return [Notes(["Nothing has been measured yet."])]
    quality = chosen_columns(found)
    named, notes = _lettered([*quality, *_costs(found)])
    size: tuple[str, Shown] = (
        f"parameters{ARROWS['lower']}",
        lambda one: Cell(shown(parameters(one), "count")),
    )
    named = [*named[: len(quality)], size, *named[len(quality) :], ("training", _training)]
    notes.append(
        f"{ARROWS_SAID} Underlined: the best of the models. Small: 95% interval, or spread over seeds. "
        "–: not measured. A column holds only what was measured in the same way on the same data."
    )
    caption = "Students, teachers and baselines: quality, then cost"
    made = models_table(caption, models, named, notes=notes, everyone=True)
    said = [sentence for column in quality if (sentence := _compared(models, column))]
    return [*([Notes(said)] if said else []), made]


def _compared(models: Sequence[Model], column: Column) -> str:
    """The best student beside the best teacher in a column; "" without either."""
    sign = 1 if column.better == "higher" else -1

    def best(teacher: bool) -> int | None:
        of = [p for p in column.cells if models[p].teacher == teacher and "student" in models[p].roles]
        if teacher:
            of = [place for place in column.cells if models[place].teacher]
        return max(of, key=lambda p: sign * float(column.cells[p]["value"])) if of else None

    student, teacher = best(False), best(True)
    if student is None or teacher is None:
        return ""
    values = [shown(column.cells[place]["value"], column.unit) for place in (student, teacher)]
    sizes = [parameters(models[place]) for place in (student, teacher)]
    size = f" It has {sizes[0] / sizes[1]:.0%} of the teacher's parameters." if sizes[0] and sizes[1] else ""
    return (
        f"The best student, {models[student].name}: {values[0]}, {heading(column)}; the best teacher, "
        f"{models[teacher].name}: {values[1]}.{size}"
    )


def _costs(found: Sequence[Column]) -> list[Column]:
    """What running a model costs, of the overview: disk, and latency and speed where most were measured."""
    chosen = [c for c in found if c.task == "cost" and c.metric == "disk"]
    return [*chosen, *usual(found, LATENCY), *usual(found, "tokens per second")]


def usual(found: Sequence[Column], metric: str) -> list[Column]:
    """The column of a cost that holds most models, of passages of about 64 pieces; empty without any."""
    of = [c for c in found if c.task == "cost" and c.metric == metric]
    return covering(sorted(of, key=lambda column: abs(pieces(column) - 64)), 1)


def pieces(column: Column) -> int:
    """The length of the passages that a cost was measured at; 0 where it has none."""
    words = column.data.split()
    return next((int(a) for a, b in pairwise(words) if b == "pieces" and a.isdigit()), 0)


def parameters(model: Model) -> float | None:
    """Of a model; a head that one task added counts only where nothing else is known."""
    return model.value(PARAMETERS, ("cost", "mlm", "run", "wsd", "glue", "paraphrase"))


def _parameters(model: Model) -> Cell:
    return Cell(shown(parameters(model), "count"))


def _training(model: Model) -> Cell:
    if model.run is None:
        return Cell(NONE)
    cost = model.run.section("cost")
    seconds = cost.get("seconds", model.run.final.get("seconds"))
    before = "after its student's" if model.run.kind == "gloss" else ""
    joules = cost.get("energy_joules")
    energy = f"{joules / 3600:.3g} Wh measured" if is_number(joules) else ""
    return Cell(duration(seconds), ", ".join(part for part in (energy, before) if part))


def plots(models: Sequence[Model], found: Sequence[Column]) -> list[Block]:
    """For each quality of the overview a plot against parameters, and against latency where measured."""
    blocks: list[Block] = []
    for column in chosen_columns(found):
        known = {place: parameters(models[place]) for place in column.cells}
        blocks += _plot(models, column, known, "parameters", "count")
        for speed in usual(found, LATENCY):
            known = {place: row["value"] for place, row in speed.cells.items()}
            cost = f"milliseconds for a passage of {pieces(speed)} pieces"
            blocks += _plot(models, column, known, cost, "ms", f" Latency: {speed.data}.")
    return blocks


def _plot(
    models: Sequence[Model], column: Column, costs: dict[int, Any], cost: str, unit: str, more: str = ""
) -> list[Block]:
    """A figure where at least two costs differ."""
    points = []
    for place, row in column.cells.items():
        price = costs.get(place)
        if is_number(price) and price > 0 and row["role"] != "baseline":
            low, high = row["low"], row["high"]
            bounds = (float(low), float(high)) if is_number(low) and is_number(high) else None
            name, teacher = models[place].name, models[place].teacher
            points.append(figures.Point(name, float(price), float(row["value"]), bounds, teacher))
    if len({point.cost for point in points}) < 2:
        return []
    better = column.better or "higher"
    best = figures.efficient(points, better)
    names = [point.label for point in best]
    verb = "lies" if len(names) == 1 else "lie"
    title = f"{heading(column)} against {cost}: {_listed(names)} {verb} on the efficient frontier"
    said = "; ".join(
        f"{p.label}{' (teacher)' if p.teacher else ''} {shown(p.value, column.unit)} at {shown(p.cost, unit)}"
        f"{', on the frontier' if p in best else ''}"
        for p in sorted(points, key=lambda point: point.cost)
    )
    text = (
        f"{said}. Measured on: {column.data}.{more} Filled marks and the dashed line: no other model is "
        "better at no more cost. Bars: 95% intervals."
    )
    draw = partial(_draw, points, cost, heading(column), better, column.unit == "share")
    return [Figure(title[:1].upper() + title[1:], text, draw)]


def _draw(
    points: Sequence[figures.Point], cost: str, quality: str, better: str, share: bool, narrow: bool
) -> str:
    return figures.frontier(
        points, title="", cost=cost, quality=quality, better=better, share=share, narrow=narrow
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
