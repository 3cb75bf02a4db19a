"""The sections of a page on runs: how they learnt, what teachers gave, what it cost, how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from limbeck.report import figures
from limbeck.report.blocks import Block, Cell, Figure, Listing, Notes, Section, table
from limbeck.report.content import (
    COSTS,
    TEXTS,
    WHAT,
    Course,
    Shares,
    command_of,
    costs_of,
    course_of,
    coverage_of,
    other_courses,
    shares_of,
    texts_of,
    what_of,
)
from limbeck.report.markdown import NONE, duration
from limbeck.report.runs import RunFiles, is_number
from limbeck.report.sources import Source
from limbeck.report.task_parts import leave_one_out


def training_parts(sources: Sequence[Source]) -> list[Section]:
    """The sections on the runs among the sources."""
    runs = [source.run for source in sources if source.run is not None]
    sections = [
        Section("Learning curves", _learning(runs)),
        Section("Teachers", [block for source in sources for block in _teachers(source)]),
        Section("What training cost", _costs(runs, sources)),
        Section("What was run", _what(runs)),
        Section("How to reproduce", _reproduce(sources)),
    ]
    return sections


def _learning(runs: Sequence[RunFiles]) -> list[Block]:
    """Students by nats; gloss training by F1; fine-tuning by the figure that chose its best epoch."""
    students = [run for run in runs if run.kind == "student"]
    courses = [*(course_of(group) for group in _by_text(students)), *other_courses(runs)]
    blocks: list[Block] = []
    for course in courses:
        if course is not None:
            ends = "; ".join(
                f"{curve.label} from {curve.points[0][1]:.3f} at step {curve.points[0][0]:,.0f} to "
                f"{curve.points[-1][1]:.3f} at step {curve.points[-1][0]:,.0f}"
                for curve in course.curves
            )
            levels = "; ".join(f"{name}, a teacher, {value:.3f}" for name, value in course.levels)
            said = " ".join(part for part in (f"{ends}.", levels and f"{levels}.", course.said) if part)
            blocks.append(Figure(course.title, said, partial(_draw_course, course)))
    return blocks


def _by_text(runs: Sequence[RunFiles]) -> list[list[RunFiles]]:
    """Runs that were measured on the same text stand in one figure."""
    groups: dict[str, list[RunFiles]] = {}
    for run in runs:
        text = run.section("text").get("valid")
        known = text.get("fingerprint") if isinstance(text, dict) else None
        groups.setdefault(str(known or run.setting("text", "valid")), []).append(run)
    return list(groups.values())


def _draw_course(course: Course, narrow: bool) -> str:
    return figures.learning_curves(
        course.curves, course.levels, title="", unit=course.unit, better=course.better, narrow=narrow
    )


def _teachers(source: Source) -> list[Block]:
    run = source.run
    if run is None:
        return []
    blocks: list[Block] = []
    for one in shares_of(run):
        ends = "; ".join(
            f"{curve.label} from {curve.points[0][1]:.2f} to {curve.points[-1][1]:.2f}"
            for curve in one.curves
        )
        said = f"{one.what.capitalize()} per teacher over the training: {ends}. Dotted: equal parts."
        blocks.append(Figure(one.title, said, partial(_draw_shares, one)))
    blocks += leave_one_out(source)
    if source.left_out:
        blocks.append(Notes([f"Not shown: {line}." for line in source.left_out]))
    if (covered := coverage_of(run)) is not None:
        if covered.bars:
            said = "; ".join(f"{name} covers {share:.1%} of the slots" for name, share, _ in covered.bars)
            blocks.append(Figure(covered.title, f"{said}.", partial(_draw_coverage, covered.bars)))
        blocks.append(table(f"Teachers of {run.name}", covered.columns, covered.rows, words=(0, 1, 3)))
    return blocks


def _draw_shares(one: Shares, narrow: bool) -> str:
    ylabel = (
        one.ylabel.replace(" where", "\nwhere").replace(", heaviest", ",\nheaviest") if narrow else one.ylabel
    )
    return figures.teacher_weights(one.curves, title="", ylabel=ylabel, narrow=narrow)


def _draw_coverage(bars: Sequence[Any], narrow: bool) -> str:
    return figures.coverage_bars(bars, title="", narrow=narrow)


def _costs(runs: Sequence[RunFiles], sources: Sequence[Source]) -> list[Block]:
    if not runs:
        return []
    energies = [_energy(run) for run in runs]
    rows = [[*row, energy] for row, energy in zip(costs_of(runs), energies, strict=True)]
    columns = [*COSTS[:-2], "parameters of the model", "of its teachers", "energy"]
    notes = [
        "By each run's own log. The training of teachers is not counted in that of their student, nor the "
        "training of a student in what it learnt after."
    ]
    if any(energy.text == NONE for energy in energies):
        notes.append("–: energy was not measured; nothing is estimated in its place.")
    blocks: list[Block] = [table("Training", columns, rows, notes=notes)]
    estimated = [row for source in sources for row in estimates(source)]
    if estimated:
        heads = ["model", "run", "tokens", "time", "energy"]
        blocks.append(table("Training of the models whose cost was measured", heads, estimated, words=(0, 1)))
    return blocks


def _energy(run: RunFiles) -> Cell:
    cost = run.section("cost")
    joules = cost.get("energy_joules", run.final.get("energy_joules"))
    if not is_number(joules):
        return Cell(NONE)
    return Cell(f"{joules / 3600:.3g} Wh", f"measured by {cost.get('energy_source') or 'the machine'}")


def estimates(source: Source) -> list[list[Any]]:
    """Stages of training that `eval cost` found with an energy, measured or estimated."""
    rows = []
    for result, _ in source.results:
        for model in result["models"] if result.get("task") == "cost" else []:
            for stage in model.get("training") or []:
                energy = stage.get("energy")
                if energy is None:
                    continue
                sort, told = "measured" if energy["measured"] else "estimate", str(energy["source"])
                said = told if told.startswith(sort) else f"{sort}: {told}"
                cell = Cell(f"{energy['kwh'] * 1000:.3g} Wh", said)
                tokens = f"{stage['tokens']:,}" if is_number(stage["tokens"]) else None
                rows.append([model["name"], stage["run"], tokens, duration(stage["seconds"]), cell])
    return rows


def _what(runs: Sequence[RunFiles]) -> list[Block]:
    if not runs:
        return []
    return [
        table("Runs", WHAT, what_of(runs), words=(0, 1, 2, 3, 5)),
        table("Text and instances", TEXTS, texts_of(runs), words=range(4)),
    ]


def _reproduce(sources: Sequence[Source]) -> list[Block]:
    blocks: list[Block] = []
    for source in sources:
        run = source.run
        if run is None:
            names = [str(one.get("name")) for one in source.models]
            tasks = list(dict.fromkeys(str(result.get("task", "run")) for result, _ in source.results))
            blocks.append(Notes([f"{source.name}: an evaluation ({', '.join(tasks)})" + _of(names)]))
            if source.left_out:
                blocks.append(Notes([f"Not measured: {line}" for line in source.left_out]))
        else:
            heading = f"{source.name}: recipe as it ran ({command_of(run)})"
            blocks.append(Listing(heading, run.recipe_text.rstrip()))
    known = [s.run.environment if s.run is not None else s.environment for s in sources]
    for environment in [one for place, one in enumerate(known) if one and one not in known[:place]]:
        of = [source.name for source, one in zip(sources, known, strict=True) if one == environment]
        blocks.append(table(f"Environment: {', '.join(of)}", ["", ""], _flat(environment), words=(0, 1)))
    return blocks


def _of(names: Sequence[str]) -> str:
    return f" of {', '.join(names)}." if names else "."


def _flat(environment: dict[str, Any]) -> list[list[Any]]:
    rows = []
    for name, value in environment.items():
        said = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        rows.append([name, said])
    return rows
