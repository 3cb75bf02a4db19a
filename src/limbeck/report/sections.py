"""The sections of a report that show what was measured: results, learning curves, weights and coverage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from limbeck.files import atomic_write
from limbeck.report import figures
from limbeck.report.markdown import NONE, bounds, count, escape, fixed, interval, share, table
from limbeck.report.measured import best_comparison, students, teachers
from limbeck.report.runs import RunFiles, is_number

WORD = "nats per masked word"
PIECE = "nats per masked piece"
"""What a run logs while it trains: the student's own pieces, at slots that it sees masked."""


class Figures:
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
        """Writes all figures to their folder."""
        for name, svg in self._drawn.items():
            atomic_write(self.folder / name, svg)


def results(runs: Sequence[RunFiles], drawn: Figures) -> str:
    """The section of results: per masked word where that was measured, else what was last logged."""
    measured, waiting = [run for run in runs if students([run])], [run for run in runs if not students([run])]
    parts = ["## Result"]
    if measured:
        parts += _per_word(measured, drawn)
    rows = []
    for run in waiting:
        if points := run.points("valid_nats", evaluation=True):
            accuracy = run.points("valid_accuracy", evaluation=True)
            step, nats = points[-1]
            rows.append([run.name, f"{step:,.0f}", fixed(nats), share(accuracy[-1][1] if accuracy else None)])
    if rows:
        parts.append("Logged last by what has not been measured on words yet:")
        parts.append(table(["run", "step", PIECE, "accuracy"], rows))
    if not measured and not rows:
        parts.append("Nothing has been evaluated yet.")
    return "\n\n".join(parts)


def _per_word(runs: Sequence[RunFiles], drawn: Figures) -> list[str]:
    found = [*students(runs), *teachers(runs)]
    columns = ["model", "what", f"{WORD}, single-piece words", "95% interval", "accuracy"]
    columns += [f"{WORD}, all words", "95% interval", "accuracy", "pieces per word", "parameters"]
    rows = []
    for model in found:
        row = [model.name, "teacher" if model.teacher else "student"]
        for part in (model.headline, model.all_words):
            row += [fixed(part.get("nats")), interval(bounds(part.get("nats_interval")))]
            row.append(share(part.get("accuracy")))
        rows.append([*row, f"{model.pieces:.2f}" if model.pieces else NONE, count(model.parameters)])
    parts = [table(columns, rows), *(_counted(run) for run in runs)]
    common, which = best_comparison(runs)
    if common == "all_words" and len(runs) > 1:
        parts.append(
            "The runs compared other tokenizers, so their single-piece words differ: across the runs, "
            "compare all words."
        )
    if common is None:
        parts.append(
            "These runs were measured on different words: their figures are not comparable. Compare the "
            "models on one text with `limbeck eval mlm`."
        )
        return parts
    shown = [
        figures.Estimate(m.name, float(p["nats"]), bounds(p.get("nats_interval")), m.teacher)
        for m in found
        if is_number((p := getattr(m, common)).get("nats"))
    ]
    if len(shown) > 1:
        title = _ranking(shown, f"{WORD} ({which})")
        svg = figures.estimates(shown, title=title, unit=f"{WORD}, {which}")
        parts.append(drawn.add("results", svg, title))
    return parts


def _counted(run: RunFiles) -> str:
    """On how many words, what was left out and what to keep in mind."""
    words = run.section("words")
    counts, data = words.get("counts", {}), words.get("data", {})
    text = (
        f"{escape(run.name)}: {count(counts.get('masked_words'))} masked words of "
        f"{count(data.get('passages'))} held-out passages, the same for student and teachers; "
        f"{count(counts.get('headline'))} of them are a single piece in every tokenizer compared"
    )
    left = [f"{count(n)} {escape(reason)}" for reason, n in counts.get("left_out", {}).items() if n]
    text += f"; left out for all: {', '.join(left)}." if left else "."
    return " ".join([text, *(escape(note) for note in words.get("notes", []))])


def _ranking(shown: Sequence[figures.Estimate], unit: str) -> str:
    ranked = sorted((row for row in shown if not row.teacher), key=lambda row: row.value)
    if len(ranked) == 1:
        return f"{ranked[0].label}: {ranked[0].value:.3f} {unit}"
    best, other = ranked[:2]
    title = f"{best.label}: {best.value:.3f} {unit}, {other.value - best.value:.3f} below {other.label}"
    overlap = best.interval and other.interval and best.interval[1] >= other.interval[0]
    return title + (" (their intervals overlap)" if overlap else "")


def learning(runs: Sequence[RunFiles], drawn: Figures) -> str:
    """The section of learning curves.

    A run logs nats per piece of its own tokenizer. Where the finished model was measured on words, its curve
    is drawn per word, by one factor for all of it, so that teachers and other tokenizers can stand beside it.
    """
    per_word = best_comparison(runs)[0] is not None
    curves = []
    for run in runs:
        points = run.points("valid_nats", evaluation=True)
        factor = _words_per_logged(run) if per_word else 1.0
        if points:
            curves.append(figures.Curve(run.name, [(step, nats * factor) for step, nats in points]))
    if not curves:
        return "## Learning curves\n\nNo evaluation on held-out text has been logged yet."
    levels = []
    if per_word:
        levels = [(t.name, float(t.all_words["nats"])) for t in teachers(runs) if t.all_words]
    unit = f"{WORD}, all words" if per_word else PIECE
    if per_word or len(curves) == 1:
        title = _course(curves, f"{WORD} (all words)" if per_word else PIECE)
    else:
        title = f"Held-out {PIECE} of {len(curves)} runs, each of its own pieces"
    svg = figures.learning_curves(curves, levels, title=title, unit=unit)
    text = (
        "Logged per piece of the student, shown per word: each curve times the one factor that ends it at "
        "what the finished model needs per word, all words."
        if per_word
        else "Per piece of each student's own tokenizer: curves of different tokenizers are not comparable."
    )
    return f"## Learning curves\n\n{drawn.add('learning', svg, title)}\n\n{text}"


def _words_per_logged(run: RunFiles) -> float:
    """Nats per word over nats per piece, of the finished model."""
    logged = run.points("valid_nats", evaluation=True)
    nats = students([run])[0].all_words.get("nats")
    return float(nats) / logged[-1][1] if logged and logged[-1][1] > 0 and is_number(nats) else 1.0


def _course(curves: Sequence[figures.Curve], unit: str) -> str:
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


def weights(run: RunFiles, drawn: Figures) -> str:
    """The section of one run's teacher weights over the training; empty with fewer than two teachers."""
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
        said = "weight" if key == "weight" else "share of slots on which one is the heaviest"
        title = f"{run.name}: {top} ends with the largest {said}"
        if max(tail.values()) - min(tail.values()) < 0.005:
            title = f"{run.name}: the teachers end with the same {said}"
        svg = figures.teacher_weights(curves, title=title, ylabel=ylabel)
        parts.append(drawn.add(f"{key}-{run.name}", svg, f"{what} per teacher over the training. {title}"))
    if not parts:
        return ""
    return f"## Teacher weights: {escape(run.name)}\n\n" + "\n\n".join(parts)


def coverage(run: RunFiles, drawn: Figures) -> str:
    """The section of what one run's teachers cover; empty where no teacher was measured."""
    rows, bars = [], []
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
        return ""
    columns = [
        "teacher",
        "model",
        "slots covered",
        "not covered, why",
        "vocabulary projected",
        "calibration",
        "prior",
    ]
    text = f"## Coverage: {escape(run.name)}\n\n{table(columns, rows)}"
    if bars:
        least = min(bars, key=lambda bar: bar[1])
        title = f"{run.name}: every teacher covers at least {least[1]:.1%} of the slots"
        text += "\n\n" + drawn.add(f"coverage-{run.name}", figures.coverage_bars(bars, title=title), title)
    return text
