"""`limbeck report … -o page.html`: one page on students, teachers and baselines, quality beside cost.

The page asks for nothing outside itself. All text of files is escaped by the template (autoescape); figures
are drawn here and escaped by the XML writer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write, check_writable
from limbeck.report.blocks import Block, Figure, Listing, Section, Table
from limbeck.report.inline import inline
from limbeck.report.joined import Model, columns, join, text_names
from limbeck.report.parts import overview, plots
from limbeck.report.sources import Source, read_sources
from limbeck.report.task_parts import task_parts
from limbeck.report.training_parts import training_parts


def write_page(paths: Sequence[Path], output: Path, *, title: str = "") -> Path:
    """Writes the page.

    Args:
        paths: run directories (with the gloss training and the evaluation inside), evaluation folders, and
            results of one task. title: of the page; "": made of what is in it.

    Returns:
        The path of the page.

    Raises:
        UserError: see `read_sources`; the page cannot be written.
    """
    check_writable(output)
    sources = read_sources([Path(path) for path in paths])
    atomic_write(output, render(sources, title))
    return output


def render(sources: Sequence[Source], title: str = "") -> str:
    """The page as text; the same sources give the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    models = join(sources)
    found = columns(models, text_names(sources))
    sections = [
        Section("Models", overview(models, found)),
        Section("Quality against cost", plots(models, found)),
        *task_parts(sources, models, found),
        *training_parts(sources),
    ]
    environment = Environment(
        loader=PackageLoader("limbeck.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawer = _Drawer()
    template = environment.get_template("page.html")
    return template.render(
        title=title or _title(sources),
        lead=_lead(sources, models),
        warnings=_warnings(sources),
        sections=[drawer.section(section) for section in sections if section.blocks],
    )


class _Drawer:
    """Makes what the template shows of each block, and gives every figure ids of its own."""

    def __init__(self) -> None:
        self.drawn = 0

    def section(self, section: Section) -> dict[str, Any]:
        name = re.sub(r"[^a-z]+", "-", section.title.lower())
        return {"id": name, "title": section.title, "blocks": [self.block(one) for one in section.blocks]}

    def block(self, block: Block) -> dict[str, Any]:
        if isinstance(block, Figure):
            return self.figure(block)
        if isinstance(block, Table):
            return {"kind": "table", "table": block}
        return {"kind": "listing" if isinstance(block, Listing) else "notes", "block": block}

    def figure(self, figure: Figure) -> dict[str, Any]:
        from markupsafe import Markup

        self.drawn += 1
        svgs = [
            # Made by the XML writer of text that it escaped.
            Markup(inline(figure.draw(narrow), f"f{self.drawn}{kind[0]}", figure.title, figure.said, kind))
            for narrow, kind in ((False, "wide"), (True, "narrow"))
        ]
        return {"kind": "figure", "title": figure.title, "said": figure.said, "svgs": svgs}


def _title(sources: Sequence[Source]) -> str:
    if len(sources) == 1:
        return f"Report: {sources[0].name}"
    runs = [source for source in sources if source.run is not None]
    return f"Report: {runs[0].name}" if len(runs) == 1 else f"Report: {len(runs) or len(sources)} compared"


def _lead(sources: Sequence[Source], models: Sequence[Model]) -> str:
    """What the page is of, in a sentence."""
    counts = {
        role: sum(role in one.roles for one in models) for role in ("student", "teacher", "model", "baseline")
    }
    counts["model"] = sum(one.role == "model" for one in models)
    named = [f"{number} {role}{'s' if number > 1 else ''}" for role, number in counts.items() if number]
    runs = sum(source.run is not None for source in sources)
    others = len(sources) - runs
    made = [f"{runs} run{'s' if runs > 1 else ''}"] if runs else []
    made += [f"{others} evaluation{'s' if others > 1 else ''}"] if others else []
    return f"{', '.join(named) or 'Nothing measured'}; made of {' and '.join(made)}."


def _warnings(sources: Sequence[Source]) -> list[str]:
    found = []
    for source in sources:
        state = None if source.run is None else source.run.status.get("state")
        if state is not None and state != "finished":
            found.append(f"{source.name} is not finished (state: {state}): its figures will change.")
    return found
