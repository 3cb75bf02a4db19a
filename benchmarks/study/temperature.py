"""Temperatures of the weightings: those whose mixtures explain held-out text best. No student is trained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from limbeck.files import atomic_write

from .jobs import Job, do_all
from .setting import TEACHERS, Setting
from .students import Arm, Student, student_recipe


def temperatures(setting: Setting) -> dict[str, Any]:
    """Of every weighting the temperature whose mixture has the lowest nats, as a mean over the texts.

    Returns `texts`: what `_explain` finds, by text; `chosen`: {weighting: temperature}.
    """
    files = {text: _file(setting, text) for text in setting.texts()}
    missing = [text for text, file in files.items() if not file.exists()]
    jobs = [Job(f"mixtures on {text}", partial(_explain, setting, text)) for text in missing]
    do_all(setting, "temperatures", jobs)
    texts = {text: json.loads(file.read_text()) for text, file in files.items()}
    return {"texts": texts, "chosen": choose(texts)}


def choose(texts: dict[str, Any]) -> dict[str, float]:
    """The best temperature by weighting, by the mean over the texts."""
    by_cell: dict[str, dict[float, list[float]]] = {}
    for found in texts.values():
        for row in found["mixtures"]:
            cells = by_cell.setdefault(row["weighting"], {})
            cells.setdefault(row["temperature"], []).append(row["nats"])
    return {name: min(cells, key=lambda tau: mean(cells[tau])) for name, cells in by_cell.items()}


def _file(setting: Setting, text: str) -> Path:
    return setting.scratch / "temperatures" / f"{text}-{setting.passages}.json"


def _explain(setting: Setting, text: str) -> dict[str, Any]:
    """`slots`, `mixtures` (`benchmarks/temperatures.py`) and `teachers`, with coverage and calibration."""
    import temperatures as script

    from limbeck.pipeline.assemble import assemble
    from limbeck.pipeline.train import prepared_teachers

    student = Student(Arm("temperatures"), setting.sizes[0], setting.steps, setting.seeds[0])
    recipe = student_recipe(setting, student)
    assert recipe.text is not None
    recipe = recipe.model_copy(
        update={
            "text": recipe.text.model_copy(update={"valid": (setting.texts()[text],)}),
            "eval": recipe.eval.model_copy(update={"passages": setting.passages}),
            "distill": recipe.distill.model_copy(update={"predictions": "online"}),
        }
    )
    made = assemble(recipe)
    rows = prepared_teachers(made, None, None)
    found = script.explain(made)
    teachers = {
        name: {"nats": nats, "coverage": row["coverage"], "calibration": row["temperature"]}
        for name, row, nats in zip(TEACHERS, rows, found["alone"], strict=True)
    }
    file = _file(setting, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {"slots": found["slots"], "teachers": teachers, "mixtures": found["mixtures"]}
    atomic_write(file, json.dumps(kept))
    return kept
