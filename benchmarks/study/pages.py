"""docs/results/study.md, a page per question, and the README's part, from the committed JSON alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write

from .jobs import say
from .questions import QUESTIONS
from .setting import ROOT, Setting
from .show import SLICE, duration, table, times

Results = Mapping[str, dict[str, Any]]

BEGIN, END = "<!-- study -->", "<!-- /study -->"
"""Between these the README holds what this writes."""
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def found(setting: Setting) -> dict[str, dict[str, Any]]:
    """The results that are there, by question, in the study's order."""
    files = {name: setting.results / f"study-{name}.json" for name in QUESTIONS}
    return {
        name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()
    }


def write(setting: Setting, readme: Path = ROOT / "README.md") -> None:
    """Writes the pages of what is answered, the overview, and, of the full study, the README's part."""
    results = found(setting)
    if not results:
        return
    pages = make(results, setting, setting.pages)
    say(f"wrote {', '.join(pages)}")
    if not setting.quick:
        text = readme.read_text(encoding="utf-8")
        atomic_write(readme, with_study(text, results, pages, setting))


def make(results: Results, setting: Setting, folder: Path) -> dict[str, str]:
    """Writes all pages and figures into the folder; the pages by their files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        f"study-{name}.md": QUESTIONS[name].load().page(result, folder) for name, result in results.items()
    }
    pages["study.md"] = overview(results, setting)
    for name, page in pages.items():
        atomic_write(folder / name, page)
    return pages


def line_of(name: str, result: dict[str, Any]) -> str:
    """A question's answer in one line of Markdown that may stand in a table."""
    lines = (part.strip().removeprefix("- ") for part in QUESTIONS[name].load().headline(result))
    return " ".join(lines).replace("|", "\\|")


def scale(results: Results) -> str:
    """At what scale all of it was measured: two sentences, of what has been measured."""
    said = []
    if "teachers" in results:
        rows = results["teachers"]["teachers"].values()
        shapes = sorted({times(f"{row['layers']}x{row['hidden']}") for row in rows})
        largest = max(row["parameters"] for row in rows) / 1e6
        tokens = sum(row["tokens"] for row in rows) / 1e6
        said.append(
            f"three teachers of {' and '.join(shapes)} ({largest:.1f} million parameters at most, trained on"
            f" {tokens:.0f} million tokens in all)"
        )
    if "convergence" in results:
        told = results["convergence"]["scale"]
        small, *larger = map(times, told["sizes"])
        also = f" (and of {' and '.join(larger)} where a page says so)" if larger else ""
        seeds = f"{len(told['seeds'])} seed{'s' if len(told['seeds']) > 1 else ''}"
        said.append(
            f"students of {small}{also}, {told['steps']:,} steps of {told['batch']} passages of three domains"
            f" (encyclopedia, fiction, WordNet's glosses), {seeds}"
        )
    about = next(iter(results.values()))["environment"]
    said.append(f"{about['processor']}, {about['cores']} cores")
    return f"Scale: {'; '.join(said)}. What holds at this scale need not hold at a larger one."


def overview(results: Results, setting: Setting) -> str:
    """docs/results/study.md: of each question its answer in a line, the hours, and where to read on."""
    rows = [
        [f"[{QUESTIONS[name].asks}](study-{name}.md)", line_of(name, result), duration(result["seconds"])]
        for name, result in results.items()
    ]
    total = sum(result["seconds"] for result in results.values())
    left = [f"`{name}`" for name in QUESTIONS if name not in results]
    parts = [
        "# The study",
        "Does Limbeck do what the paper claims? Written by `benchmarks/study` from the JSON of each question;"
        f" not to be edited. Again: `make study{'-quick' if setting.quick else ''}`; it goes on where it was"
        " stopped.",
        *([SLICE] if setting.quick else []),
        scale(results),
        table(["question", "answer", "time"], rows, left=2),
        f"In all {duration(total)}. A question's time holds the trainings that were missing when it was"
        f" asked; later questions use them again.{_teachers_time(results)}",
        *([f"Not answered yet: {', '.join(left)}."] if left else []),
    ]
    return "\n\n".join(parts) + "\n"


def _teachers_time(results: Results) -> str:
    """The teachers may have been trained before any question was asked."""
    if "teachers" not in results:
        return ""
    rows = results["teachers"]["teachers"]
    clocks = ", ".join(f"{name} {duration(row['seconds'])}" for name, row in rows.items())
    return f" The teachers' trainings by their own clocks, one core each and beside other work: {clocks}."


def figure_of(pages: Mapping[str, str]) -> str | None:
    """The first figure of `convergence`, as the README shows it."""
    image = IMAGE.search(pages.get("study-convergence.md", ""))
    return f"![{image[1]}](docs/results/{image[2]})" if image else None


def with_study(readme: str, results: Results, pages: Mapping[str, str], setting: Setting) -> str:
    """The README with one table and one figure of the study between its marks.

    Without the answer to the first claim, `convergence`, there is nothing to show, and nothing stands there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"README.md has lost {BEGIN} or {END}"
    if "convergence" not in results:
        return f"{before}{begin}\n{end}{after}"
    rows = [
        [f"[{QUESTIONS[name].asks}](docs/results/study-{name}.md)", line_of(name, result)]
        for name, result in results.items()
        if name != "teachers"
    ]
    figure = figure_of(pages)
    parts = [
        begin,
        table(["[the study](docs/results/study.md)", "answer"], rows, left=2),
        *([figure] if figure else []),
        scale(results),
        end,
    ]
    return before + "\n\n".join(parts) + after
