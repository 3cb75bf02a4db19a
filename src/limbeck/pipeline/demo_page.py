"""The demo's page: its six models side by side, what they know beside what they cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.pipeline.assemble import Progress
from limbeck.pipeline.evaluation import Model, write_result
from limbeck.report.html import write_page
from limbeck.tasks.efficiency import CostSettings, measure_models
from limbeck.tasks.fingerprint import fingerprint

log = logging.getLogger("limbeck")

PAGE, EVALUATION = "report.html", "eval"
COSTED = ("student", "nouns", "others")
"""The models whose cost is measured: the twin is built as the student is, and glosses add nothing."""
SETTINGS = CostSettings(lengths=(64,), seconds=0.3, threads=1)
"""Small, so that the demo stays short; `limbeck eval cost` measures at more lengths and for longer."""


def demo_page(
    folder: Path,
    words: dict[str, Any],
    roles: dict[str, str],
    runs: Sequence[str],
    progress: Progress | None = None,
) -> Path:
    """Measures costs, keeps the comparison as an evaluation in `eval`, and writes the page.

    Args:
        folder: of the demo. words: `evaluate_models` of the four models. roles: of each of them, in the order
            of the page. runs: the folders of all runs that the page is of.

    Returns:
        The path of the page.

    Raises:
        UserError: a model cannot be measured, or a file not be written.
    """
    paths = {name: folder / name / "model" for name in roles}
    cost = measure_models([str(paths[name]) for name in COSTED], SETTINGS, progress=progress)
    for name, one in zip(COSTED, cost["models"], strict=True):
        one["name"] = name
    models = [
        Model(name, str(path.resolve()), fingerprint(path), roles[name]) for name, path in paths.items()
    ]
    write_result(folder / EVALUATION, models, {"mlm": words, "cost": cost})
    title = "Demo: a student of two teachers, on WordNet"
    return write_page([*(folder / name for name in runs), folder / EVALUATION], folder / PAGE, title=title)
