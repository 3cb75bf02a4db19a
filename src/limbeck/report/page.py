"""`limbeck report RUN...`: a Markdown page with figures, made only of what the runs wrote.

A value that a run did not record is shown as a dash, never guessed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.report import figures
from limbeck.report.markdown import (
    NONE,
    bounds,
    code_block,
    count,
    duration,
    escape,
    fixed,
    interval,
    memory,
    share,
    table,
)
from limbeck.report.runs import RunFiles, is_number, read_run
from limbeck.run import atomic_write

UNIT = "nats per masked piece"
"""What `valid_nats` counts: the student's own pieces, at slots that it sees masked."""


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the report of one run, or of several compared, and its figures in a folder beside it.

    Args:
        runs: run directories. output: the Markdown file, or a folder for `report.md`; None: in the run directory, or for
            several runs in the folder that holds the first.

    Returns:
        The path of the Markdown file; the figures are in the folder of the same name without `.md`.

    Raises:
        UserError: not a run directory, nothing logged yet, a damaged file, or the report cannot be written.
    """
    if not runs:
        raise UserError("no run to report on; name at least one run directory")
    read = _named([read_run(Path(folder)) for folder in runs])
    if output is None:
        output = (read[0].folder if len(read) == 1 else read[0].folder.resolve().parent) / "report.md"
    elif output.suffix != ".md":
        output = output / "report.md"
    drawn = _Figures(output.with_suffix(""))
    parts = [
        _heading(read),
        _what(read),
        _results(read, drawn),
        _curves(read, drawn),
        *(_weights(run, drawn) for run in read if run.teachers()),
        *(_coverage(run, drawn) for run in read if run.teachers()),
        _cost(read),
        _reproduce(read),
    ]
    drawn.write()
    atomic_write(output, "\n\n".join(part for part in parts if part) + "\n")
    return output


class _Figures:
    """The figures of a page: kept until all are drawn, so that a failure leaves no half report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._drawn: dict[str, str] = {}

    def add(self, name: str, svg: str, alt: str) -> str:
        """Keeps a figure under a file name of plain letters; gives the Markdown that shows it."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "figure"
        while f"{slug}.svg" in self._drawn:
            slug += "-2"
        self._drawn[f"{slug}.svg"] = svg
        place = f"{self.folder.name}/{slug}.svg".replace("%", "%25").replace(" ", "%20")
        return f"![{escape(alt)}](<{place}>)"

    def write(self) -> None:
        for name, svg in self._drawn.items():
            atomic_write(self.folder / name, svg)


def _named(runs: list[RunFiles]) -> list[RunFiles]:
    """Runs of one name are told apart by their folders' names, and these by a number."""
    from dataclasses import replace

    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return runs
    folders = [run.folder.resolve().name for run in runs]
    if len(set(folders)) == len(folders):
        return [replace(run, name=folder) for run, folder in zip(runs, folders, strict=True)]
    return [replace(run, name=f"{run.name} ({i})") for i, run in enumerate(runs, start=1)]


def _heading(runs: Sequence[RunFiles]) -> str:
    title = escape(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs compared"
    lines = [f"# Report: {title}"]
    for run in runs:
        state = run.status.get("state")
        if state is not None and state != "finished":
            lines.append(f"> **{escape(run.name)} is not finished** (state: {escape(state)}): its figures will change.")
    return "\n\n".join(lines)


def _what(runs: Sequence[RunFiles]) -> str:
    columns = ["run", "student", "teachers", "weighting", "kd", "student sees", "steps", "batch", "seed"]
    rows = []
    for run in runs:
        kd, last = run.setting("distill", "kd"), run.setting("distill", "kd_final")
        taught = bool(run.teachers())
        rows.append(
            [
                run.name,
                _student(run),
                ", ".join(run.teachers()) or "none",
                run.setting("distill", "weighting") if taught else None,
                (f"{kd} to {last}" if is_number(last) and last != kd else kd) if taught else None,
                run.setting("distill", "student_sees"),
                run.setting("train", "steps"),
                run.setting("train", "batch"),
                run.recipe.get("seed"),
            ]
        )
    texts = []
    for run in runs:
        for kind in ("train", "valid"):
            given = run.setting("text", kind)
            named = ", ".join(str(item) for item in given) if isinstance(given, list) else given
            texts.append([run.name, kind, named, _data(run, kind)])
    return f"## What was run\n\n{table(columns, rows)}\n\n{table(['run', 'text', 'from', 'measured'], texts)}"


def _student(run: RunFiles) -> str:
    student = run.recipe.get("student")
    if not isinstance(student, dict):
        return NONE
    if student.get("init"):
        layers = student.get("layers")
        return f"{student['init']}" + (f", layers {layers}" if layers else "")
    shape = f"{student.get('layers', '?')}×{student.get('hidden', '?')}"
    return f"{student.get('family', '')} {shape}, {student.get('tokenizer', '')}".strip(" ,")


def _data(run: RunFiles, kind: str) -> str:
    data = run.section("data").get(kind)
    if not isinstance(data, dict):
        return NONE
    return ", ".join(f"{count(value)} {name}" for name, value in data.items() if is_number(value)) or NONE


def _results(runs: Sequence[RunFiles], drawn: _Figures) -> str:
    columns = ["model", "what", UNIT, "95% interval", "accuracy", "parameters"]
    rows: list[list[Any]] = []
    shown: list[figures.Estimate] = []
    for run in runs:
        valid = run.section("valid")
        if is_number(valid.get("nats")):
            span = bounds(valid.get("interval"))
            rows.append([run.name, "student", fixed(valid["nats"]), interval(span), share(valid.get("accuracy")),
                         count(run.section("student").get("parameters"))])  # fmt: skip
            shown.append(figures.Estimate(run.name, float(valid["nats"]), span))
        elif points := run.points("valid_nats", evaluation=True):
            accuracy = run.points("valid_accuracy", evaluation=True)
            rows.append([run.name, f"student at step {points[-1][0]:,.0f}", fixed(points[-1][1]), NONE,
                         share(accuracy[-1][1] if accuracy else None),
                         count(run.section("student").get("parameters"))])  # fmt: skip
            shown.append(figures.Estimate(run.name, points[-1][1], None))
    for teacher in _teachers(runs):
        rows.append([teacher.get("name"), "teacher", fixed(teacher.get("nats")), interval(bounds(teacher.get(
            "interval"))), share(teacher.get("masked_accuracy")), count(teacher.get("parameters"))])  # fmt: skip
        if is_number(teacher.get("nats")):
            shown.append(
                figures.Estimate(str(teacher["name"]), teacher["nats"], bounds(teacher.get("interval")), True)
            )
    if not rows:
        return "## Result\n\nNothing has been evaluated yet."
    text = f"## Result\n\n{table(columns, rows)}"
    if any(row[1] == "teacher" for row in rows):
        text += (
            "\n\nA teacher is measured in its own tokenization; with another tokenizer than the student's its figures "
            "are a guide, not a like-for-like comparison (`limbeck eval mlm` compares on the same words)."
        )
    if len(shown) > 1:
        svg = figures.estimates(shown, title=_ranking(shown), unit=UNIT)
        text += "\n\n" + drawn.add("results", svg, _ranking(shown))
    return text


def _ranking(shown: Sequence[figures.Estimate]) -> str:
    students = sorted((row for row in shown if not row.teacher), key=lambda row: row.value)
    if not students:
        return f"The teachers' {UNIT}"
    if len(students) == 1:
        return f"{students[0].label}: {students[0].value:.3f} {UNIT}"
    gap = students[1].value - students[0].value
    return f"{students[0].label} is best: {students[0].value:.3f} {UNIT}, {gap:.3f} below {students[1].label}"


def _teachers(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """The teachers of all runs, each once; two of one name in different runs carry the run's name."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        for teacher in _teacher_table(run):
            key = (teacher.get("name"), teacher.get("model"), teacher.get("nats"))
            found.setdefault(key, teacher | {"run": run.name})
    names = [teacher.get("name") for teacher in found.values()]
    return [
        teacher | {"name": f"{teacher['name']} of {teacher['run']}"} if names.count(teacher["name"]) > 1 else teacher
        for teacher in found.values()
    ]


def _teacher_table(run: RunFiles) -> list[dict[str, Any]]:
    given = run.results.get("teachers")
    return [t for t in given if isinstance(t, dict) and "name" in t] if isinstance(given, list) else []


def _curves(runs: Sequence[RunFiles], drawn: _Figures) -> str:
    curves = [figures.Curve(run.name, run.points("valid_nats", evaluation=True)) for run in runs]
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return "## Learning curves\n\nNo evaluation on held-out text has been logged yet."
    levels = [(str(t["name"]), float(t["nats"])) for t in _teachers(runs) if is_number(t.get("nats"))]
    best = min(curves, key=lambda curve: curve.points[-1][1])
    title = f"{best.label} ends at {best.points[-1][1]:.2f} {UNIT}"
    others = sorted((c for c in curves if c is not best), key=lambda curve: curve.points[-1][1])
    if others:
        gap = others[0].points[-1][1] - best.points[-1][1]
        title += f", {gap:.2f} below {others[0].label}"
        passed = next((x for x, y in best.points if y <= others[0].points[-1][1]), None)
        if passed is not None and passed < best.points[-1][0]:
            title += f", whose end it passes by step {passed:,.0f}"
    svg = figures.learning_curves(curves, levels, title=title, unit=UNIT)
    return "## Learning curves\n\n" + drawn.add("learning", svg, title)


def _weights(run: RunFiles, drawn: _Figures) -> str:
    parts = []
    for key, what, ylabel in (
        ("weight", "mean weight", "mean weight where several cover"),
        ("heaviest", "share of slots on which the teacher weighs most", "share of slots, heaviest"),
    ):
        curves = [figures.Curve(name, run.points(f"{key}/{name}")) for name in run.teachers()]
        curves = [curve for curve in curves if curve.points]
        if len(curves) < 2:
            continue
        tail = {c.label: sum(y for _, y in c.points[-10:]) / len(c.points[-10:]) for c in curves}
        top = max(tail, key=lambda label: tail[label])
        said = "weight" if key == "weight" else "share of slots on which it is the heaviest"
        title = f"{run.name}: {top} ends with the largest {said}, {tail[top]:.2f}"
        svg = figures.teacher_weights(curves, title=title, ylabel=ylabel)
        parts.append(drawn.add(f"{key}-{run.name}", svg, f"{what} per teacher over the training. {title}"))
    if not parts:
        return ""
    return f"## Teacher weights: {escape(run.name)}\n\n" + "\n\n".join(parts)


def _coverage(run: RunFiles, drawn: _Figures) -> str:
    rows, bars = [], []
    for teacher in _teacher_table(run):
        uncovered = teacher.get("uncovered")
        reasons = {str(k): float(v) for k, v in uncovered.items() if is_number(v)} if isinstance(uncovered, dict) else {}
        rows.append(
            [
                teacher["name"],
                teacher.get("model"),
                share(teacher.get("coverage")),
                ", ".join(f"{name} {share(value)}" for name, value in reasons.items()) or NONE,
                share(teacher.get("vocabulary_projected")),
                fixed(teacher.get("temperature")),
                fixed(teacher.get("prior")),
            ]
        )
        if is_number(teacher.get("coverage")):
            bars.append((str(teacher["name"]), float(teacher["coverage"]), reasons))
    if not rows:
        return ""
    columns = ["teacher", "model", "slots covered", "not covered, why", "vocabulary projected", "calibration", "prior"]
    text = f"## Coverage: {escape(run.name)}\n\n{table(columns, rows)}"
    if bars:
        least = min(bars, key=lambda bar: bar[1])
        title = f"{run.name}: every teacher covers at least {least[1]:.1%} of the slots"
        text += "\n\n" + drawn.add(f"coverage-{run.name}", figures.coverage_bars(bars, title=title), title)
    return text


def _cost(runs: Sequence[RunFiles]) -> str:
    columns = ["run", "wall time", "tokens", "tokens/s", "peak memory", "student parameters", "teacher parameters"]
    rows = []
    for run in runs:
        cost = run.section("cost")
        speeds = [speed for _, speed in run.points("tokens_per_second")]
        speed = cost.get("tokens_per_second", sum(speeds) / len(speeds) if speeds else None)
        teachers = [t.get("parameters") for t in _teacher_table(run)]
        rows.append(
            [
                run.name,
                duration(cost.get("seconds", run.final.get("seconds"))),
                count(cost.get("tokens", run.final.get("tokens"))),
                count(speed),
                memory(cost.get("peak_memory_bytes", run.final.get("peak_memory_bytes"))),
                count(run.section("student").get("parameters")),
                " + ".join(count(p) for p in teachers) or ("none" if not run.teachers() else NONE),
            ]
        )
    return f"## Cost\n\n{table(columns, rows)}"


def _reproduce(runs: Sequence[RunFiles]) -> str:
    parts = ["## How to reproduce"]
    for run in runs:
        command = run.environment.get("command")
        if isinstance(command, list):
            command = shlex.join(str(word) for word in command)
        parts.append(f"### {escape(run.name)}")
        parts.append(code_block(str(command) if command else "limbeck run recipe.toml", "sh"))
        parts.append(
            f"<details><summary>recipe.toml as it ran</summary>\n\n{code_block(run.recipe_text, 'toml')}\n\n</details>"
        )
        if run.environment:
            parts.append(_environment(run.environment))
    return "\n\n".join(parts)


def _environment(environment: dict[str, Any]) -> str:
    rows = []
    for name, value in environment.items():
        if name == "command":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        rows.append([name, value])
    return table(["environment", ""], rows)
