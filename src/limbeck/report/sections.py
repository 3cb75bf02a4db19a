"""The sections of a report that show what was measured: results, learning curves, weights and coverage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from limbeck.files import atomic_write
from limbeck.report import figures
from limbeck.report.content import PIECE, WORD, course_of, coverage_of, other_courses, shares_of
from limbeck.report.markdown import NONE, bounds, count, escape, fixed, interval, share, table
from limbeck.report.measured import best_comparison, students, teachers
from limbeck.report.runs import RunFiles, is_number
from limbeck.tasks.rows import TRAINED, rows_of


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
        if run.kind == "student" and (points := run.points("valid_nats", evaluation=True)):
            accuracy = run.points("valid_accuracy", evaluation=True)
            step, nats = points[-1]
            rows.append([run.name, f"{step:,.0f}", fixed(nats), share(accuracy[-1][1] if accuracy else None)])
    if rows:
        parts.append("Logged last by what has not been measured on words yet:")
        parts.append(table(["run", "step", PIECE, "accuracy"], rows))
    own = [line for run in runs for line in own_figures(run)]
    if own:
        parts.append("Measured by the trainings themselves:")
        parts.append(table(["run", "measure", "value", "measured on"], own))
    if not measured and not rows and not own:
        parts.append("Nothing has been evaluated yet.")
    return "\n\n".join(parts)


def own_figures(run: RunFiles) -> list[list[str]]:
    """What a gloss training or a fine-tuning measured on its own rows: run, measure, value, data."""
    if run.kind == "student" or not run.results:
        return []
    rows = [row for row in rows_of(run.results) if row["task"] in ("wsd", "run") and row["data"]]
    return [
        [
            run.name,
            row["metric"].replace("_", " "),
            f"{fixed(row['value'])} ({row['model']})" if row["role"] == "baseline" else fixed(row["value"]),
            row["data"],
        ]
        for row in rows
        if is_number(row["value"]) and row["data"] != TRAINED
    ]


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
        svg = figures.estimates(shown, title=title, unit=f"held-out {WORD}, {which}")
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
    """The section of learning curves."""
    of_students = course_of([run for run in runs if run.kind == "student"])
    courses = [*([of_students] if of_students else []), *other_courses(runs)]
    if not courses:
        return "## Learning curves\n\nNo evaluation on held-out text has been logged yet."
    parts = ["## Learning curves"]
    for one in courses:
        svg = figures.learning_curves(
            one.curves, one.levels, title=one.title, unit=one.unit, better=one.better
        )
        parts += [drawn.add("learning", svg, one.title), one.said]
    return "\n\n".join(part for part in parts if part)


def weights(run: RunFiles, drawn: Figures) -> str:
    """The section of one run's teacher weights over the training; empty with fewer than two teachers."""
    parts = []
    for one in shares_of(run):
        svg = figures.teacher_weights(one.curves, title=one.title, ylabel=one.ylabel)
        alt = f"{one.what} per teacher over the training. {one.title}"
        parts.append(drawn.add(f"{one.key}-{run.name}", svg, alt))
    if not parts:
        return ""
    return f"## Teacher weights: {escape(run.name)}\n\n" + "\n\n".join(parts)


def coverage(run: RunFiles, drawn: Figures) -> str:
    """The section of what one run's teachers cover; empty where no teacher was measured."""
    found = coverage_of(run)
    if found is None:
        return ""
    text = f"## Coverage: {escape(run.name)}\n\n{table(found.columns, found.rows)}"
    if found.bars:
        svg = figures.coverage_bars(found.bars, title=found.title)
        text += "\n\n" + drawn.add(f"coverage-{run.name}", svg, found.title)
    return text
