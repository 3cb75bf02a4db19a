"""What sections of a report show, apart from how they show it: curves, their titles, rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from limbeck.report.figures import Curve
from limbeck.report.markdown import NONE, count, duration, fixed, memory, share
from limbeck.report.measured import best_comparison, students, teachers
from limbeck.report.runs import RunFiles, is_number, is_whole

WORD = "nats per masked word"
PIECE = "nats per masked piece"
"""What a run logs while it trains: the student's own pieces, at slots that it sees masked."""

GLOSSES = "F1 on word senses"

Rows = list[list[Any]]


@dataclass(frozen=True)
class Course:
    """Learning curves. levels: a teacher and its value; said: how the curves are to be read."""

    curves: list[Curve]
    levels: list[tuple[str, float]]
    title: str
    unit: str
    said: str
    better: str = "lower"


def course_of(runs: Sequence[RunFiles]) -> Course | None:
    """Nats on held-out text of runs of students; None where nothing has been logged.

    A run logs nats per piece of its own tokenizer. Where the finished model was measured on words, its curve
    is drawn per word, by one factor for all of it, so that teachers and other tokenizers can stand beside it.
    """
    per_word = best_comparison(runs)[0] is not None
    curves = []
    for run in runs:
        points = run.points("valid_nats", evaluation=True)
        factor = _words_per_logged(run) if per_word else 1.0
        if points:
            curves.append(Curve(run.name, [(step, nats * factor) for step, nats in points]))
    if not curves:
        return None
    levels = []
    if per_word:
        levels = [(t.name, float(t.all_words["nats"])) for t in teachers(runs) if t.all_words]
    if per_word or len(curves) == 1:
        title = _course(curves, f"{WORD} (all words)" if per_word else PIECE)
    else:
        title = f"Held-out {PIECE} of {len(curves)} runs, each of its own pieces"
    said = (
        "Logged per piece of the student, shown per word: each curve times the one factor that ends it at "
        "what the finished model needs per word, all words."
        if per_word
        else "Per piece of each student's own tokenizer: curves of different tokenizers are not comparable."
    )
    return Course(curves, levels, title, f"{WORD}, all words" if per_word else PIECE, said)


def other_courses(runs: Sequence[RunFiles]) -> list[Course]:
    """Of gloss trainings by F1, of fine-tuning by the figure that chose its best epoch; where logged."""
    courses = [_logged([run for run in runs if run.kind == "gloss"], "valid_f1", GLOSSES, "higher")]
    tuned: dict[str, list[RunFiles]] = {}
    for run in runs:
        if run.kind == "finetune":
            tuned.setdefault(str(run.section("valid").get("judge", "accuracy")), []).append(run)
    for judge, some in tuned.items():
        courses.append(_logged(some, f"valid_{judge}", judge, "lower" if judge == "mse" else "higher"))
    return [course for course in courses if course is not None]


def _logged(runs: Sequence[RunFiles], key: str, unit: str, better: str) -> Course | None:
    curves = [Curve(run.name, run.points(key, evaluation=True)) for run in runs]
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    sign = 1 if better == "higher" else -1
    best = max(curves, key=lambda curve: sign * curve.points[-1][1])
    title = f"{best.label} ends at {best.points[-1][1]:.3f}, {unit}"
    said = "Each run on its own development set." if len(curves) > 1 else ""
    return Course(curves, [], title, unit, said, better)


def _words_per_logged(run: RunFiles) -> float:
    """Nats per word over nats per piece, of the finished model."""
    logged = run.points("valid_nats", evaluation=True)
    nats = students([run])[0].all_words.get("nats")
    return float(nats) / logged[-1][1] if logged and logged[-1][1] > 0 and is_number(nats) else 1.0


def _course(curves: Sequence[Curve], unit: str) -> str:
    ranked = sorted(curves, key=lambda curve: curve.points[-1][1])
    best, end = ranked[0], ranked[0].points[-1]
    title = f"{best.label} ends at {end[1]:.2f} {unit}"
    if len(ranked) > 1:
        other = ranked[1].points[-1][1]
        title += f", {other - end[1]:.2f} below {ranked[1].label}"
        passed = next((x for x, y in best.points if y <= other), None)
        if passed is not None and passed < end[0]:
            title += f", whose end it passes by step {passed:,.0f}"
    return title


@dataclass(frozen=True)
class Shares:
    """A figure of what each teacher carries over the training. key: `weight` or `heaviest`."""

    key: str
    what: str
    ylabel: str
    curves: list[Curve]
    title: str


def shares_of(run: RunFiles) -> list[Shares]:
    """Of one run's teachers; empty with fewer than two."""
    found = []
    for key, what, ylabel in (
        ("weight", "mean weight", "mean weight where several cover"),
        ("heaviest", "share of slots on which the teacher weighs most", "share of slots, heaviest"),
    ):
        curves = [Curve(name, run.points(f"{key}/{name}")) for name in run.teachers()]
        curves = [curve for curve in curves if curve.points]
        if len(curves) < 2:
            continue
        tail = {c.label: sum(y for _, y in c.points[-10:]) / len(c.points[-10:]) for c in curves}
        top = max(tail, key=lambda label: tail[label])
        said = "weight" if key == "weight" else "share of slots on which one is the heaviest"
        title = f"{run.name}: {top} ends with the largest {said}"
        if max(tail.values()) - min(tail.values()) < 0.005:
            title = f"{run.name}: the teachers end with the same {said}"
        found.append(Shares(key, what, ylabel, curves, title))
    return found


@dataclass(frozen=True)
class Coverage:
    """What one run's teachers cover: a table, and bars (teacher, share, reason -> share) with their title."""

    columns: list[str]
    rows: Rows
    bars: list[tuple[str, float, dict[str, float]]]
    title: str


def coverage_of(run: RunFiles) -> Coverage | None:
    """None where no teacher was measured."""
    rows: Rows = []
    bars = []
    for teacher in run.teacher_table():
        uncovered = teacher.get("uncovered")
        reasons = (
            {str(k): float(v) for k, v in uncovered.items() if is_number(v)}
            if isinstance(uncovered, dict)
            else {}
        )
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
        return None
    columns = ["teacher", "model", "slots covered", "not covered, why", "vocabulary projected"]
    title = ""
    if bars:
        least = min(bars, key=lambda bar: bar[1])
        title = f"{run.name}: every teacher covers at least {least[1]:.1%} of the slots"
    return Coverage([*columns, "calibration", "prior"], rows, bars, title)


WHAT = ["run", "student", "teachers", "weighting", "kd", "student sees", "steps", "batch", "seed"]
TEXTS = ["run", "text", "from", "measured"]


def what_of(runs: Sequence[RunFiles]) -> Rows:
    """Rows of `WHAT`."""
    rows: Rows = []
    for run in runs:
        kd, last = run.setting("distill", "kd"), run.setting("distill", "kd_final")
        taught = bool(run.teachers())
        section = "train" if run.kind == "student" else run.kind
        steps = run.setting(section, "steps")
        rows.append(
            [
                run.name,
                _student(run),
                ", ".join(run.teachers()) or "none",
                run.setting("distill", "weighting") if taught else None,
                (f"{kd} to {last}" if is_number(last) and last != kd else kd) if taught else None,
                _sees(run),
                run.section("cost").get("steps") if steps is None else steps,
                run.setting(section, "batch"),
                run.setting(section, "seed") if run.kind == "finetune" else run.recipe.get("seed"),
            ]
        )
    return rows


def _sees(run: RunFiles) -> Any:
    """What the student is shown at a selected word; None where no words are."""
    if run.kind == "student":
        return run.section("student").get("student_sees", run.setting("distill", "student_sees"))
    return run.results.get("student_sees")


def texts_of(runs: Sequence[RunFiles]) -> Rows:
    """Rows of `TEXTS`."""
    rows: Rows = []
    for run in runs:
        for kind in ("train", "valid"):
            given = run.setting("text" if run.kind == "student" else run.kind, kind)
            named = ", ".join(str(item) for item in given) if isinstance(given, list) else given
            rows.append([run.name, kind, named, _data(run, kind)])
    return rows


def _student(run: RunFiles) -> str:
    if run.kind != "student":
        init = run.setting(run.kind, "init" if run.kind == "gloss" else "model")
        method = run.results.get("method", "fine-tuning" if run.kind == "finetune" else "glosses")
        return f"{method}, from {_short_path(init)}" if init else str(method)
    student = run.recipe.get("student")
    if not isinstance(student, dict):
        return NONE
    if student.get("init"):
        layers = student.get("layers")
        return f"{student['init']}" + (f", layers {layers}" if layers else "")
    shape = f"{student.get('layers', '?')}×{student.get('hidden', '?')}"
    return f"{student.get('family', '')} {shape}, {student.get('tokenizer', '')}".strip(" ,")


def _short_path(model: object) -> str:
    """A model's name: a hub id as it is, of a path the last two folders."""
    path = PurePath(str(model))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(model)


def _data(run: RunFiles, kind: str) -> str:
    data = run.section("text" if run.kind == "student" else "data").get(kind)
    if run.kind == "gloss":
        data = run.results.get(kind)
    if not isinstance(data, dict):
        return NONE
    counts = [(name, value) for name, value in data.items() if is_whole(value)]
    return ", ".join(f"{value:,} {name}" for name, value in counts if not name.startswith("best_")) or NONE


def command_of(run: RunFiles) -> str:
    """What does the run again."""
    commands = {"finetune": "limbeck finetune", "gloss": "limbeck gloss recipe.toml"}
    return commands.get(run.kind, "limbeck run recipe.toml")


COSTS = ["run", "wall time", "tokens", "tokens/s", "peak memory", "student parameters", "teacher parameters"]


def costs_of(runs: Sequence[RunFiles]) -> Rows:
    """Rows of `COSTS`: what the trainings took."""
    rows: Rows = []
    for run in runs:
        cost = run.section("cost")
        speeds = [speed for _, speed in run.points("tokens_per_second")]
        speed = cost.get("tokens_per_second", sum(speeds) / len(speeds) if speeds else None)
        given = [t.get("parameters") for t in run.teacher_table()]
        own = run.section("student") or run.section("model")
        rows.append(
            [
                run.name,
                duration(cost.get("seconds", run.final.get("seconds"))),
                count(cost.get("tokens", run.final.get("tokens"))),
                count(speed),
                _memory(run),
                count(own.get("parameters")),
                " + ".join(count(p) for p in given) or ("none" if not run.teachers() else NONE),
            ]
        )
    return rows


def _memory(run: RunFiles) -> str:
    cost = run.section("cost")
    host = cost.get("peak_memory_bytes", run.final.get("peak_memory"))
    device = cost.get("peak_device_memory_bytes", run.final.get("peak_device_memory"))
    return memory(host) + (f", GPU {memory(device)}" if is_number(device) and device > 0 else "")
