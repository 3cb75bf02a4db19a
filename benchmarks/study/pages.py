"""docs/results/study.md and a page per question, from the committed JSON alone."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from limbeck.files import atomic_write

from .jobs import say
from .setting import Setting


def found(setting: Setting) -> dict[str, dict[str, Any]]:
    """The results that are there, by question."""
    files = sorted(setting.results.glob("study-*.json"))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {row["question"]: row for row in rows}


def write(setting: Setting) -> None:
    """Writes the pages of what is answered."""
    setting.pages.mkdir(parents=True, exist_ok=True)
    for name, result in found(setting).items():
        page = import_module(f"{__package__}.{name}").page(result, setting.pages)
        atomic_write(setting.pages / f"study-{name}.md", page)
        say(f"wrote study-{name}.md")
