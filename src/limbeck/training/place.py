"""A run directory: refused at once, its results if it is finished, given back if nothing came of it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.run import Run


def check_run_folder(folder: Path) -> None:
    """Raises UserError if a run directory cannot be written."""
    try:
        tempfile.TemporaryFile(dir=existing(folder)).close()
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror}; choose another run directory with `output`"
        ) from error


def existing(path: Path) -> Path:
    """What is there of a path: itself, or the nearest folder above it."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def finished(opened: Run, steps: int) -> dict[str, Any] | None:
    """The results in a run directory, if they are those of so many steps (not of before `--extend`)."""
    path = opened.folder / "results.json"
    if opened.status().get("state") != "finished" or not path.is_file():
        return None
    results = dict(json.loads(path.read_text(encoding="utf-8")))
    return results if results["cost"]["steps"] == steps else None


def give_back(folder: Path) -> None:
    """Frees a run directory in which nothing was trained, so that the mended recipe may have it."""
    if any(folder.glob("checkpoints/step-*")) or (folder / "best").exists() or (folder / "model").exists():
        return
    names = ("recipe.toml", "environment.json", "metrics.jsonl", "affecting.json")
    for name in (*names, "teachers.json", "temperatures.json"):
        (folder / name).unlink(missing_ok=True)
