"""`limbeck report RUN...`: a page, of HTML or of Markdown with figures, made only of what the runs wrote.

A value that a run did not record is shown as a dash, never guessed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.report.card import write_card
from limbeck.report.content import COSTS, TEXTS, WHAT, command_of, costs_of, texts_of, what_of
from limbeck.report.html import write_page
from limbeck.report.markdown import code_block, escape, table
from limbeck.report.runs import RunFiles, read_run
from limbeck.report.sections import Figures, coverage, learning, results, weights
from limbeck.report.sources import GLOSS

log = logging.getLogger("limbeck")


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the report of one run, or of several compared, and its figures in a folder beside it.

    Args:
        runs: run directories.
        output: an HTML page (`.html`; evaluation folders may be among the runs then), a Markdown file, or a
            folder for `report.md`; None: `report.md` in the run directory, or for several runs in the folder
            that holds the first.

    Returns:
        The path of the file; the figures of Markdown are in the folder of the same name without `.md`.

    Raises:
        UserError: not a run directory, nothing logged yet, a damaged file, or the report cannot be written.
    """
    if not runs:
        raise UserError("no run to report on; name at least one run directory")
    if output is not None and output.suffix.lower() in (".html", ".htm"):
        written = write_page(runs, output)
        _refresh(runs)
        return written
    read = _named([read_run(Path(folder)) for folder in runs])
    if output is None:
        output = (read[0].folder if len(read) == 1 else read[0].folder.resolve().parent) / "report.md"
    elif output.suffix != ".md":
        output = output / "report.md"
    drawn = Figures(output.with_suffix(""))
    parts = [
        _heading(read),
        _what(read),
        results(read, drawn),
        learning(read, drawn),
        *(weights(run, drawn) for run in read if run.teachers()),
        *(coverage(run, drawn) for run in read if run.teachers()),
        f"## Cost\n\n{table(COSTS, costs_of(read))}",
        _reproduce(read),
    ]
    drawn.write()
    atomic_write(output, "\n\n".join(part for part in parts if part) + "\n")
    _refresh(runs)
    return output


def _refresh(runs: Sequence[Path]) -> None:
    """Brings the cards of finished runs up to date; those of a place that may not be written to stay."""
    for folder in (place for run in map(Path, runs) for place in (run, run / GLOSS)):
        model = folder / "model"
        if model.is_dir() and (folder / "results.json").is_file() and (folder / "recipe.toml").is_file():
            if os.access(model, os.W_OK):
                write_card(folder)
            else:
                log.warning("%s cannot be written; the card in it stays as it is", model)


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
            lines.append(
                f"> **{escape(run.name)} is not finished** (state: {escape(state)}): its figures will change."
            )
    return "\n\n".join(lines)


def _what(runs: Sequence[RunFiles]) -> str:
    return f"## What was run\n\n{table(WHAT, what_of(runs))}\n\n{table(TEXTS, texts_of(runs))}"


def _reproduce(runs: Sequence[RunFiles]) -> str:
    parts = ["## How to reproduce"]
    for run in runs:
        parts.append(f"### {escape(run.name)}")
        tuned = run.kind == "finetune"  # its recipe.toml is a record of its options, and is not run
        parts.append(
            code_block(command_of(run) + (" MODEL --train FILE --valid FILE" if tuned else ""), "sh")
        )
        recipe = code_block(run.recipe_text, "toml")
        said = "its options, model and files" if tuned else "recipe.toml as it ran"
        parts.append(f"<details><summary>{said}</summary>\n\n{recipe}\n\n</details>")
        if run.environment:
            parts.append(_environment(run.environment))
    return "\n\n".join(parts)


def _environment(environment: dict[str, Any]) -> str:
    rows = []
    for name, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        rows.append([name, value])
    return table(["environment", ""], rows)
